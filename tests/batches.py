"""Seeded batches with every awkward thing that a batch of completions can have, as float64 numpy arrays.

`ragged` is the standard one: unequal group sizes with ids in any order, a group of one, a group without
variance, a row without a trained token, a row of one token, ratios far from 1 on both sides, log-ratios
beyond ±20, and garbage wherever the mask is false. `packed` and `as_torch` make the forms the loss takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

import maspo_dsl
from maspo_dsl.analysis.drawing import REALISTIC, drawn
from maspo_dsl.semantics.quantities import TENSORS, Domain, Quantity
from maspo_dsl.semantics.types import Axis

from .loading import objective

Arrays = dict[str, np.ndarray]

SPECS = Path(__file__).parent / "specs"
"""Objectives that are not shipped and that the compiler is tested with."""

GARBAGE = (np.nan, -np.inf, np.inf, 1e30)

GROUP = np.array([7, 3, 7, 3, 3, 11, 5, 5, 7, -2, -2, 5, 3, 2, 2, 2])
"""Sizes 3, 4, 3, 2, 3 and a singleton (11); ids neither sorted nor contiguous."""

MISMATCH = np.array([0.05, 0.0005, 0.4])
"""Spread of log(old / rollout) in one row after the other: whole completions inside and outside of narrow bands."""


def ragged(
    seed: int, *, columns: int = 9, spread: float = 0.6, extreme: bool = True, garbage: bool = True
) -> Arrays:
    """A batch of 16 rows, with `reward` and `group` and no `advantage`.

    `spread` is the standard deviation of the log-ratio. With `extreme`, some log-ratios (to old, to the
    reference and of old to rollout) are beyond ±20 and some exactly 0.
    """
    random = np.random.default_rng(seed)
    rows = len(GROUP)
    mask = np.arange(columns) < random.integers(2, columns + 1, size=rows)[:, None]
    mask[1], mask[4], mask[6] = False, np.arange(columns) == 2, True
    mask[8, 1] = False  # a hole, as a tool's output leaves it
    old = -random.exponential(1.2, size=(rows, columns)) - 1e-3
    batch = {
        "logp": -np.abs(old + spread * random.standard_normal(old.shape)),
        "logp_old": old,
        "logp_ref": -np.abs(old + spread * random.standard_normal(old.shape)),
        "logp_rollout": -np.abs(
            old + MISMATCH[np.arange(rows) % 3, None] * random.standard_normal(old.shape)
        ),
        "entropy": random.exponential(1.0, size=old.shape),
        "mask": mask,
        "reward": rewards(random),
        "group": GROUP.copy(),
    }
    batch = {**others(seed, old.shape), **batch}
    if extreme:
        _extremes(batch)
    return with_garbage(batch, seed) if garbage else batch


def others(seed: int, shape: tuple[int, int]) -> Arrays:
    """Every tensor that the language knows beside rewards, advantages and what follows from them; and inputs."""
    names = TENSORS.keys() - {"reward", "correct", "advantage"}
    known = drawn(REALISTIC, TENSORS, names, shape, shape[:1], seed)
    return drawn(REALISTIC, inputs(), inputs(), shape, shape[:1], seed) | known


@cache
def inputs() -> dict[str, Quantity]:
    """What objectives ask for by `input`, those shipped and those of `SPECS`, by name."""
    found: dict[str, Quantity] = {}
    for name in [*maspo_dsl.shipped(), *map(str, sorted(SPECS.glob("*.obj")))]:
        tensors = objective(name).resolved.tensors
        found |= {key: row for key, row in tensors.items() if key not in TENSORS}
    return found


def rewards(random: np.random.Generator) -> np.ndarray:
    """One reward a row of `GROUP`: binary in some groups, real in others, all equal in group 2."""
    values = random.normal(size=len(GROUP))
    binary = (GROUP == 7) | (GROUP == 5)
    values[binary] = random.integers(0, 2, size=int(binary.sum()))
    values[GROUP == 2] = 0.3
    return values


def given_advantage(seed: int, *, scale: float = 1.0, token: bool = False, **options: object) -> Arrays:
    """A `ragged` batch with its own `advantage`, `[N]` or `[N, T]` (NaN off the mask): both signs, and zeros.

    A `scale` of 300 reaches both clamps of MASPO's risk factor at its default beta of 0.03.
    """
    batch = ragged(seed, **options)  # type: ignore[arg-type]
    random = np.random.default_rng(seed + 1)
    shape = batch["logp"].shape if token else batch["logp"].shape[:1]
    advantage = scale * random.standard_normal(shape)
    advantage[::5] = 0.0
    advantage[6], advantage[0] = 1.5 * scale, -2.0 * scale
    garbage = token and options.get("garbage", True)
    batch["advantage"] = np.where(batch["mask"], advantage, np.nan) if garbage else advantage
    return batch


def with_garbage(batch: Mapping[str, np.ndarray], seed: int = 0) -> Arrays:
    """The batch with NaN, -inf, inf and 1e30 wherever the mask is false."""
    random = np.random.default_rng(seed + 2)
    result = dict(batch)
    for name, row in TENSORS.items():
        of_tokens = row.axis is Axis.TOKEN and row.domain not in (Domain.MASK, Domain.INDEX)
        if of_tokens and name in batch:
            junk = random.choice(GARBAGE, size=batch["mask"].shape)
            result[name] = np.where(batch["mask"], batch[name], junk)
    return result


def rows_of(batch: Mapping[str, np.ndarray], rows: Iterable[int]) -> Arrays:
    """The batch of these rows, in this order."""
    index = np.array(list(rows), dtype=int)
    return {name: value[index] for name, value in batch.items()}


def split(batch: Mapping[str, np.ndarray], parts: int, seed: int) -> list[list[int]]:
    """The rows in random order, cut into `parts` pieces of random size, each of one row or more."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(batch["mask"]))
    cuts = np.sort(random.choice(np.arange(1, len(order)), size=parts - 1, replace=False))
    return [piece.tolist() for piece in np.split(order, cuts)]


