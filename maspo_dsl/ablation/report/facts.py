"""What the runs of a grid were made with, as a reader of a report asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from maspo_dsl.ablation.folder import GridFolder
from maspo_dsl.ablation.report.results import PointResult


def facts(grid: GridFolder, results: Sequence[PointResult]) -> dict[str, str]:
    """What a run was made with, by what it is called; of other trainers what their metrics say."""
    return dict(_all(grid, results))


def _all(grid: GridFolder, results: Sequence[PointResult]) -> Iterator[tuple[str, str]]:
    settings = _settings([grid.path / name for name in grid.manifest["runs"]])
    for key, name in (("ran", "command"), ("command", "command of a run")):
        if text := grid.manifest.get(key):
            yield name, str(text)
    for key in ("model", "task"):
        if (value := settings.get(key)) is not None:
            yield key, value
    prompts, samples = settings.get("rollout.prompts"), settings.get("rollout.samples")
    if prompts is not None and samples is not None:
        yield "completions a step", f"{samples} for each of {prompts} prompts"
    yield "steps", _steps(results)
    if rate := settings.get("trainer.learning_rate") or _measured_rate(results):
        yield "learning rate", rate
    runs = sum(len(point.runs) for point in results)
    yield "finished runs", f"{runs} of {len(grid.manifest['runs'])}"


def _settings(folders: Sequence[Path]) -> Mapping[str, str]:
    """What the configuration of a run says, by key; what is told is the same for all. Nothing of other trainers."""
    for folder in folders:
        try:
            found = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        except Exception:  # whatever a file of that name is not, to a reader of YAML
            continue
        return dict(_flat(found))
    return {}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (str, int, float)):
        yield path, f"{value:.6g}" if isinstance(value, float) else str(value)


def _steps(results: Sequence[PointResult]) -> str:
    """How many steps the finished runs have."""
    lengths = [len(run.columns["step"]) - 1 for point in results for run in point.runs]
    fewest, most = min(lengths), max(lengths)
    return str(most) if fewest == most else f"{fewest} to {most}"


def _measured_rate(results: Sequence[PointResult]) -> str:
    """The highest learning rate that the runs have measured; nothing if none has."""
    curves = [run.curve("learning_rate") for point in results for run in point.runs]
    measured = [float(np.nanmax(curve)) for curve in curves if not np.isnan(curve).all()]
    return f"up to {max(measured):.6g}" if measured else ""
