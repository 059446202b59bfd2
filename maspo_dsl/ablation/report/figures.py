"""Figures of a report as SVG text: legible at half size and without colour."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison
from maspo_dsl.ablation.report.results import Curve, PointResult

_STYLE: dict[Any, Any] = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",
    "svg.hashsalt": "maspo-dsl",
}
_COLUMNS = 3
_BASE, _POINT = "#8a8a8a", "#0b3c5d"


def curves(results: Sequence[PointResult], metric: str, label: str) -> str:
    """A panel for each point: mean of its seeds with the band from lowest to highest, the base dashed in grey.

    Empty if the metric was never measured.
    """
    shown = [point for point in results if point.runs]
    base, others = shown[0], shown[1:] or shown[:1]
    if all(np.isnan(run.curve(metric)).all() for point in shown for run in point.runs):
        return ""
    rows = math.ceil(len(others) / _COLUMNS)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2 * _COLUMNS, 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axis, point in zip(axes.flat, others, strict=False):
            _draw(axis, base, metric, _BASE, "--")
            if point is not base:
                _draw(axis, point, metric, _POINT, "-")
            axis.set_title(point.name)
        for axis in axes.flat[len(others) :]:
            axis.set_axis_off()
        for axis in axes[:, 0]:
            axis.set_ylabel(label)
        figure.supxlabel("step")
        return _svg(figure)


def _draw(axis: Axes, point: PointResult, metric: str, color: str, style: str) -> None:
    steps, middle, low, high = band([run.curve(metric) for run in point.runs])
    axis.plot(steps, middle, style, color=color, linewidth=2)
    axis.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)


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
    """Differences from the base with their intervals, a line a point. Empty without other points."""
    others = [row for row in rows if row.measures[measure].difference is not None]
    if not others:
        return ""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 1.1 + 0.42 * len(others)), layout="constrained")
        axis = figure.subplots()
        axis.axvline(0, color=_BASE, linestyle="--", linewidth=1.5)
        for place, row in enumerate(others):
            found = row.measures[measure].difference
            assert found is not None
            if found.low is not None and found.high is not None:
                axis.plot([found.low, found.high], [place, place], color=_POINT, linewidth=2)
            decided = found.verdict in ("higher", "lower")
            axis.plot(found.mean, place, "o", color=_POINT, markerfacecolor=_POINT if decided else "white")
        axis.set_yticks(range(len(others)), [row.name for row in others])
        axis.set_ylim(len(others) - 0.5, -0.5)
        axis.set_xlabel(f"{MEASURES[measure]}, difference from {rows[0].name}")
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
