"""What comes between the text of a command and who reads it: encodings, a full disk, a closed pipe.

Every command is a right answer or one line, whatever the streams are.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

_WRITTEN = {
    "→": "->",
    "←": "<-",
    "−": "-",
    "\u2013": "-",
    "—": "-",
    "…": "...",
    "×": "x",
    "·": ".",
    "•": "*",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "∞": "inf",
    "“": '"',
    "”": '"',
    "\u2018": "'",
    "\u2019": "'",
    "‖": "||",
    "±": "+-",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "ε": "eps",
    "λ": "lambda",
    "μ": "mu",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "Σ": "sum",
}
"""How characters are written where an encoding has none of them; any other as its number."""
_ERRORS = "maspo-dsl"
_INVALID = 2


class _Closed(io.TextIOBase):
    """A stream that was closed before the command began."""

    def write(self, text: str, /) -> NoReturn:
        """Refuse, as the operating system does."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextmanager
def answering_streams() -> Iterator[None]:
    """Streams that can write every text; where they cannot be written to, the command ends with one line and 2.

    A reader that has gone, as `head` does, ends it without a word and with 1.
    """
    codecs.register_error(_ERRORS, _rewritten)
    sys.stdout = _writing(sys.stdout) or _Closed()
    sys.stderr = _writing(sys.stderr) or _nowhere()
    try:
        try:
            yield
        finally:
            _flush(sys.stdout)
    except BrokenPipeError:
        _abandon()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            raise
        _abandon()
        with suppress(OSError):
            reason = (error.strerror or str(error)).lower()
            print(f"error: standard output cannot be written: {reason}", file=sys.stderr, flush=True)
        sys.exit(_INVALID)


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream can write every character."""
    return (getattr(stream, "encoding", None) or "").lower().replace("_", "-").startswith("utf")


def _rewritten(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks in others that it has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_WRITTEN.get(each) or _escaped(each) for each in lacking), error.end


def _escaped(character: str) -> str:
    """A character as its number; a byte of a file's name that is no text as that byte."""
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode("ascii")


def _writing(stream: TextIO | None) -> TextIO | None:
    """The stream with our handling of characters; None for one that was closed."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_ERRORS)
    return stream


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # kept until the process ends


def _flush(stream: io.TextIOBase | TextIO) -> None:
    if not stream.closed:
        stream.flush()


def _abandon() -> None:
    """Let what was not written go nowhere, so that the interpreter does not try again at its end."""
    with suppress(OSError, ValueError, AttributeError):
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, sys.stdout.fileno())
        os.close(target)