def padded(batch: Mapping[str, np.ndarray], columns: int) -> Arrays:
    """The batch with `columns` columns of padding appended on the right, filled with garbage."""
    result = dict(batch)
    for name, value in batch.items():
        if value.ndim == 2:
            filler = np.full((len(value), columns), False if name == "mask" else np.nan)
            result[name] = np.concatenate([value, filler.astype(value.dtype)], axis=1)
    return result


def packed(batch: Mapping[str, np.ndarray]) -> Arrays:
    """The packed form: every token tensor `[M]`, row by row and without the padding, and `sequence` `[M]`.

    One masked token is kept at the end of each row, because a packed batch has prompt tokens too.
    """
    mask = batch["mask"]
    take = mask.copy()
    for row in range(len(mask)):
        masked = np.flatnonzero(~mask[row])
        if masked.size:
            take[row, masked[-1]] = True
    sequence = np.broadcast_to(np.arange(len(mask))[:, None], mask.shape)
    result = {name: value[take] if value.ndim == 2 else value for name, value in batch.items()}
    return {**result, "sequence": sequence[take]}


def as_torch(batch: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """The batch as tensors, floats in `dtype`; `logp` is a leaf that requires a gradient."""
    result = {}
    for name, value in batch.items():
        tensor = torch.as_tensor(np.asarray(value))
        result[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor.clone()
    if "logp" in result:
        result["logp"].requires_grad_()
    return result


def only(batch: Mapping[str, np.ndarray], names: Sequence[str]) -> Arrays:
    """The batch with these tensors alone."""
    return {name: batch[name] for name in names if name in batch}


def _extremes(batch: Arrays) -> None:
    """Log-ratios of ±25 and ±200, and tokens exactly on policy, in row 6; all are logs of probabilities still."""
    logp, old, reference, rollout = (
        batch[name][6] for name in ("logp", "logp_old", "logp_ref", "logp_rollout")
    )
    old[0], rollout[0] = logp[0] - 25, logp[0] - 50
    logp[1] = old[1] - 200
    logp[2], old[2], reference[2], rollout[2] = -201.0, -201.1, -1.0, -1.1
    reference[3] = logp[3] - 25
    logp[4] = rollout[4] = old[4]
    reference[5] = logp[5]
