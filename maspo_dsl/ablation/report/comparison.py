"""Every point against the base: the rows of the report's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maspo_dsl.ablation.report.results import PointResult
from maspo_dsl.ablation.report.statistics import (
    Difference,
    holm,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)

MEASURES = {
    "final_reward": "final reward",
    "mean_reward": "mean reward",
    "final_greedy": "held-out greedy",
}


@dataclass(frozen=True)
class Measure:
    """One number of a point over its seeds; the last two are against the base, None if there is no pair with it."""

    mean: float
    iqm: float
    difference: Difference | None
    improvement: float | None


@dataclass(frozen=True)
class Comparison:
    """A point's row. `measures` has the keys of MEASURES; seconds are means of a run.

    `seeds` is the number of its finished runs, which means and IQM are of; `pairs` the number of seeds that the base
    has finished too, which differences and improvements are of. `missing` are seeds that have not finished.
    """

    name: str
    doc: str
    edits: tuple[str, ...]
    hash: str
    seeds: int
    pairs: int
    missing: tuple[int, ...]
    measures: dict[str, Measure]
    cpu_seconds: float
    wall_seconds: float


def compare(results: Sequence[PointResult]) -> list[Comparison]:
    """Every point that has a finished run, the base first; pairs are of seeds that both have finished."""
    return [_row(point, results[0]) for point in results if point.runs]


def measured(rows: Sequence[Comparison]) -> list[str]:
    """The measures that any run has, in their order."""
    return [name for name in MEASURES if not all(math.isnan(row.measures[name].mean) for row in rows)]


def differences(rows: Sequence[Comparison]) -> list[Difference]:
    """Every difference from the base that there is."""
    found = (row.measures[name].difference for name in measured(rows) for row in rows)
    return [difference for difference in found if difference is not None]


def remaining(rows: Sequence[Comparison], measure: str) -> tuple[list[str], list[str]]:
    """Points called higher or lower, and those of them that remain when all comparisons are counted (Holm)."""
    found = [(row.name, row.measures[measure].difference) for row in rows]
    compared = [(name, difference) for name, difference in found if difference is not None]
    rejected = holm([difference.p_value for _, difference in compared])
    called = [difference.verdict in ("higher", "lower") for _, difference in compared]
    names = [name for name, _ in compared]
    return (
        [name for name, is_called in zip(names, called, strict=True) if is_called],
        [name for name, *both in zip(names, called, rejected, strict=True) if all(both)],
    )


def _row(point: PointResult, base: PointResult) -> Comparison:
    record = point.record
    shared = sorted(set(point.seeds) & set(base.seeds))
    compared = [] if point is base else shared
    return Comparison(
        point.name,
        str(record["doc"]),
        tuple(record["edits"]),
        str(record["hash"]),
        len(point.runs),
        len(shared),
        point.missing,
        {measure: _measure(point, base, compared, measure) for measure in MEASURES},
        float(np.mean([run.cpu_seconds for run in point.runs])),
        float(np.mean([run.wall_seconds for run in point.runs])),
    )


def _measure(point: PointResult, base: PointResult, seeds: Sequence[int], measure: str) -> Measure:
    """A measure over all runs of a point, and against the base over the seeds of both; none, no comparison."""
    every = point.values(measure)
    mean, middle = float(np.mean(every)), interquartile_mean(every)
    if not seeds:
        return Measure(mean, middle, None, None)
    ours, theirs = point.values(measure, seeds), base.values(measure, seeds)
    return Measure(mean, middle, paired_difference(ours, theirs), probability_of_improvement(ours, theirs))
