"""Tokens and batches of what is rare: every quantity at 0, at equality, far away, and at the spec's own numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maspo_dsl.analysis.probes import Batch, constants, uniform
from maspo_dsl.analysis.single_token import Numbers
from maspo_dsl.semantics.objective import ResolvedObjective

_ALONE = 1500
_FACTORS = np.array([1.0, 0.99, 1.01, 0.5, 2.0, -1.0])
_SIZES = (64, 64, 1, 2, 3, 4, 5, 8, 16)
"""How many completions the groups have; of the first two one completion is unlike all others."""
_MOST = 256
"""No group is larger, whatever a spec compares its size with."""
_COLUMNS = 6


def far_tokens(objective: ResolvedObjective) -> Batch:
    """Tokens alone, each tensor `[K]`: probabilities from e^-80 to 1, any two policies equal or e^40 apart."""
    return _drawn(objective, (_ALONE,), (_ALONE,), 20_000)


def far_batches(objective: ResolvedObjective) -> Iterator[Batch]:
    """Padded batches of groups small and large; then such where all rewards, advantages or policies are alike."""
    near = [int(size) + more for size in constants(objective) if 1 < size < _MOST for more in (-1, 0, 1)]
    sizes = [*_SIZES, *near[-6:]]
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = (len(group),)
    batch = _drawn(objective, (*rows, _COLUMNS), rows, 30_000)
    lengths = np.floor(uniform(9, rows, 30_000) * (_COLUMNS + 1))
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
    policies = dict.fromkeys(("logp", "logp_ref", "logp_rollout"), batch["logp_old"])
    yield {**batch, **policies}
    few = group < 0
    few[:1] = True
    yield {**batch, "mask": batch["mask"] & few[:, None]}


def _drawn(objective: ResolvedObjective, shape: tuple[int, ...], rows: tuple[int, ...], start: int) -> Batch:
    numbers = constants(objective)
    chosen = uniform(0, shape, start)
    inner = np.minimum(np.log(_between(numbers, chosen, uniform(17, shape, start))), 0.0)
    old = np.where(uniform(18, shape, start) < 0.3, inner, -np.exp(-28 + 32.4 * chosen))

    def policy(stream: int) -> Numbers:
        chosen, kind = uniform(stream, shape, start), uniform(stream + 13, shape, start)
        moved = old + 40 * (2 * chosen - 1) ** 3
        near = np.log(_between(numbers, chosen, uniform(stream + 9, shape, start)))
        drawn = np.select([kind < 0.05, kind < 0.4, kind < 0.5], [old, old + near, near], moved)
        found: Numbers = np.minimum(drawn, 0.0)
        return found

    def anything(stream: int, where: tuple[int, ...]) -> Numbers:
        return _anything(numbers, stream, where, start)

    declared = {
        name: anything(13 + number % 7, shape if given.axis.text == "token" else rows)
        for number, (name, given) in enumerate(objective.flat.inputs.items())
    }
    reward = anything(8, rows)
    return {
        "logp_old": old,
        "logp": policy(1),
        "logp_ref": policy(2),
        "logp_rollout": policy(3),
        "entropy": np.abs(anything(4, shape)),
        "value": anything(12, shape),
        "advantage": anything(5, rows),
        "reward": reward,
        "correct": uniform(7, rows, start) < 0.5,
        "reward_greedy": np.where(uniform(6, rows, start) < 0.1, reward, anything(10, rows)),
        "truncated": uniform(11, rows, start) < 0.4,
        **declared,
    }


def _anything(numbers: Numbers, stream: int, shape: tuple[int, ...], start: int) -> Numbers:
    """Any real number: 0, small whole ones, tiny and huge ones of both signs, and near the numbers of the spec."""
    drawn, chosen, factor = (uniform((stream + 6 * turn) % 20, shape, start) for turn in (0, 1, 2))
    size = np.exp(-12 + 24 * chosen) * np.where(factor < 0.5, -1.0, 1.0)
    near = numbers[(chosen * len(numbers)).astype(int)] * _FACTORS[(factor * len(_FACTORS)).astype(int)]
    whole = np.floor(7 * chosen) - 3
    inner = _between(numbers, chosen, factor)
    exact = numbers[(chosen * len(numbers)).astype(int)]
    shares = [drawn < 0.3, drawn < 0.5, drawn < 0.7, drawn < 0.8, drawn < 0.9]
    found: Numbers = np.select(shares, [size, near, exact, inner, whole], 0.0)
    return found


def _between(numbers: Numbers, chosen: Numbers, share: Numbers) -> Numbers:
    """Between a number of the spec and the next larger one, however near they are."""
    ladder: Numbers = np.concatenate([[numbers[0] / 2], numbers, [2 * numbers[-1]]])
    step = (chosen * (len(ladder) - 1)).astype(int)
    found: Numbers = ladder[step] + share * (ladder[step + 1] - ladder[step])
    return found
