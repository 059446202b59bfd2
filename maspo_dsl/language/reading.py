"""Files to sources, and the refusal of what is no objective at all: other formats, too much, nothing."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
from pathlib import Path

from maspo_dsl.language.diagnostics import Diagnostic, SpecError, nearest
from maspo_dsl.language.source import Source, Span

SIZE_LIMIT = 2**20
"""Bytes of a file, or characters of a text, that are accepted: a thousand times a long objective."""

LINE_LIMIT = 20_000
PIPE_PATIENCE = 3
"""Seconds that are waited for the next piece of what comes through a named pipe."""

_WAVEFRONT = re.compile(r"^(?:(?:v|vn|vt|vp)[ \t]+-?[\d.]|f[ \t]+-?\d|(?:mtllib|usemtl)[ \t])", re.MULTILINE)
_BINARY = re.compile("\x00")
# What ends a line for some programs and not for others, is not seen, or turns around the text behind it.
_CONTROL = re.compile(
    "[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200e\u200f\u2028-\u202e\u2061-\u206f\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)

# What may come before the first word of a file: blank lines, comments, and a library's text.
_PREFACE = re.compile(r'\A(?:\ufeff|\s|#[^\n]*|"[^"\n]*"[ \t]*(?=[\r\n#]|\Z))*')
_DEF = re.compile(r"def\b")


def read_source(path: str | Path) -> Source:
    """The text of a file.

    Raises `SpecError` with one of missing-file, too-large, not-text, wavefront-file, empty-file.
    """
    path = Path(path)
    name = str(path)
    try:
        content = _content(path)
    except OSError as error:
        raise SpecError([_unreadable(name, error)]) from None
    return source_of(name, content)


def source_of(name: str, content: bytes) -> Source:
    """The text of bytes that were read up to the limit. Raises `SpecError`, as `read_source` does."""
    if len(content) > SIZE_LIMIT:
        raise SpecError([_too_large(Source(name, ""))])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        readable = Source(name, content[: error.start].decode("utf-8-sig"))
        raise SpecError([_not_text(readable, len(readable.text))]) from None
    source = Source(name, text)
    if (refusal := foreign_text(source)) is not None:
        raise SpecError([refusal])
    return source


def _content(path: Path) -> bytes:
    """What a file or a pipe holds, up to the limit. A pipe that nobody writes to, or a device, gives OSError."""
    mode = path.stat().st_mode
    if stat.S_ISFIFO(mode):
        return _piped(path)
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a device, and no file")
    with path.open("rb") as file:
        return file.read(SIZE_LIMIT + 1)


def _piped(path: Path) -> bytes:
    """What comes through a named pipe, if somebody writes to it."""
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    content = b""
    try:
        while len(content) <= SIZE_LIMIT:
            if not select.select([pipe], [], [], PIPE_PATIENCE)[0]:
                raise OSError(errno.ETIMEDOUT, f"nothing came through this pipe in {PIPE_PATIENCE} seconds")
            if not (piece := os.read(pipe, SIZE_LIMIT + 1)):
                break
            content += piece
    finally:
        os.close(pipe)
    if not content:
        raise OSError(errno.EPIPE, "it is a pipe, and nobody writes to it")
    return content


def is_library(source: Source) -> bool:
    """Whether a file begins as a library does, with a `def`."""
    match = _PREFACE.match(source.text)
    return bool(_DEF.match(source.text, match.end() if match else 0))


def foreign_text(source: Source) -> Diagnostic | None:
    """Why a text cannot be an objective or a library, where a glance shows it."""
    text = source.text
    if len(text) > SIZE_LIMIT:
        return _too_large(source)
    if text.count("\n") > LINE_LIMIT:
        message = f"the file has more than {LINE_LIMIT} lines; an objective is a page of text"
        return Diagnostic("too-large", message, Span(source, 0, 0))
    if not text.strip("\ufeff \t\r\n"):
        return Diagnostic("empty-file", "the file is empty", Span(source, 0, 0), "start with: objective NAME")
    if (binary := _BINARY.search(text)) is not None:
        return _not_text(source, binary.start())
    if (control := _CONTROL.search(text)) is not None:
        message = f"the control character U+{ord(control.group()):04X} stands here: what is read is not what is seen"
        place = Span(source, control.start(), control.end())
        return Diagnostic(
            "not-text", message, place, "take it out; an editor that shows invisible characters finds it"
        )
    if (shape := _WAVEFRONT.search(text)) is not None:
        place = Span(source, shape.start(), shape.end())
        message = "this is a Wavefront file of a 3D shape, which has the same ending"
        return Diagnostic("wavefront-file", message, place, "an objective starts with: objective NAME")
    return None


def _unreadable(name: str, error: OSError) -> Diagnostic:
    place = Span(Source(name, ""), 0, 0)
    if isinstance(error, FileNotFoundError):
        return Diagnostic("missing-file", f"there is no file `{name}`", place, _beside(Path(name)))
    reason = (error.strerror or str(error)).lower()
    return Diagnostic("missing-file", f"`{name}` cannot be read: {reason}", place)


def _beside(path: Path) -> str:
    """A hint: what the folder does hold."""
    if not path.parent.is_dir():
        return f"there is no folder `{path.parent}` either"
    names = sorted(p.name for p in path.parent.glob("*.obj"))
    close = nearest(path.name, names)
    return f"did you mean `{path.parent / close}`?" if close else ""


def _too_large(source: Source) -> Diagnostic:
    message = f"the file is larger than {SIZE_LIMIT // 2**20} MiB; an objective is a page of text"
    return Diagnostic("too-large", message, Span(source, 0, 0))


def _not_text(source: Source, offset: int) -> Diagnostic:
    place = Span(source, offset, min(offset + 1, len(source.text)))
    return Diagnostic("not-text", "this is not text in UTF-8", place, "save the file as plain text in UTF-8")
