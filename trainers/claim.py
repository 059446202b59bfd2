"""One process a run folder: it is claimed before anything is made, and let go of when the run ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .config import RunConfig
from .config_error import ConfigError

if TYPE_CHECKING:
    from maspo_dsl import Objective


@contextmanager
def claimed_folder(config: RunConfig, objective: Objective) -> Iterator[Path]:
    """The run's folder, which no other run has until the block ends; a new run's is new or empty.

    The claim is a lock on `.NAME.lock` beside the folder; the system drops it when the process dies.
    Raises ConfigError: another run has the folder, it is in use, or it cannot be made.
    """
    named = config.resume or config.run
    numbered = (Path("runs") / f"{objective.name}-{number}" for number in count(1))
    if not is_first_process():  # the first one has the claim, and tells the others
        yield named or next(path for path in numbered if not path.exists())
        return
    for folder in numbered if named is None else [named]:
        if named is None and folder.exists():
            continue
        with _locked(folder) as held:
            if held and named is None and folder.exists():  # made while we looked
                continue
            if held:
                if config.resume is None and config.run is not None:
                    _check_new(folder)
                yield folder
                return
        if named is not None:
            raise ConfigError(
                f"another run has {folder} at this moment; wait for its end, or name another folder"
            )


def is_first_process() -> bool:
    """Whether this process writes; strategies that start others tell them their number in the environment."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def _check_new(folder: Path) -> None:
    """Raise ConfigError for a folder that holds something."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"run={folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"run={folder} is not empty; go on with it by `resume={folder}`, or name another folder"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether the lock of a folder could be had; it is held until the block ends."""
    target = folder.resolve()
    path = target.with_name(f".{target.name}.lock")
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open_locked(path)
    except OSError as error:
        raise ConfigError(f"run={folder} cannot be made ({error.strerror})") from error
    try:
        yield handle is not None
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)
        with suppress(OSError):  # those that a run has come to stand in
            for parent in made:
                parent.rmdir()


def _open_locked(path: Path) -> int | None:
    """The lock file, locked; None while another process has it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return os.open(path, os.O_RDWR | os.O_CREAT)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed the file between the two lines above.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        os.close(handle)
