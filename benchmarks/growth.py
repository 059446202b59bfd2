"""How the time of head and loss grows with tokens, vocabulary and sequences, beside products and model of the cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import maspo_dsl
from benchmarks.head import Problem, Size
from benchmarks.law import Rates, exponent, largest_miss, measured_rates
from benchmarks.measure import seconds
from benchmarks.peers import plain
from benchmarks.pictures import link, picture
from benchmarks.table import milliseconds

BASE = Size(sequences=8, length=128, hidden=256, vocabulary=2**14)
SMALLEST = 10
"""Tokens begin at 2 to this power, the vocabulary at 8 times that."""
RATED = replace(BASE, length=512)
"""The size at which the rates of the model are measured."""


@dataclass(frozen=True)
class Point:
    """Seconds of head and loss, of plain logits, of the three products, and of head and loss by the model."""

    at: int
    head: float
    logits: float
    products: float
    predicted: float


def axes(largest: int) -> dict[str, list[tuple[int, Size]]]:
    """Sizes by what grows: tokens, vocabulary, sequences of the same tokens; `largest` is a power of two."""
    tokens = [2**power for power in range(SMALLEST, largest + 1)]
    sequences = [2**power for power in range(8)]
    return {
        "tokens": [(count, replace(BASE, length=count // BASE.sequences)) for count in tokens],
        "vocabulary": [(8 * count, replace(BASE, vocabulary=8 * count)) for count in tokens],
        "sequences": [
            (count, replace(BASE, sequences=count, length=BASE.tokens // count)) for count in sequences
        ],
    }


def measured(size: Size, at: int, rates: Rates, *, turns: int) -> Point:
    """One size."""
    problem, loss = Problem(size), maspo_dsl.compile("dapo")
    took = seconds(
        {
            "head": problem.by_head(loss),
            "logits": problem.by_scoring(loss, plain(entropy=False)),
            "products": problem.by_products(),
        },
        turns=turns,
        warm_up=1,
    )
    return Point(at, took["head"], took["logits"], took["products"], rates.head(size))


def table(name: str, points: Sequence[Point]) -> str:
    """A Markdown table of one axis."""
    header = (
        f"| {name} | head and loss | by the model | measured / model | the products alone | ratio | "
        "logits by plain torch | ratio |"
    )
    lines = [header, "| --- " * 8 + "|"]
    for point in points:
        cells = [f"{point.at:,}", milliseconds(point.head)]
        for other in (point.predicted, point.products, point.logits):
            cells += [milliseconds(other), f"{point.head / other:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def law(name: str, points: Sequence[Point]) -> str:
    """The law of one axis as a sentence: the power that was found beside those of the products and of the model."""
    at, head = [point.at for point in points], [point.head for point in points]
    model, products = [point.predicted for point in points], [point.products for point in points]
    miss = largest_miss(head, model)
    return (
        f"Over the larger half, time grows with {name} to the power {exponent(at, head):.2f}; the products alone "
        f"to {exponent(at, products):.2f}, the model to {exponent(at, model):.2f}. "
        f"Where the model misses most, it says {100 * abs(miss):.0f} % too {'little' if miss > 0 else 'much'}."
    )


def draw(name: str, points: Sequence[Point]) -> None:
    """A picture of one axis, both scales logarithmic."""
    at = [point.at for point in points]
    with picture(name) as axes:
        axes.plot(
            at, [each.logits for each in points], "s:", color="0.5", label="logits formed by plain torch"
        )
        axes.plot(at, [each.head for each in points], "o-", color="0.0", label="head and loss")
        axes.plot(
            at, [each.predicted for each in points], "x-.", color="tab:orange", label="model of the cost"
        )
        axes.plot(at, [each.products for each in points], "--", color="tab:blue", label="the three products")
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="seconds, forward and backward")
        axes.grid(color="0.9")


def report(largest: int, *, turns: int, draws: bool) -> str:
    """All axes of sizes, measured, drawn if wished, and as text for docs/benchmarks.md."""
    rates = measured_rates(RATED, turns=3 * turns)
    fixed = f"{BASE.tokens:,} tokens in {BASE.sequences} completions, V {BASE.vocabulary:,}"
    parts = [
        f"H {BASE.hidden}; where it does not grow: {fixed}. The model: {rates.text}, measured at "
        f"{RATED.tokens:,} tokens.\n"
    ]
    for name, sizes in axes(largest).items():
        points = [measured(size, at, rates, turns=turns) for at, size in sizes]
        if draws:
            draw(name, points)
        parts += [table(name, points), f"\n{law(name, points)}", f"\n{link(name)}\n"]
    return "\n".join(parts)
