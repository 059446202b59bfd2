"""Pictures of docs/benchmarks.md; lines differ in dash and marker, so that they can be told apart without colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "benchmarks"


@contextmanager
def picture(name: str) -> Iterator[Any]:
    """The axes of a picture, which is written to `FOLDER` when all is drawn."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    yield axes
    axes.legend(frameon=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})


def link(name: str) -> str:
    """A picture's place on the page."""
    return f"![time by {name}](images/benchmarks/{name}.svg)"
