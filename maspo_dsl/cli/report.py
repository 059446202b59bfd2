"""`maspo-dsl report`: what the runs of a grid came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, print_json, print_line, write_file

if TYPE_CHECKING:
    from maspo_dsl.ablation.report.pictures import Picture

WRITTEN = ("report.html", "report.md", "report.csv", "report.tex")


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a grid that was run.")],
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="A folder for the figures, each as SVG and as PDF."),
    ] = None,
    reward: Annotated[
        str | None, typer.Option("--reward", metavar="NAME", help="What the runs call their reward.")
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option("--held-out", metavar="NAME", help="What they call that of held-out prompts."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; write nothing.")] = False,
) -> None:
    """Compare the points of a grid that was run.

    Writes report.html, one page that needs nothing else, report.md, and its tables as report.csv and
    report.tex. Runs of other trainers are read from metrics.jsonl, trainer_state.json of transformers,
    verl's file logger, or TensorBoard's event files.
    """
    from maspo_dsl.ablation.changes import GridError
    from maspo_dsl.ablation.folder import read_grid
    from maspo_dsl.ablation.report.comparison import compare
    from maspo_dsl.ablation.report.facts import facts
    from maspo_dsl.ablation.report.formats import ColumnNames
    from maspo_dsl.ablation.report.page import html, markdown
    from maspo_dsl.ablation.report.pictures import pictures
    from maspo_dsl.ablation.report.results import read_results
    from maspo_dsl.ablation.report.tables import csv_table, latex_table

    with invalid_input_exits(as_json=as_json):
        try:
            grid = read_grid(folder)
            results = read_results(grid, ColumnNames(reward, held_out))
        except GridError as error:
            raise InputError(f"{error}{_earlier(folder)}") from None
        rows = compare(results)
        if as_json:
            print_json({"base": rows[0].name, "points": [finite(asdict(row)) for row in rows]})
            return
        made_with, drawn = facts(grid, results), pictures(rows, results)
        text = markdown(rows, made_with, grid.manifest)
        if figures is not None:
            write_figures(figures, drawn)
        shown = html(rows, drawn, made_with, grid.manifest)
        contents = (shown, text, csv_table(rows), latex_table(rows, made_with))
        for name, content in zip(WRITTEN, contents, strict=True):
            write_file(folder / name, content)
    print_line(text)
    print_line(f"written to {' and '.join(str(folder / name) for name in WRITTEN)}")


def _earlier(folder: Path) -> str:
    """What is to be said of reports that are in a folder already."""
    there = " and ".join(name for name in WRITTEN if (folder / name).is_file())
    return f"\n       still there from an earlier report: {there}" if there else ""


def write_figures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write each figure into a folder, which is made. Raises InputError: it cannot be."""
    from maspo_dsl.pictures.style import figure_bytes

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`{folder}` cannot be made: {(error.strerror or str(error)).lower()}") from None
    for picture in pictures:
        for kind in ("svg", "pdf"):
            write_file(folder / f"{picture.name}.{kind}", figure_bytes(picture.figure, kind))


def finite(value: Any) -> Any:
    """A document without numbers that JSON does not have: None stands for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
