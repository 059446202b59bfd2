"""Files and folders that are whole or as they were, whenever a process is killed or a disk is full."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by way of a new one beside it, which takes its name when all of it is on the disk.

    Text is UTF-8 with the line ends it has. A link is followed, the mode of a file that is replaced is kept. A device
    or a pipe is written to and stays what it is.
    Raises OSError, with the file as it was: it is read-only, or its folder cannot be written to.
    """
    target = path.resolve()
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        _write_through(path, data)
        return
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(13, "it is read-only")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_through(path: Path, data: bytes) -> None:
    """Write to a device or a pipe, which no file may replace; a pipe that nobody reads gives OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)), "wb") as stream:
        os.set_blocking(stream.fileno(), True)
        stream.write(data)


@contextmanager
def whole_folder(path: Path, *, replaces: bool = False) -> Iterator[Path]:
    """A folder to fill, which takes the name `path` if the block ends without an error.

    `path` is new or an empty folder, or, if it `replaces`, whatever is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        folder = Path(beside) / "whole"
        folder.mkdir()
        yield folder
        if replaces and path.exists():
            path.replace(Path(beside) / "before")
        folder.replace(path)


def _mode(target: Path) -> int:
    """The mode of the file that is replaced; of a new one, what the umask leaves."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
