"""The picture of a run: sampled reward and held-out greedy accuracy over its steps."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from maspo_dsl.language.writing import write_whole

from .metrics import Row


def draw_curves(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw both curves on one axis; they differ in dash and marker, not in colour alone."""
    # Slow to import, and needed once a run. The canvas without pyplot touches no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, reward = _series(rows, "reward")
    axes.plot(steps, reward, color="0.72", linewidth=1, label="reward of the rollout")
    axes.plot(steps, _smoothed(reward), color="0.0", linewidth=2, label="the same, mean of the last 5")
    greedy_steps, greedy = _series(rows, "eval/greedy")
    if greedy:
        axes.plot(
            greedy_steps,
            greedy,
            color="tab:blue",
            linestyle="--",
            marker="o",
            markersize=4,
            markerfacecolor="white",
            label="held-out, greedy completions",
        )
    axes.set(xlabel="step (one rollout and its updates)", ylabel="mean reward", title=title)
    low, high = min([0.0, *reward, *greedy]), max([1.0, *reward, *greedy])
    axes.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, picture.getvalue())


def _series(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of a metric, where it was measured."""
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [float(step or 0) for step, _ in points], [float(value or 0) for _, value in points]


def _smoothed(values: Sequence[float], width: int = 5) -> list[float]:
    """Means of the last `width` values."""
    windows = [values[max(0, end - width) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]
