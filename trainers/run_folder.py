"""The folder of a run: where it is, what it holds, what a resumed run takes from it."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .checkpoint import last_checkpoint, saved_hash, step_of
from .config import RunConfig, write_config
from .config_error import ConfigError
from .metrics import Records, Row

if TYPE_CHECKING:
    from maspo_dsl import Objective


def run_folder(config: RunConfig, objective: Objective) -> Path:
    """Where the run is written; a new run's folder must be new or empty."""
    if config.resume is not None:
        return config.resume
    if config.run is None:
        numbers = range(1, 1_000_000)
        return next(p for p in (Path("runs") / f"{objective.name}-{n}" for n in numbers) if not p.exists())
    if config.run.exists() and not config.run.is_dir():
        raise ConfigError(f"run={config.run} is a file; name a folder")
    if config.run.is_dir() and any(config.run.iterdir()) and is_first_process():
        raise ConfigError(
            f"run={config.run} is not empty; go on with it by `resume={config.run}`, or name another folder"
        )
    return config.run


def resumed_checkpoint(config: RunConfig, objective: Objective) -> Path | None:
    """The checkpoint to go on from, made with this very objective."""
    if config.resume is None:
        return None
    checkpoint = last_checkpoint(config.resume)
    saved = saved_hash(checkpoint) if checkpoint else _recorded_hash(config.resume)
    if saved != objective.hash:
        raise ConfigError(
            f"resume={config.resume} was trained with an objective of hash {saved}, and this one, "
            f"`{objective.name}`, has {objective.hash}: a run keeps its objective. Start a new run, or leave "
            f"the objective as {config.resume / 'spec.obj'} has it"
        )
    return checkpoint


def open_folder(folder: Path, config: RunConfig, objective: Objective, checkpoint: Path | None) -> Records:
    """Write what the run is, and open its metrics after the checkpoint's step."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run={folder} cannot be made ({error.strerror})") from error
    write_config(config.model_copy(update={"run": folder, "resume": None}), folder / "config.yaml")
    if config.resume is None:
        (folder / "spec.obj").write_text(objective.text, encoding="utf-8")
        about = {"objective": objective.name, "hash": objective.hash, "torch": torch.__version__}
        about["maspo-dsl"] = _own_version()
        (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return Records(folder, step_of(checkpoint) if checkpoint else -1)


def is_first_process() -> bool:
    """Whether this process writes; strategies that start others tell them their number in the environment."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def ending(folder: Path, rows: tuple[Row, ...], steps: int, finished: bool) -> str:
    """The last line: where the run is, what it came to, and how it goes on."""
    greedy = [row["eval/greedy"] for row in rows if row.get("eval/greedy") is not None]
    came = f", held-out greedy reward {greedy[0]:.3f} -> {greedy[-1]:.3f}" if len(greedy) > 1 else ""
    if finished:
        return f"done after step {steps}{came}; see {folder}/curves.png and metrics.csv"
    saved = f"saved after step {steps}" if steps else "with no step saved"
    return f"stopped, {saved}{came}; go on with `maspo-dsl train resume={folder}`"


def _recorded_hash(folder: Path) -> str:
    """The objective's hash as the run folder's run.json has it."""
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"resume={folder}: run.json, which names the objective, cannot be read ({error})"
        ) from error


def _own_version() -> str:
    try:
        return version("maspo-dsl")
    except PackageNotFoundError:
        return "unknown"
