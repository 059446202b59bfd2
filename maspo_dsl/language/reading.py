"""Files to sources, and the refusal of what is no objective at all: other formats, too much, nothing."""

from __future__ import annotations

import re
from pathlib import Path

from maspo_dsl.language.diagnostics import Diagnostic, SpecError, nearest
from maspo_dsl.language.source import Source, Span

SIZE_LIMIT = 2**20
"""Bytes of a file, or characters of a text, that are accepted: a thousand times a long objective."""

LINE_LIMIT = 20_000

_WAVEFRONT = re.compile(r"^(?:(?:v|vn|vt|vp)[ \t]+-?[\d.]|f[ \t]+-?\d|(?:mtllib|usemtl)[ \t])", re.MULTILINE)
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")
# What ends a line for some programs and not for others, is not seen, or turns around the text behind it.
_CONTROL = re.compile("[\x0b\x0c\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def read_source(path: str | Path) -> Source:
    """The text of a file.

    Raises `SpecError` with one of missing-file, too-large, not-text, wavefront-file, empty-file.
    """
    path = Path(path)
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise SpecError([_unreadable(name, error)]) from None
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
