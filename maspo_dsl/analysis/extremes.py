"""Tokens and batches of what is rare: every quantity at 0, at equality, far away, and at the spec's own numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.analysis.drawing import Arrays, Draw, Regime, drawn, on_policy, uniform
from maspo_dsl.analysis.single_token import Numbers
from maspo_dsl.analysis.thresholds import LONGEST, MOST, compared, constants
from maspo_dsl.semantics.objective import ResolvedObjective

_ALONE = 1500
_FACTORS = np.array([1.0, 0.99, 1.01, 0.5, 2.0, -1.0])
_SIZES = (64, 64, 1, 2, 3, 4, 5, 8, 16)
"""How many completions the groups have; of the first two one completion is unlike all others."""
_COLUMNS = 6
_ALIKE = 6
"""How many batches have groups whose completions are alike."""
_SHORT = 6
_TOKENS = 200_000
"""No batch of them has more columns and rows than make so many places, unless one group of three does."""


def far_tokens(objective: ResolvedObjective) -> Arrays:
    """Tokens alone, each tensor `[K]`: probabilities from e^-80 to 1, any two policies equal or e^40 apart."""
    return _drawn(objective, (_ALONE,), (_ALONE,), 20_000, (_ALONE,))


def far_batches(objective: ResolvedObjective) -> Iterator[Arrays]:
    """Padded batches of groups small and large; then such where all rewards, advantages or policies are alike."""
    near = [int(size) + more for size in constants(objective) if 1 < size < MOST for more in (-1, 0, 1)]
    sizes = [*_SIZES, *near[-6:]]
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = (len(group),)
    batch = _drawn(objective, (*rows, _COLUMNS), rows, 30_000)
    lengths = np.floor(uniform("length", rows, 30_000) * (_COLUMNS + 1))
    batch |= {"mask": np.arange(_COLUMNS) < lengths[:, None], "group": group}
    batch["correct"] = batch["reward"] > 0
    yield batch
    first = np.r_[True, group[1:] != group[:-1]]
    odd = np.where(group == 1, ~first, first)
    yield {**batch, "reward": np.where(odd, 1.0, 0.0), "correct": odd}
    for value in (0.0, 1.0):
        alike = np.full(rows, value)
        yield {**batch, "reward": alike, "correct": alike > 0, "truncated": alike > 0}
    for sign in (0.0, 1.0, -1.0):
        yield {**batch, "advantage": sign * np.abs(batch["advantage"])}
    yield on_policy(batch, objective.tensors)
    few = group < 0
    few[:1] = True
    yield {**batch, "mask": batch["mask"] & few[:, None]}


def alike_batches(objective: ResolvedObjective) -> Iterator[Arrays]:
    """Batches of groups whose completions are alike: all long, all right, all with one number, flag or id.

    What holds for a group only if it does for most of its completions is not met where each is drawn by itself.
    """
    numbers = constants(objective)
    lengths = [int(value) + 1 for value in numbers if _SHORT < value < LONGEST] or [_SHORT]
    near = [int(size) + more for size in numbers if 1 < size < MOST for more in (0, 1)]
    for number in range(_ALIKE):
        start = 40_000 + number
        longest = lengths[-1 - number % len(lengths)]
        # What is long leaves room for few completions.
        longest = longest if number % 2 == 0 else min(longest, lengths[0])
        sizes = [3, *near[-6:][::-1], 1, 2, 4, 8, 16, 64]
        ends = np.cumsum(sizes)
        sizes = [size for size, end in zip(sizes, ends, strict=True) if end == 3 or end * longest <= _TOKENS]
        group = np.repeat(np.arange(len(sizes)), sizes)
        yield _alike(objective, group, longest, start)


def _alike(objective: ResolvedObjective, group: NDArray[np.int_], longest: int, start: int) -> Arrays:
    rows = (len(group),)
    batch = _drawn(objective, (*rows, longest), rows, start)
    first = np.searchsorted(group, group)
    for name, value in batch.items():
        row = objective.tensors[name]
        if row.policy or not value.ndim:
            continue
        if value.ndim == 2:
            within = uniform(f"{name}/within", rows, start) < 0.5
            value = np.where(within[:, None], value[:, :1], value)
        shared = uniform(f"{name}/alike", rows, start)[first] < 0.5
        batch[name] = np.where(shared.reshape(-1, *(1,) * (value.ndim - 1)), value[first], value)
    share, of_group = uniform("length", rows, start), uniform("long", rows, start)[first]
    lengths = np.ceil(longest * np.select([of_group < 0.4, of_group < 0.7], [1.0, 0.9 + 0.1 * share], share))
    lengths[:3] = longest
    kind = uniform("kind", rows, start)[first]
    batch["reward"] = np.select([kind < 0.2, kind < 0.4], [0.0, 1.0], batch["reward"])
    batch["correct"] = batch["reward"] > 0
    return {**batch, "mask": np.arange(longest) < lengths[:, None], "group": group}


def _drawn(
    objective: ResolvedObjective,
    shape: tuple[int, ...],
    rows: tuple[int, ...],
    start: int,
    one: tuple[int, ...] = (),
) -> Arrays:
    batch = drawn(_regime(objective), objective.tensors, objective.tensors, shape, rows, start, one)
    same = uniform("same reward", rows, start) < 0.1
    return {**batch, "reward_greedy": np.where(same, batch["reward"], batch["reward_greedy"])}


def _regime(objective: ResolvedObjective) -> Regime:
    """What is rare, and what is near the numbers of a spec."""
    numbers = constants(objective)

    def old(draw: Draw) -> Numbers:
        chosen = draw.uniform()
        inner = np.minimum(np.log(_between(numbers, chosen, draw.uniform("share"))), 0.0)
        return np.where(draw.uniform("kind") < 0.3, inner, -np.exp(-28 + 32.4 * chosen))

    def policy(draw: Draw) -> Numbers:
        chosen, kind = draw.uniform(), draw.uniform("kind")
        moved = draw.old + 40 * (2 * chosen - 1) ** 3
        near = np.log(_between(numbers, chosen, draw.uniform("share")))
        apart = np.select([kind < 0.05, kind < 0.4, kind < 0.5], [draw.old, draw.old + near, near], moved)
        found: Numbers = np.minimum(apart, 0.0)
        return found

    def anything(draw: Draw) -> Numbers:
        return _anything(numbers, draw)

    return Regime(
        old=old,
        policy=policy,
        nonnegative=lambda draw: np.abs(anything(draw)),
        probability=lambda draw: np.minimum(np.abs(anything(draw)), 1.0),
        real=anything,
        condition=lambda draw: draw.uniform() < 0.4,
        given=anything,
        compared=compared(objective),
    )


def _anything(numbers: Numbers, draw: Draw) -> Numbers:
    """Any real number: 0, small whole ones, tiny and huge ones of both signs, and near the numbers of the spec."""
    kind, chosen, factor = (draw.uniform(stream) for stream in ("kind", "", "factor"))
    size = np.exp(-12 + 24 * chosen) * np.where(factor < 0.5, -1.0, 1.0)
    near = numbers[(chosen * len(numbers)).astype(int)] * _FACTORS[(factor * len(_FACTORS)).astype(int)]
    whole = np.floor(7 * chosen) - 3
    inner = _between(numbers, chosen, factor)
    exact = numbers[(chosen * len(numbers)).astype(int)]
    shares = [kind < 0.3, kind < 0.5, kind < 0.7, kind < 0.8, kind < 0.9]
    found: Numbers = np.select(shares, [size, near, exact, inner, whole], 0.0)
    return found


def _between(numbers: Numbers, chosen: Numbers, share: Numbers) -> Numbers:
    """Between a number of the spec and the next larger one, however near they are."""
    ladder: Numbers = np.concatenate([[numbers[0] / 2], numbers, [2 * numbers[-1]]])
    step = (chosen * (len(ladder) - 1)).astype(int)
    found: Numbers = ladder[step] + share * (ladder[step + 1] - ladder[step])
    return found
