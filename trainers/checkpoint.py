"""Checkpoints of a run: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from .config_error import ConfigError

FOLDER = "checkpoints"


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return run / FOLDER / f"step-{step:06d}.ckpt"


def last_checkpoint(run: Path) -> Path | None:
    """The run's newest complete checkpoint."""
    found = [path for path in (run / FOLDER).glob("step-*.ckpt") if re.fullmatch(r"step-\d+", path.stem)]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The number of steps a checkpoint was made after."""
    return int(checkpoint.stem.rpartition("-")[2])


def save_checkpoint(trainer: Trainer, run: Path, step: int) -> None:
    """Save after `step` steps, then remove older checkpoints: one is enough, and a real model's is large.

    It gets its name once it is whole, so that a run killed while saving goes on from the one before.
    """
    path = checkpoint_path(run, step)
    _save(trainer, path, "step-*", weights_only=False)


def best_checkpoint(run: Path) -> Path | None:
    """The weights that did best on the held-out prompts."""
    return max((run / FOLDER).glob("best-*.ckpt"), default=None)


def save_best(trainer: Trainer, run: Path, step: int) -> None:
    """Save the weights after `step` steps as the best so far."""
    _save(trainer, run / FOLDER / f"best-{step:06d}.ckpt", "best-*", weights_only=True)


def _save(trainer: Trainer, path: Path, older: str, *, weights_only: bool) -> None:
    """Save under a name for what is not whole, rename, then remove the `older` ones."""
    part = path.with_suffix(".part")
    path.parent.mkdir(exist_ok=True)
    try:
        trainer.save_checkpoint(part, weights_only=weights_only)
    except BaseException:
        if trainer.is_global_zero:
            _remove(part)
        raise
    if trainer.is_global_zero:
        part.replace(path)
        for each in path.parent.glob(older):
            if each != path:
                _remove(each)
    trainer.strategy.barrier()


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def trained_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of the policy in a checkpoint, by name. Raises ConfigError."""
    if checkpoint.is_dir():
        raise ConfigError(
            f"{checkpoint} is in shards, one a device; they are put together where they were made"
        )
    prefix = "model."
    state = _state(checkpoint)["state_dict"]
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}


def saved_hash(checkpoint: Path) -> str:
    """The hash of the objective that a checkpoint was trained with."""
    return str(_state(checkpoint)["objective"])


def _state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        if "objective" not in state or "state_dict" not in state:
            raise ValueError("it has no objective")
        return dict(state)
    except Exception as error:  # a file that is not a checkpoint fails in many ways
        raise ConfigError(f"{checkpoint} is not a checkpoint of maspo-dsl ({error})") from error
