"""Tokens and batches to try an objective on: every quantity at every size, each independent of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.analysis.drawing import Array, Arrays, Draw, Regime, drawn, in_cells, uniform
from maspo_dsl.analysis.single_token import Numbers
from maspo_dsl.analysis.thresholds import LONGEST, compared, constants
from maspo_dsl.analysis.trial import graph_of
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.quantities import Domain

ALONE = 1500
"""How many tokens are tried alone."""
_GROUPS = np.repeat(np.arange(9), (4, 4, 4, 3, 3, 2, 2, 1, 1))
_COLUMNS = 10
# Log-ratios within, and magnitudes of the advantage within a factor of e to, of each batch.
_EXTENTS = ((1.0, 0.7), (21.0, 4.5), (0.5, 0.1), (1.0, 0.3), (0.7, 0.0), (3.0, 0.2), (8.0, 1.0), (0.3, 0.5))
# Batches of each extent: few tokens of one are what a rule about few tokens is about.
_BATCHES = 3
_LONG = (1, 6, 36, 200, 1300, 8192)
_GIVEN = frozenset({Domain.INPUT, Domain.INTEGER})


def tokens(objective: ResolvedObjective) -> Arrays:
    """`ALONE` tokens, each tensor `[K]`: old probabilities down to e^-20, ratios beyond every bound, A up to 100."""
    names = objective.tensors.keys() - {"advantage"}
    each = (ALONE,)
    found = _drawn(objective, compared(objective), names, each, each, spread=21.0, size=4.5, one=each)
    return in_cells(found, objective.tensors)


def batches(objective: ResolvedObjective) -> Iterator[Arrays]:
    """Padded batches of 24 completions, with an advantage of their own, from near the old policy to far from it."""
    numbers = compared(objective)
    for number, (spread, size) in enumerate(_EXTENTS * _BATCHES):
        start = 1000 * (number + 1)
        lengths = 1 + np.floor(uniform("length", _GROUPS.shape, start) * _COLUMNS)
        yield _batch(objective, numbers, _GROUPS, lengths, spread, size, start)


def long_completions(objective: ResolvedObjective) -> Iterator[Arrays]:
    """One batch of completions of 1 to 8192 tokens, and as long as the spec's large numbers, or a little off."""
    values = sorted(value for value in constants(objective) if _LONG[1] < value <= LONGEST)
    near = [length for value in values[-2:] for length in (value, value + 1, value - 1, 0.9 * value)]
    lengths = np.floor(np.array([*_LONG, *near], dtype=float))
    group = np.arange(len(lengths)) % 2
    graph = graph_of(objective.parts)
    read = {"logp", "logp_old", *graph.inputs(graph.outputs)}
    yield _batch(objective, compared(objective), group, lengths, 1.0, 0.7, start=10_000, read=read)


def _batch(
    objective: ResolvedObjective,
    numbers: Mapping[str, Array],
    group: NDArray[np.int_],
    lengths: Numbers,
    spread: float,
    size: float,
    start: int,
    read: Collection[str] | None = None,
) -> Arrays:
    """`read` are the tensors that are wanted: of a hundred thousand tokens, drawing them takes longest.

    Whether a completion is correct follows from its reward.
    """
    rows = (len(group),)
    shape = (len(group), int(lengths.max()))
    names = (objective.tensors.keys() if read is None else objective.tensors.keys() & read) | {"reward"}
    batch = _drawn(objective, numbers, names - {"correct", "advantage"}, shape, rows, spread, size, start)
    reward = np.round(batch["reward"], 1)
    binary = group % 3 == 0
    reward[binary] = reward[binary] > 0
    reward[group == 4] = 1.0
    return {**batch, "reward": reward, "mask": np.arange(shape[1]) < lengths[:, None], "group": group}


def _drawn(
    objective: ResolvedObjective,
    numbers: Mapping[str, Array],
    names: Collection[str],
    shape: tuple[int, ...],
    rows: tuple[int, ...],
    spread: float,
    size: float,
    start: int = 0,
    one: tuple[int, ...] = (),
) -> Arrays:
    magnitude = np.exp(2 * size * uniform("magnitude", rows, start) - size)
    sign = np.where(uniform("sign", rows, start) < 0.5, -1.0, 1.0)
    batch = drawn(_regime(objective, numbers, spread), objective.tensors, names, shape, rows, start, one)
    return {**batch, "advantage": sign * magnitude}


def _regime(objective: ResolvedObjective, numbers: Mapping[str, Array], spread: float) -> Regime:
    """Log-ratios of policy and old within `spread`, those of other policies within 4.

    `numbers` are those that tensors are compared with: a walk through the spec, made once for all batches.
    """
    declared = {name: row for name, row in objective.tensors.items() if row.domain in _GIVEN}

    def policy(draw: Draw) -> Numbers:
        extent = spread if draw.row.live else 4.0
        # Of a wide spread, most are near 0.
        apart = extent * draw.between(-1, 1) ** (1 if extent <= 1 else 3)
        found: Numbers = np.minimum(draw.old + apart, -1e-7)
        return found

    return Regime(
        old=lambda draw: -np.exp(draw.between(-5, 3)),
        policy=policy,
        nonnegative=lambda draw: np.exp(draw.between(-7, 2.3)),
        probability=lambda draw: draw.uniform(),
        real=lambda draw: draw.between(-2, 2),
        condition=lambda draw: draw.uniform() < 0.4,
        # Numbers that a spec may compare with, and such between.
        given=lambda draw: np.where(
            draw.uniform("whole") < 0.5, np.floor(draw.between(0, 3)), draw.between(0, 2)
        ),
        compared={name: found for name, found in numbers.items() if name in declared},
    )
