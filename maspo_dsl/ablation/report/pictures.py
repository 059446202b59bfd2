"""Which figures a report has, in the order they are shown, each with what is needed to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison
from maspo_dsl.ablation.report.figures import by_sign, curves, forest
from maspo_dsl.ablation.report.results import PointResult
from maspo_dsl.trainers.columns import COLUMNS


@dataclass(frozen=True)
class Picture:
    """A figure: `name` for its file, and the measure whose differences it shows, if it does."""

    name: str
    title: str
    caption: str
    svg: str
    measure: str | None = None


def pictures(rows: Sequence[Comparison], results: Sequence[PointResult]) -> list[Picture]:
    """Every figure that the runs have the numbers for."""
    return [picture for picture in _all(rows, results) if picture.svg]


def _all(rows: Sequence[Comparison], results: Sequence[PointResult]) -> Iterator[Picture]:
    for measure, title in MEASURES.items():
        if not all(math.isnan(row.measures[measure].mean) for row in rows):
            caption = (
                "Thick: bootstrap interval; thin: Student's. A filled dot is called higher or lower; "
                "it is not corrected for the number of comparisons."
            )
            name = f"difference_{measure}"
            yield Picture(name, title, caption, forest(rows, measure), measure)
    for column in COLUMNS.values():
        name, label = column.name, column.figure
        if label and name.endswith("_pos"):
            stem = name.removesuffix("_pos")
            caption = f"Line: A > 0; grey, dashed: A < 0; mean over seeds, band from lowest to highest. {column.note}"
            yield Picture(stem, f"{label}, by sign of the advantage", caption, by_sign(results, stem, label))
        elif label:
            caption = f"Line: mean over seeds; band: lowest to highest. Grey, dashed: {rows[0].name}."
            yield Picture(name.replace("/", "_"), label, caption, curves(results, name, label))
