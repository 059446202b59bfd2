"""What the runs of a grid came to, read from their folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.folder import GridFolder
from maspo_dsl.ablation.jobs import result_of
from maspo_dsl.ablation.report.formats import ColumnNames, Curve, columns_of, read_steps

# Of a run's last part: this share of its steps, for the reward; so many measurements, for greedy accuracy.
FINAL_SHARE = 0.1
FINAL_EVALUATIONS = 3


@dataclass(frozen=True)
class Run:
    """A finished run: its seed, its metrics step by step, and what it cost."""

    seed: int
    columns: Mapping[str, Curve]
    cpu_seconds: float
    wall_seconds: float

    def curve(self, name: str) -> Curve:
        """A metric over steps 0, 1, …; NaN where it was not measured."""
        return self.columns.get(name, np.full(len(self.columns["step"]), np.nan))

    @cached_property
    def final_reward(self) -> float:
        """Mean sampled reward of the last tenth of the steps."""
        return float(self._rewards[-max(1, round(FINAL_SHARE * len(self._rewards))) :].mean())

    @cached_property
    def mean_reward(self) -> float:
        """Mean sampled reward over all steps: the area under its curve."""
        return float(self._rewards.mean())

    @cached_property
    def _rewards(self) -> Curve:
        """Those that were measured, the one before training left out."""
        reward = self.curve("reward")[1:]
        return reward[~np.isnan(reward)]

    @cached_property
    def final_greedy(self) -> float:
        """Mean of the last held-out greedy rewards, that before training left out; NaN where none was measured."""
        measured = self.curve("eval/greedy")[1:]
        measured = measured[~np.isnan(measured)]
        return float(measured[-FINAL_EVALUATIONS:].mean()) if measured.size else float("nan")


@dataclass(frozen=True)
class PointResult:
    """A point with its finished runs, in the order of their seeds; `missing` are seeds that have not finished."""

    record: Mapping[str, Any]
    runs: tuple[Run, ...]
    missing: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record["name"])

    @property
    def seeds(self) -> list[int]:
        """Seeds of its finished runs."""
        return [run.seed for run in self.runs]

    def values(self, measure: str, seeds: Sequence[int] | None = None) -> list[float]:
        """One number a run, `final_reward`, `mean_reward` or `final_greedy`, of some seeds."""
        wanted = self.seeds if seeds is None else seeds
        return [float(getattr(run, measure)) for run in self.runs if run.seed in wanted]


def read_results(grid: GridFolder, names: ColumnNames | None = None) -> list[PointResult]:
    """Every point with the finished runs of the grid's last configuration, the base first.

    `names` says what other trainers call the rewards, if not as usual.

    Raises GridError: the grid has not been run, nothing of its base is finished, or the metrics of a finished run
    cannot be read.
    """
    folders = [grid.path / name for name in grid.manifest.get("runs", [])]
    if not folders:
        raise GridError(f"the grid of {grid.path} has not been run; add --run to the command that made it")
    found: dict[str, list[Run]] = {}
    for folder in folders:
        result = result_of(folder)
        if result:
            found.setdefault(result["point"], []).append(_read_run(folder, result, names or ColumnNames()))
    seeds = range(int(grid.manifest["seeds"]))
    results = [_point(record, found.get(record["name"], []), seeds) for record in grid.points]
    if not results[0].runs:
        raise GridError(
            f"no run of {results[0].name}, the base, has finished; there is nothing to compare with"
        )
    return results


def _point(record: Mapping[str, Any], runs: Sequence[Run], seeds: Iterable[int]) -> PointResult:
    finished = {run.seed: run for run in runs}
    missing = tuple(seed for seed in seeds if seed not in finished)
    return PointResult(record, tuple(finished[seed] for seed in sorted(finished)), missing)


def _read_run(folder: Path, result: Mapping[str, Any], names: ColumnNames) -> Run:
    try:
        steps = read_steps(folder)
    except (OSError, ValueError) as error:
        raise GridError(
            f"metrics of {folder} cannot be read ({error}); remove the run's folder to make it again"
        ) from None
    try:
        columns = columns_of(steps, names)
    except ValueError as error:
        raise GridError(f"{folder}: {error}") from None
    return Run(int(result["seed"]), columns, float(result["cpu_seconds"]), float(result["wall_seconds"]))
