"""Seeded batches with what a batch of completions can hold, as float64 arrays: every tensor that any spec may read.

`completions` is the whole of it; the others are the same batch in another form or with something changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from maspo_dsl.analysis.drawing import REALISTIC, Array, Arrays, below_ceiling, drawn
from maspo_dsl.semantics.quantities import Quantity

# Six groups of 5, 4, 4, 3, 3 and 1 completions, with ids that are neither sorted nor contiguous.
GROUP = np.array([7, 3, 7, -2, 5, 3, 7, 11, 2, -2, 5, 3, 7, 2, -2, 5, 3, 7, 2, -2])
EQUAL, BINARY = 2, (7, 3)
COLUMNS = 7
# What may stand where the mask is false.
GARBAGE = (np.nan, -np.inf, np.inf, 1e30)


@dataclass(frozen=True)
class BatchLayout:
    """What batches hold beside the usual: more groups, of these sizes, longer completions, numbers that are compared.

    `compared` has numbers by tensor, some of what is drawn for it being near one of them.
    """

    sizes: tuple[int, ...] = ()
    columns: int = COLUMNS
    compared: Mapping[str, Array] = field(default_factory=dict)

    @property
    def group(self) -> Array:
        """The group of each completion."""
        more = np.repeat(np.arange(len(self.sizes)) + 1 + int(GROUP.max()), np.array(self.sizes, dtype=int))
        return np.concatenate([GROUP, more])


USUAL = BatchLayout()


def completions(
    seed: int, tensors: Mapping[str, Quantity], *, ties: bool = True, layout: BatchLayout = USUAL
) -> Arrays:
    """A batch of 20 completions or more with `reward` and `group`, and no `advantage`.

    Rows drift from the old policy by amounts between 3e-4 and 1, single tokens by more than a factor of 4, and some
    are rare; lengths are ragged, with holes, a row of one token and one of none. `tensors` are those of the language
    and the spec's own, by name. Without `ties` no two rewards are equal.
    """
    random = np.random.default_rng(seed)
    group = layout.group
    mask = _mask(random, len(group), layout.columns)
    names = [name for name in tensors if name != "advantage"]
    regime = replace(REALISTIC, compared=layout.compared)
    batch = drawn(regime, tensors, names, mask.shape, mask.shape[:1], seed)
    apart = _far_tokens(random, batch["logp"] - batch["logp_old"], mask)
    # Both move down together, so that their ratio stays.
    highest = np.maximum(batch["logp_old"], batch["logp_old"] + apart)
    old = batch["logp_old"] - highest + below_ceiling(highest, random.random(highest.shape))
    batch |= {"logp": old + apart, "logp_old": old, "mask": mask, "group": group}
    if ties:
        batch["reward"] = _tied(batch["reward"], group, random, layout.compared.get("reward", np.zeros(0)))
    batch["correct"] = (batch["reward"] > 0) ^ (np.arange(len(group)) == 2)
    return batch


def _mask(random: np.random.Generator, rows: int, columns: int) -> Array:
    mask = np.arange(columns) < random.integers(2, columns + 1, rows)[:, None]
    mask[2] = True
    # Holes, as the output of a tool leaves them; one token alone; nothing.
    mask[2, 1], mask[6, 0] = False, False
    mask[9], mask[13] = np.arange(columns) == 1, False
    return mask


def _far_tokens(random: np.random.Generator, apart: Array, mask: Array) -> Array:
    """Log-ratios with one far token on each side of 0 in every completion that has drifted by more than a little."""
    result = apart.copy()
    for row in np.flatnonzero(np.abs(apart).max(axis=1) > 0.1):
        tokens = random.permutation(np.flatnonzero(mask[row]))[:2]
        result[row, tokens] = random.uniform(1.0, 3.0, len(tokens)) * np.array([1, -1])[: len(tokens)]
    return result


def _tied(rewards: Array, group: Array, random: np.random.Generator, compared: Array) -> Array:
    """Rewards of which groups have few, 0 and 1, or a little more and less than what they are compared with."""
    few = np.concatenate(
        [[0.0, 1.0], *((1.01 * number, 0.99 * number) for number in compared if abs(number) > 1)]
    )
    binary = np.isin(group, BINARY) | (group > GROUP.max())
    rewards[binary] = random.permutation(np.resize(few, int(binary.sum())))
    rewards[group == EQUAL] = 0.3
    return rewards


def with_advantage(
    batch: Arrays, seed: int, *, token: bool = False, scale: float = 1.0, spread: float = 0.0
) -> Arrays:
    """The batch with an advantage of its own, `[N]` or `[N, T]`: zeros, and both signs where ratios are far from 1.

    Sizes are about `scale`, and with a `spread` some are so many factors of e larger or smaller.
    """
    random = np.random.default_rng([seed, 1])
    advantage = scale * random.standard_normal(batch["mask"].shape if token else len(batch["mask"]))
    if spread:
        advantage *= np.exp(spread * random.standard_normal(advantage.shape))
    far = np.flatnonzero((np.abs(batch["logp"] - batch["logp_old"]) > 1).any(axis=1))
    signs = np.resize([1.0, -1.0], len(far))
    advantage[far] = np.abs(advantage[far]) * (signs[:, None] if token else signs)
    advantage[::5] = 0.0
    advantage[2], advantage[1] = 1.5 * scale, -2.0 * scale
    return {**batch, "advantage": advantage}


# ---- other forms of a batch


def rows_of(batch: Mapping[str, Array], rows: Iterable[int]) -> Arrays:
    """The batch of these rows, in this order."""
    index = np.array(list(rows), dtype=int)
    return {name: value[index] if value.ndim else value for name, value in batch.items()}


def by_token(batch: Mapping[str, Array]) -> list[str]:
    """Names of the tensors `[N, T]`."""
    return [name for name, value in batch.items() if value.ndim == 2]


def with_garbage(batch: Mapping[str, Array], seed: int) -> Arrays:
    """The batch with NaN, infinities and 1e30 wherever the mask is false, and at completions without trained tokens."""
    random = np.random.default_rng([seed, 2])
    present = {0: np.array(True), 1: batch["mask"].any(axis=1), 2: batch["mask"]}
    return {
        name: np.where(present[value.ndim], value, random.choice(GARBAGE, value.shape))
        if value.dtype == float
        else value
        for name, value in batch.items()
    }


def padded(batch: Mapping[str, Array], left: int, right: int) -> Arrays:
    """The batch with columns of NaN on both sides, masked."""
    result = dict(batch)
    for name in by_token(batch):
        value = batch[name]
        filler = {"b": False, "i": -9, "f": np.nan}[value.dtype.kind]
        sides = [np.full((len(value), columns), filler, value.dtype) for columns in (left, right)]
        result[name] = np.concatenate([sides[0], value, sides[1]], axis=1)
    return result


def places(batch: Mapping[str, Array], seed: int, *, in_order: bool) -> Array:
    """Flat places of an order in which tokens are stored in packed form: all trained ones, and some that are not.

    Sequences are interleaved; with `in_order` the tokens of each keep their order.
    """
    random = np.random.default_rng([seed, 3])
    mask = batch["mask"]
    taken = np.flatnonzero(mask | (random.random(mask.shape) < 0.3))
    order = random.permutation(taken)
    if not in_order:
        return order
    row = order // mask.shape[1]
    result = order.copy()
    for one in np.unique(row):
        result[row == one] = np.sort(order[row == one])
    return result


def packed(batch: Mapping[str, Array], order: Array) -> Arrays:
    """The packed form with its tokens stored at these flat places, one after the other."""
    result = {name: value.ravel()[order] if value.ndim == 2 else value for name, value in batch.items()}
    return {**result, "sequence": order // batch["mask"].shape[1]}


def cut(
    batch: Mapping[str, Array], parts: int, seed: int, *, together: Collection[str] = ()
) -> list[list[int]]:
    """The rows in random order in so many micro-batches, or fewer; rows with one id of a tensor stay `together`."""
    random = np.random.default_rng([seed, 4])
    unit = _numbered(np.arange(len(batch["mask"])), [batch[tensor] for tensor in together])
    units = random.permutation(int(unit.max()) + 1)
    part_of = np.empty(len(units), dtype=int)
    part_of[units] = np.arange(len(units)) % parts
    order = random.permutation(len(unit))
    pieces = [[int(row) for row in order if part_of[unit[row]] == part] for part in range(parts)]
    return [piece for piece in pieces if piece]


def _numbered(unit: Array, ids: Sequence[Array]) -> Array:
    """Numbers from 0, of which rows have the same if a chain of rows with a common id leads from one to the other."""
    before = None
    while before is None or (before != unit).any():
        before = unit.copy()
        for one in ids:
            for each in np.unique(one):
                unit[one == each] = unit[one == each].min()
    return np.unique(unit, return_inverse=True)[1]
