"""The folder of a run: where it is, what it holds, what a resumed run takes from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import maspo_dsl
from maspo_dsl.language.writing import whole_folder, write_whole

from .checkpoint import last_checkpoint, saved_hash, step_of
from .config import RunConfig, write_config
from .config_error import ConfigError
from .metrics import Records, Row

if TYPE_CHECKING:
    from maspo_dsl import Objective


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


def open_folder(
    folder: Path,
    config: RunConfig,
    objective: Objective,
    checkpoint: Path | None,
    made_with: Mapping[str, str],
) -> Records:
    """Write what the run is, and open its metrics after the checkpoint's step. A new folder appears whole."""
    settings = config.model_copy(
        update={"run": folder, "resume": None, "resume_changed": False, "config": None}
    )
    if config.resume is not None:
        write_config(settings, folder / "config.yaml")
        return Records(folder, step_of(checkpoint) if checkpoint else -1, own_columns(config))
    about = {"objective": objective.name, "hash": objective.hash, "made_with": dict(made_with)}
    try:
        with whole_folder(folder) as made:
            write_config(settings, made / "config.yaml")
            write_whole(made / "spec.obj", objective.text)
            write_whole(made / "run.json", json.dumps(about, indent=2) + "\n")
            Records(made, own=own_columns(config))
    except OSError as error:
        raise ConfigError(
            f"run={folder} cannot be made ({error.strerror}); it is renamed into its place when it is whole"
        ) from error
    return Records(folder, own=own_columns(config))


def own_columns(config: RunConfig) -> list[str]:
    """Columns of the metrics that this run has besides those of every run."""
    return [*(f"reward/{name}" for name in config.rewards), *(f"eval/{name}" for name in config.metrics)]


def ending(folder: Path, rows: tuple[Row, ...], steps: int, finished: bool) -> str:
    """The last line: where the run is, what it came to, and how it goes on."""
    greedy = [row["eval/greedy"] for row in rows if row.get("eval/greedy") is not None]
    came = f", held-out greedy reward {greedy[0]:.3f} -> {greedy[-1]:.3f}" if len(greedy) > 1 else ""
    if finished:
        return f"done after step {steps}{came}; see {folder}/curves.png and metrics.csv"
    saved = f"saved after step {steps}" if steps else "with no step saved"
    return f"stopped, {saved}{came}; go on with `maspo-dsl train resume={folder}`"


def recorded_objective(folder: Path) -> Objective:
    """The objective of a run."""
    return maspo_dsl.load(str(folder / "spec.obj"))


def _recorded_hash(folder: Path) -> str:
    """The objective's hash as the run folder's run.json has it."""
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"resume={folder}: run.json, which names the objective, cannot be read ({error})"
        ) from error
