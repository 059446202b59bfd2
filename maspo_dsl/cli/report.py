"""`maspo-dsl report`: what the runs of a grid came to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, say, say_json, write_whole


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a grid that was run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; write nothing.")] = False,
) -> None:
    """Compare the points of a grid that was run.

    Writes report.html, one page that needs nothing else, and report.md.
    """
    from maspo_dsl.ablation.changes import GridError
    from maspo_dsl.ablation.folder import read_grid
    from maspo_dsl.ablation.report.comparison import compare
    from maspo_dsl.ablation.report.page import html, markdown
    from maspo_dsl.ablation.report.results import read_results

    with invalid_input_exits(as_json=as_json):
        try:
            grid = read_grid(folder)
            results = read_results(grid)
        except GridError as error:
            raise InputError(str(error)) from None
        rows = compare(results)
        if as_json:
            say_json({"base": rows[0].name, "points": [json.loads(json.dumps(asdict(row))) for row in rows]})
            return
        text = markdown(rows, grid.manifest)
        write_whole(folder / "report.html", html(rows, results, grid.manifest))
        write_whole(folder / "report.md", text)
    say(text)
    say(f"written to {folder / 'report.html'} and {folder / 'report.md'}")
