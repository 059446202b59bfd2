"""Checkpoints of a run: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from lightning.pytorch import Trainer

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
    return int(checkpoint.stem.removeprefix("step-"))


def save_checkpoint(trainer: Trainer, run: Path, step: int) -> None:
    """Save after `step` steps, then remove older checkpoints: one is enough, and a real model's is large.

    It gets its name once it is whole, so that a run killed while saving goes on from the one before.
    """
    path = checkpoint_path(run, step)
    part = path.with_suffix(".part")
    path.parent.mkdir(exist_ok=True)
    trainer.save_checkpoint(part)
    if trainer.is_global_zero:
        part.replace(path)
        for older in path.parent.glob("step-*"):
            if older != path:
                shutil.rmtree(older) if older.is_dir() else older.unlink()
    trainer.strategy.barrier()


def saved_hash(checkpoint: Path) -> str:
    """The hash of the objective that a checkpoint was trained with."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return str(state["objective"])
    except Exception as error:  # a file that is not a checkpoint fails in many ways
        raise ConfigError(f"{checkpoint} is not a checkpoint of maspo-dsl ({error})") from error
