"""Numbers of docs/maspo-study.md that are not in the report: rungs, stacking, time, probability mass, all at once.

python examples/maspo_study/answers.py grids/maspo_study [results.csv]
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maspo_dsl.ablation.folder import read_grid
from maspo_dsl.ablation.report.comparison import MEASURES
from maspo_dsl.ablation.report.results import PointResult, read_results
from maspo_dsl.ablation.report.statistics import Difference, holm, paired_difference

# The second is subtracted from the first.
RUNGS = (
    ("maspo_study_ladder_1_ratio", "maspo_study_ladder_0_group_ppo"),
    ("maspo_study_ladder_2_reduce", "maspo_study_ladder_1_ratio"),
    ("maspo_study_ladder_3_mass", "maspo_study_ladder_2_reduce"),
    ("maspo_study", "maspo_study_ladder_3_mass"),
)
STACKING = (("maspo_dapo", "maspo_study"), ("maspo_dapo", "dapo"))
TIME = (("maspo_study", "maspo_study_hard"), ("maspo_study", "maspo_study_ladder_0_group_ppo"))


def shown(found: Difference, digits: int = 3) -> str:
    """Mean, bootstrap interval, Student's interval, and what they support."""
    student = f"{found.mean - found.margin:+.{digits}f}, {found.mean + found.margin:+.{digits}f}"
    bootstrap = f"{found.low:+.{digits}f}, {found.high:+.{digits}f}"
    return (
        f"{found.mean:+.{digits}f} [{bootstrap}] Student [{student}] p = {found.p_value:.4f}: {found.verdict}"
    )


def compare(points: dict[str, PointResult], pairs: Sequence[tuple[str, str]], title: str) -> None:
    """Print the differences of pairs in every measure, and which remain when all are counted."""
    for measure, name in MEASURES.items():
        print(f"\n{title}, {name}")
        values = [(points[one].values(measure), points[other].values(measure)) for one, other in pairs]
        found = [paired_difference(*pair) for pair in values]
        kept = holm([difference.p_value for difference in found])
        for (one, other), difference, remains in zip(pairs, found, kept, strict=True):
            print(f"  {one} − {other}: {shown(difference)}{' (Holm: remains)' if remains else ''}")


def masses(point: PointResult) -> None:
    """Print the mean log-prob of the old policy by sign of the advantage: per seed, and over steps."""
    positive = np.array([run.curve("mass_pos")[1:] for run in point.runs])
    negative = np.array([run.curve("mass_neg")[1:] for run in point.runs])
    print(f"\nmean log old of {point.name}, A > 0 and A < 0, mean over all steps of each seed")
    for seed, up, down in zip(point.seeds, positive.mean(1), negative.mean(1), strict=True):
        print(f"  seed {seed}: {up:.3f} {down:.3f}")
    print(f"  A > 0 minus A < 0: {shown(paired_difference(positive.mean(1), negative.mean(1)))}")
    print(f"  steps in which A > 0 has more mass, of all seeds: {(positive > negative).mean():.3f}")
    for step in (1, 10, 20, 30, 40, positive.shape[1]):
        up, down = positive[:, step - 1], negative[:, step - 1]
        bands = [f"{row.mean():.3f} ({row.min():.3f} to {row.max():.3f})" for row in (up, down)]
        print(f"  step {step}: {bands[0]} | {bands[1]} | {shown(paired_difference(up, down))}")


def all_at_once(points: dict[str, PointResult]) -> None:
    """Print which differences from the base remain when those of all points and measures are counted together."""
    base, *others = points.values()
    pairs = [(point, measure) for point in others for measure in MEASURES]
    found = [paired_difference(point.values(measure), base.values(measure)) for point, measure in pairs]
    kept = holm([difference.p_value for difference in found])
    print(f"\nof {len(pairs)} differences from {base.name} at once (Holm):")
    for (point, measure), difference, remains in zip(pairs, found, kept, strict=True):
        if remains:
            print(f"  {point.name}, {MEASURES[measure]}: {shown(difference)}")


def off_policy(points: dict[str, PointResult]) -> None:
    """Print how far from the old policy the updates were, and how often a step was filled up."""
    metrics = ("ess", "gated_pos", "gated_neg", "resamples")
    print(f"\nmean over steps and seeds of {', '.join(metrics)}")
    for name, point in points.items():
        means = [np.mean([run.curve(metric)[1:].mean() for run in point.runs]) for metric in metrics]
        print(f"  {name}: {', '.join(f'{value:.3f}' for value in means)}")


def write_csv(points: dict[str, PointResult], path: Path) -> None:
    """Write a line for each run: its measures, its cost, and the mass by sign as means over its steps."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["point", "seed", *MEASURES, "cpu_seconds", "wall_seconds", "mass_pos", "mass_neg"])
        for point in points.values():
            for run in point.runs:
                measures = [getattr(run, measure) for measure in MEASURES]
                masses = [run.curve(metric)[1:].mean() for metric in ("mass_pos", "mass_neg")]
                numbers = [*measures, run.cpu_seconds, run.wall_seconds, *masses]
                lines.writerow([point.name, run.seed, *(repr(float(number)) for number in numbers)])


def main(folder: str, table: str | None = None) -> None:
    """Print everything about the grid of a folder, and write its runs to a table."""
    points = {point.name: point for point in read_results(read_grid(Path(folder)))}
    all_at_once(points)
    compare(points, RUNGS, "rung minus the one below")
    compare(points, STACKING, "stacking")
    print("\nCPU seconds of a run")
    for one, other in TIME:
        seconds = [[run.cpu_seconds for run in points[name].runs] for name in (one, other)]
        print(f"  {one} − {other}: {shown(paired_difference(*seconds), 1)}")
    masses(points["maspo_study"])
    off_policy(points)
    if table is not None:
        write_csv(points, Path(table))


if __name__ == "__main__":
    main(*sys.argv[1:])
