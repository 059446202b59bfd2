"""The gradient weight of one objective or several as a figure of the width of a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from maspo_dsl.analysis.weight_curves import ADVANTAGE, MOVED, OLD, RATIO, Curve, WeightCurves
from maspo_dsl.pictures.style import GREY, LINES, style

# Inches: of the figure, of panels with curves and with differences, of what is above, between and below them.
_WIDTH, _LEFT, _RIGHT, _BETWEEN = 3.5, 0.45, 0.05, 0.42
_TALL, _LOW, _ABOVE, _GAP, _LINE = 1.4, 0.7, 0.2, 0.4, 0.15
_TEXT = 7.5
_SIGNS = ((1.0, "A = 1"), (-1.0, "A = −1"))
_SHOWN_OLDS, _OVERLAID_OLDS = (0.9, 0.5, 0.1, 0.01), (0.5, 0.01)
_LABELS = {RATIO: "ratio r", OLD: "old", ADVANTAGE: "A"}
_LOGARITHMIC = {RATIO: (0.2, 0.5, 1, 2, 5), OLD: (1e-4, 1e-3, 1e-2, 1e-1, 1)}
_MOVED = f"Moved: r = {MOVED:g} where A > 0, {1 / MOVED:.2f} where A < 0."
_ENDS = "A curve ends where the policy would be more probable than 1."
_CHARACTERS = 66
_LONG_LABEL, _LONGER_LABEL = 9, 26
"""Characters of a label, beyond which only two stand beside each other, or one alone."""


@dataclass(frozen=True)
class _Line:
    """A curve, what tells it apart, and what it is called."""

    curve: Curve
    look: int
    label: str = ""


@dataclass(frozen=True)
class _Panel:
    """Lines on one pair of axes."""

    lines: Sequence[_Line]
    title: str
    label: str = "gradient weight"
    height: float = _TALL
    above_another: bool = False


def weight_figure(every: Sequence[WeightCurves]) -> Figure:
    """The figure of objectives that have curves: of one at several `old`, of several with their differences.

    As many can be told apart as there are LINES. Raises ValueError for more, and for one that has no curves.
    """
    if len(every) > len(LINES):
        raise ValueError(f"{len(every)} objectives in one picture cannot be told apart: at most {len(LINES)}")
    for curves in every:
        if curves.why:
            raise ValueError(curves.why)
    rows = [*(_single(every[0]) if len(every) == 1 else _overlaid(every)), _moved(every)]
    title = every[0].name if len(every) == 1 else ""
    return _figure(rows, title, _caption(every))


def small_figure(curves: WeightCurves) -> Figure:
    """One row, both signs over the ratio, to stand beside a text."""
    return _figure(list(_single(curves)), "", [])


# ---- what is shown


def _single(curves: WeightCurves) -> Iterator[tuple[_Panel, _Panel]]:
    """Weights over the ratio: a line for each `old`, one if they are all the same."""

    def lines(sign: float) -> list[_Line]:
        if OLD not in curves.matters:
            return [_Line(curves.along(RATIO, A=sign, old=_SHOWN_OLDS[-1])[0], 0)]
        return [
            _Line(curves.along(RATIO, A=sign, old=old)[0], look, f"old = {old:g}")
            for look, old in enumerate(_SHOWN_OLDS)
        ]

    left, right = (_Panel(lines(sign), title) for sign, title in _SIGNS)
    yield left, right


def _overlaid(every: Sequence[WeightCurves]) -> Iterator[tuple[_Panel, _Panel]]:
    """For each `old` that matters a row, and below it one of differences from the first."""
    for old in _OVERLAID_OLDS if any(OLD in curves.matters for curves in every) else _OVERLAID_OLDS[-1:]:
        rows = []
        for sign, title in _SIGNS:
            found = [curves.along(RATIO, A=sign, old=old)[0] for curves in every]
            lines = [_Line(curve, look, every[look].name) for look, curve in enumerate(found)]
            apart = [_Line(_minus(line.curve, found[0]), line.look) for line in lines]
            label = f"minus {every[0].name}"
            rows.append(
                (
                    _Panel(lines, f"{title}, old = {old:g}", above_another=True),
                    _Panel(apart, "", _short(label), _LOW),
                )
            )
        (above, below), (above_right, below_right) = rows
        yield above, above_right
        yield below, below_right


def _moved(every: Sequence[WeightCurves]) -> tuple[_Panel, _Panel]:
    """Over `old` and over A, where the policy has moved as the advantage says."""
    over = [
        [_Line(curve, look) for look, curves in enumerate(every) for curve in curves.along(coordinate)]
        for coordinate in (OLD, ADVANTAGE)
    ]
    return _Panel(over[0], "A = ±1, moved"), _Panel(over[1], "old = 0.1, moved")


def _minus(curve: Curve, first: Curve) -> Curve:
    apart = np.array(curve.weights) - np.array(first.weights)
    return Curve(curve.along, curve.places, curve.at, tuple(apart.tolist()))


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _caption(every: Sequence[WeightCurves]) -> list[str]:
    """What is to be known of the curves, in lines."""
    cut = any(np.isnan(curve.weights).any() for curves in every for curve in curves.curves)
    notes = list(dict.fromkeys(note for curves in every for note in curves.notes))
    told = f"{notes[0][0].upper()}{'; '.join(notes)[1:]}." if notes else ""
    return wrap(" ".join([_MOVED, *([told] if told else []), *([_ENDS] if cut else [])]), _CHARACTERS)


# ---- how it is drawn


def _figure(rows: Sequence[tuple[_Panel, _Panel]], title: str, caption: Sequence[str]) -> Figure:
    """Two columns of panels under a title and a legend, above a caption."""
    labels = {line.label: line.look for line in rows[0][0].lines if line.label}
    longest = max((len(label) for label in labels), default=0)
    columns = 1 if longest > _LONGER_LABEL else 2 if longest > _LONG_LABEL else 4
    top = 0.03 + _LINE * bool(title) + 0.17 * -(-len(labels) // columns)
    height = top + sum(sum(_space(left)) + left.height for left, _ in rows) + _LINE * len(caption)
    with mpl.rc_context(style(_TEXT)):
        figure = Figure(figsize=(_WIDTH, height))
        below = height - top
        for row in rows:
            over, under = _space(row[0])
            below -= over + row[0].height
            for column, panel in enumerate(row):
                width = (_WIDTH - _LEFT - _RIGHT - _BETWEEN) / 2
                left = _LEFT + column * (width + _BETWEEN)
                place = (left / _WIDTH, below / height, width / _WIDTH, panel.height / height)
                _draw(figure.add_axes(place), panel)
            below -= under
        figure.text(0.02, 0.04 / height, "\n".join(caption), va="bottom", color="#444444", fontsize=_TEXT - 1)
        figure.text(0.02, 1 - 0.03 / height, title, va="top", fontsize=_TEXT + 1, fontweight="bold")
        _legend(figure, labels, columns, 1 - (_LINE * bool(title) + 0.02) / height)
        return figure


def _space(panel: _Panel) -> tuple[float, float]:
    """Inches above a panel and below it."""
    return (_ABOVE if panel.title else 0.0), (0.1 if panel.above_another else _GAP)


def _draw(axis: Axes, panel: _Panel) -> None:
    axis.axhline(0, color=GREY, linewidth=0.6)
    for line in panel.lines:
        color, dashes = LINES[line.look]
        axis.plot(line.curve.places, line.curve.weights, color=color, linestyle=dashes, linewidth=1.4)
    along = panel.lines[0].curve.along
    axis.set_xlabel("" if panel.above_another else _LABELS[along], labelpad=1)
    if (ticks := _LOGARITHMIC.get(along)) is not None:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(ticks))
        axis.xaxis.set_minor_locator(NullLocator())
    if along == RATIO:
        axis.set_xlim(0.12, 8.3)
        axis.set_xticklabels(["" if panel.above_another else f"{tick:g}" for tick in _LOGARITHMIC[RATIO]])
        axis.axvline(1, color=GREY, linewidth=0.6, linestyle=":")
    axis.set_ylabel(panel.label, labelpad=2)
    axis.set_title(panel.title, fontsize=_TEXT - 0.5, pad=3)
    axis.tick_params(length=2, pad=1.5)
    axis.locator_params(axis="y", nbins=5)


def _legend(figure: Figure, labels: dict[str, int], columns: int, top: float) -> None:
    if not labels:
        return
    handles = [
        mpl.lines.Line2D([], [], color=LINES[look][0], linestyle=LINES[look][1], linewidth=1.4)
        for look in labels.values()
    ]
    figure.legend(
        handles,
        list(labels),
        loc="upper left",
        bbox_to_anchor=(0.0, top),
        ncols=columns,
        handlelength=2.4,
        columnspacing=1.0,
        borderaxespad=0.0,
    )
