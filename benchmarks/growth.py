"""How the time of head and loss grows with tokens, vocabulary and sequences, beside its matrix products alone.

The model of the cost is 6 M H V multiplications and additions for M tokens, which the products do alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import maspo_dsl
from benchmarks.head import Problem, Size
from benchmarks.measure import seconds

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "benchmarks"
BASE = Size(sequences=8, length=128, hidden=256, words=2**14)


@dataclass(frozen=True)
class Point:
    """Seconds of head and loss, of plain logits, and of the three products, at a size."""

    at: int
    head: float
    logits: float
    products: float


def axes(largest: int) -> dict[str, list[tuple[int, Size]]]:
    """Sizes by what grows: tokens, words, sequences of the same tokens; `largest` is a power of two."""
    tokens = [2**power for power in range(10, largest + 1)]
    words = [2**power for power in range(13, largest + 4)]
    sequences = [2**power for power in range(8)]
    return {
        "tokens": [(count, replace(BASE, length=count // BASE.sequences)) for count in tokens],
        "words": [(count, replace(BASE, words=count)) for count in words],
        "sequences": [
            (count, replace(BASE, sequences=count, length=BASE.tokens // count)) for count in sequences
        ],
    }


def measured(size: Size, at: int, *, turns: int) -> Point:
    """One size."""
    problem, loss = Problem(size), maspo_dsl.compile("dapo")
    took = seconds(
        {
            "head": problem.by_head(loss),
            "logits": problem.by_logits(loss),
            "products": problem.by_products(),
        },
        turns=turns,
        warm_up=1,
    )
    return Point(at, took["head"], took["logits"], took["products"])


def table(name: str, points: Sequence[Point]) -> str:
    """A Markdown table of one axis."""
    header = f"| {name} | head and loss | the products alone | ratio | logits by plain torch | ratio |"
    lines = [header, "| --- " * 6 + "|"]
    for point in points:
        times = [f"{1e3 * value:.0f} ms" for value in (point.head, point.products, point.logits)]
        ratios = [f"{point.head / other:.2f}" for other in (point.products, point.logits)]
        lines.append(f"| {point.at:,} | {times[0]} | {times[1]} | {ratios[0]} | {times[2]} | {ratios[1]} |")
    return "\n".join(lines)


def draw(name: str, points: Sequence[Point]) -> Path:
    """A picture of one axis, both scales logarithmic; lines differ in dash and marker too."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axis = figure.add_subplot()
    at = [point.at for point in points]
    axis.plot(at, [point.logits for point in points], "s:", color="0.5", label="logits formed by plain torch")
    axis.plot(at, [point.head for point in points], "o-", color="0.0", label="head and loss")
    axis.plot(
        at, [point.products for point in points], "--", color="tab:blue", label="the three products alone"
    )
    axis.set(xscale="log", yscale="log", xlabel=name, ylabel="seconds, forward and backward")
    axis.grid(color="0.9")
    axis.legend(frameon=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


def report(largest: int, *, turns: int) -> str:
    """All axes, measured, drawn, and as text for docs/benchmarks.md."""
    fixed = f"{BASE.tokens:,} tokens in {BASE.sequences} answers, V {BASE.words:,}"
    parts = [f"H {BASE.hidden}; where it does not grow: {fixed}.\n"]
    for name, sizes in axes(largest).items():
        points = [measured(size, at, turns=turns) for at, size in sizes]
        path = draw(name, points)
        parts += [table(name, points), f"\n![time by {name}](images/benchmarks/{path.name})\n"]
    return "\n".join(parts)
