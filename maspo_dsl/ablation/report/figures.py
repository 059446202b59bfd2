"""Figures of a report: legible at half size and without colour, of two points and of forty."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison, measured
from maspo_dsl.ablation.report.formats import Curve
from maspo_dsl.ablation.report.results import PointResult
from maspo_dsl.ablation.report.statistics import Difference
from maspo_dsl.pictures.style import GREY, LINES, style

# Inches: of the figure, of the gaps between panels, and of what surrounds them all; of a line of text.
_WIDTH, _GAPS, _LEFT, _BELOW, _ABOVE, _RIGHT, _LINE = 12.5, (0.25, 0.3), 1.2, 0.8, 0.2, 0.15, 0.23
_TEXT, _SMALLER = 14, 12
_CHARACTERS_AN_INCH = {_TEXT: 8.0, _SMALLER: 9.5}
_DARK = LINES[0][0]
# More panels than these are smaller, four beside each other.
_FEW = 12
_LONGEST_LABEL = 28


def curves(results: Sequence[PointResult], metric: str, label: str) -> Figure | None:
    """A panel for each point: mean of its seeds with the band from lowest to highest, the base dashed in grey.

    None if the metric was never measured.
    """
    shown = [point for point in results if point.runs]
    if not _measured(shown, metric):
        return None
    base, others = shown[0], shown[1:] or shown[:1]

    def draw(axis: Axes, point: PointResult) -> None:
        _draw(axis, base, metric, GREY, "--")
        if point is not base:
            _draw(axis, point, metric, _DARK, "-")

    return _panels(others, draw, label)


def by_sign(results: Sequence[PointResult], metric: str, label: str) -> Figure | None:
    """A panel for each point, the base too: a metric of tokens with A > 0 as a line, with A < 0 dashed in grey.

    None if the metric was never measured.
    """
    shown = [point for point in results if point.runs]
    if not _measured(shown, f"{metric}_pos") or not _measured(shown, f"{metric}_neg"):
        return None

    def draw(axis: Axes, point: PointResult) -> None:
        _draw(axis, point, f"{metric}_neg", GREY, "--")
        _draw(axis, point, f"{metric}_pos", _DARK, "-")

    return _panels(shown, draw, label)


def _measured(points: Sequence[PointResult], metric: str) -> bool:
    return not all(np.isnan(run.curve(metric)).all() for point in points for run in point.runs)


def _panels(points: Sequence[PointResult], draw: Callable[[Axes, PointResult], None], label: str) -> Figure:
    """A panel for each point, on common axes."""
    columns, size = (3, _TEXT) if len(points) <= _FEW else (4, _SMALLER)
    rows = math.ceil(len(points) / columns)
    wide = (_WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAPS[0]) / columns
    tall, characters = 0.6 * wide, int(wide * _CHARACTERS_AN_INCH[size])
    titles = [broken(point.name, characters) for point in points]
    title = 0.1 + _LINE * max(text.count("\n") + 1 for text in titles)
    height = _ABOVE + rows * (tall + title) + (rows - 1) * _GAPS[1] + _BELOW
    with mpl.rc_context(style(size)):
        figure = Figure(figsize=(_WIDTH, height))
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=_LEFT / _WIDTH,
            right=1 - _RIGHT / _WIDTH,
            bottom=_BELOW / height,
            top=1 - (_ABOVE + title) / height,
            wspace=_GAPS[0] / wide,
            hspace=(title + _GAPS[1]) / tall,
        )
        for axis, point, text in zip(axes.flat, points, titles, strict=False):
            draw(axis, point)
            axis.set_title(text)
        for place, axis in enumerate(axes.flat):
            axis.tick_params(labelbottom=place + columns >= len(points))
            axis.set_visible(place < len(points))
        used = min(columns, len(points))
        middle = (_LEFT + (used * wide + (used - 1) * _GAPS[0]) / 2) / _WIDTH
        figure.supxlabel("step", x=middle, y=0.12 / height, va="bottom", fontsize=size)
        longest = rows * (tall + title + _GAPS[1]) + _BELOW
        told = broken(label, int(longest * _CHARACTERS_AN_INCH[size]))
        figure.supylabel(told, x=0.12 / _WIDTH, ha="left", fontsize=size)
        return figure


def broken(name: str, characters: int) -> str:
    """A name in lines of so many characters, broken behind an underscore or a blank where there is one."""
    pieces = re.findall(rf"[^_ ]{{1,{characters}}}[_ ]*|[_ ]+", name)
    lines = [""]
    for piece in pieces:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > characters:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


def _draw(axis: Axes, point: PointResult, metric: str, color: str, style: str) -> None:
    steps, middle, low, high = band([run.curve(metric) for run in point.runs])
    axis.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
    axis.plot(steps, middle, style, color=color, linewidth=2)


def band(curves: Sequence[Curve]) -> tuple[Curve, Curve, Curve, Curve]:
    """Steps at which a metric was measured, its mean over runs, and the lowest and highest of them."""
    length = min(len(curve) for curve in curves)
    stacked = np.stack([curve[:length] for curve in curves])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle, low, high = np.nanmean(stacked, 0), np.nanmin(stacked, 0), np.nanmax(stacked, 0)
    there = ~np.isnan(middle)
    return np.flatnonzero(there).astype(float), middle[there], low[there], high[there]


def forest(rows: Sequence[Comparison]) -> Figure | None:
    """Differences from the base, a line a point, a panel a measure: thick the bootstrap's interval, thin Student's.

    None without other points.
    """
    shown = measured(rows)
    others = [row for row in rows if any(row.measures[name].difference is not None for name in shown)]
    if not others:
        return None
    names = [broken(row.name, _LONGEST_LABEL) for row in others]
    lines = max(name.count("\n") + 1 for name in names)
    with mpl.rc_context(style(_TEXT)):
        # A browser's letters may be wider than those that are measured.
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.08)
        height = 1.3 + (0.13 + _LINE * lines) * len(others)
        figure = Figure(figsize=(_WIDTH, height), layout=layout)
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axis, measure in zip(axes, shown, strict=True):
            axis.axvline(0, color=GREY, linestyle="--", linewidth=1.5)
            for place, row in enumerate(others):
                if (found := row.measures[measure].difference) is not None:
                    _interval(axis, place, found)
            axis.set_title(MEASURES[measure])
            axis.locator_params(axis="x", nbins=4)
        axes[0].set_yticks(range(len(others)), names)
        axes[0].set_ylim(len(others) - 0.5, -0.5)
        figure.supxlabel(f"difference from {broken(rows[0].name, 60)}", fontsize=_TEXT)
        return figure


def _interval(axis: Axes, place: int, found: Difference) -> None:
    if found.low is not None and found.high is not None:
        student = [found.mean - found.margin, found.mean + found.margin]
        axis.plot(student, [place, place], color=_DARK, linewidth=1)
        axis.plot([found.low, found.high], [place, place], color=_DARK, linewidth=4)
    fill = _DARK if found.verdict in ("higher", "lower") else "white"
    axis.plot(found.mean, place, "o", color=_DARK, markersize=8, markerfacecolor=fill)
