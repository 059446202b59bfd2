"""Figures of a report as SVG text: legible at half size and without colour."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison
from maspo_dsl.ablation.report.formats import Curve
from maspo_dsl.ablation.report.results import PointResult
from maspo_dsl.pictures.style import GREY, LINES, style, svg_text

_COLUMNS = 3
# Inches: of one panel, of the gaps between panels, and of what surrounds them all.
_PANEL, _GAPS, _LEFT, _BELOW, _ABOVE, _RIGHT = (3.7, 2.2), (0.25, 0.5), 1.05, 0.8, 0.4, 0.15
_TEXT = 14
_DARK = LINES[0][0]


def curves(results: Sequence[PointResult], metric: str, label: str) -> str:
    """A panel for each point: mean of its seeds with the band from lowest to highest, the base dashed in grey.

    Empty if the metric was never measured.
    """
    shown = [point for point in results if point.runs]
    if not _measured(shown, metric):
        return ""
    base, others = shown[0], shown[1:] or shown[:1]

    def draw(axis: Axes, point: PointResult) -> None:
        _draw(axis, base, metric, GREY, "--")
        if point is not base:
            _draw(axis, point, metric, _DARK, "-")

    return _panels(others, draw, label)


def by_sign(results: Sequence[PointResult], metric: str, label: str) -> str:
    """A panel for each point, the base too: a metric of tokens with A > 0 as a line, with A < 0 dashed in grey.

    Empty if the metric was never measured.
    """
    shown = [point for point in results if point.runs]
    if not _measured(shown, f"{metric}_pos") or not _measured(shown, f"{metric}_neg"):
        return ""

    def draw(axis: Axes, point: PointResult) -> None:
        _draw(axis, point, f"{metric}_neg", GREY, "--")
        _draw(axis, point, f"{metric}_pos", _DARK, "-")

    return _panels(shown, draw, label)


def _measured(points: Sequence[PointResult], metric: str) -> bool:
    return not all(np.isnan(run.curve(metric)).all() for point in points for run in point.runs)


def _panels(points: Sequence[PointResult], draw: Callable[[Axes, PointResult], None], label: str) -> str:
    """A panel for each point, on common axes."""
    rows = math.ceil(len(points) / _COLUMNS)
    width = _LEFT + _COLUMNS * _PANEL[0] + (_COLUMNS - 1) * _GAPS[0] + _RIGHT
    height = _ABOVE + rows * _PANEL[1] + (rows - 1) * _GAPS[1] + _BELOW
    with mpl.rc_context(style(_TEXT)):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=_LEFT / width,
            right=1 - _RIGHT / width,
            bottom=_BELOW / height,
            top=1 - _ABOVE / height,
            wspace=_GAPS[0] / _PANEL[0],
            hspace=_GAPS[1] / _PANEL[1],
        )
        for axis, point in zip(axes.flat, points, strict=False):
            draw(axis, point)
            axis.set_title(point.name)
        for place, axis in enumerate(axes.flat):
            axis.tick_params(labelbottom=place + _COLUMNS >= len(points))
            axis.set_visible(place < len(points))
        used = min(_COLUMNS, len(points))
        middle = (_LEFT + (used * _PANEL[0] + (used - 1) * _GAPS[0]) / 2) / width
        figure.supxlabel("step", x=middle, y=0.12 / height, va="bottom", fontsize=14)
        figure.supylabel(label, x=0.12 / width, ha="left", fontsize=14)
        return svg_text(figure)


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


def forest(rows: Sequence[Comparison], measure: str) -> str:
    """Differences from the base, a line a point: thick the bootstrap's interval, thin Student's.

    Empty without other points.
    """
    others = [row for row in rows if row.measures[measure].difference is not None]
    if not others:
        return ""
    with mpl.rc_context(style(_TEXT)):
        figure = Figure(figsize=(10, 1.1 + 0.42 * len(others)), layout="constrained")
        axis = figure.subplots()
        axis.axvline(0, color=GREY, linestyle="--", linewidth=1.5)
        for place, row in enumerate(others):
            found = row.measures[measure].difference
            assert found is not None
            if found.low is not None and found.high is not None:
                student = [found.mean - found.margin, found.mean + found.margin]
                axis.plot(student, [place, place], color=_DARK, linewidth=1)
                axis.plot([found.low, found.high], [place, place], color=_DARK, linewidth=4)
            decided = found.verdict in ("higher", "lower")
            fill = _DARK if decided else "white"
            axis.plot(found.mean, place, "o", color=_DARK, markersize=8, markerfacecolor=fill)
        axis.set_yticks(range(len(others)), [row.name for row in others])
        axis.set_ylim(len(others) - 0.5, -0.5)
        axis.set_xlabel(f"{MEASURES[measure]}, difference from {rows[0].name}")
        return svg_text(figure)
