"""Which figures a report has, in the order they are shown, each with what is needed to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from maspo_dsl.ablation.report.comparison import Comparison, differences
from maspo_dsl.ablation.report.figures import by_sign, curves, forest
from maspo_dsl.ablation.report.results import PointResult
from maspo_dsl.trainers.columns import COLUMNS


@dataclass(frozen=True)
class Picture:
    """A figure: `name` for its file, and what is needed to read it."""

    name: str
    title: str
    caption: str
    figure: Figure


def pictures(rows: Sequence[Comparison], results: Sequence[PointResult]) -> list[Picture]:
    """Every figure that the runs have the numbers for, differences of all measures first."""
    drawn = ((name, title, caption, make()) for name, title, caption, make in _all(rows, results))
    return [
        Picture(name, title, caption, figure) for name, title, caption, figure in drawn if figure is not None
    ]


def _all(
    rows: Sequence[Comparison], results: Sequence[PointResult]
) -> Iterator[tuple[str, str, str, Callable[[], Figure | None]]]:
    caption = "A filled dot is called higher or lower; it is not corrected for the number of comparisons."
    if any(found.low is not None for found in differences(rows)):
        caption = f"Thick: bootstrap interval; thin: Student's. {caption}"
    yield "differences", f"Differences from {rows[0].name}", caption, partial(forest, rows)
    for column in COLUMNS.values():
        name, label = column.name, column.figure
        if label and name.endswith("_pos"):
            stem = name.removesuffix("_pos")
            caption = f"Line: A > 0; grey, dashed: A < 0; mean over seeds, band from lowest to highest. {column.note}"
            title = f"{label}, by sign of the advantage"
            yield stem, title, caption, partial(by_sign, results, stem, label)
        elif label:
            caption = f"Line: mean over seeds; band: lowest to highest. Grey, dashed: {rows[0].name}."
            yield name.replace("/", "_"), label, caption, partial(curves, results, name, label)
