"""Diagnostics to text, in the frame that compilers share, and to records for machines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Span

_WINDOW = 100
"""Columns of a source line that are shown; a longer one is cut around the place."""

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TAB = "    "
_STYLES = {"error": "1;31", "warning": "1;33", "frame": "34", "help": "36", "bold": "1"}


@dataclass(frozen=True)
class _Paint:
    """Writes in colour, or not."""

    color: bool

    def __call__(self, style: str, text: str) -> str:
        """The text in a style of the terminal."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color and text else text


def render(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """Every diagnostic with its source line and a caret, a blank line between them."""
    paint = _Paint(color)
    return "\n\n".join("\n".join(_frame(diagnostic, paint)) for diagnostic in diagnostics)


def visible(text: str) -> str:
    """A text without characters that steer a terminal: each as its number, `\\x1b`."""
    return _STEERING.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """Records for a machine; lines and columns from 1, the end is after the last character."""
    return [_record(diagnostic) for diagnostic in diagnostics]


def _record(diagnostic: Diagnostic) -> dict[str, object]:
    end_line, end_column = diagnostic.span.source.position(diagnostic.span.end)
    return {
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "end_line": end_line,
        "end_column": end_column,
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
    }


def _frame(diagnostic: Diagnostic, paint: _Paint) -> Iterable[str]:
    severity = diagnostic.severity
    yield f"{paint(severity, f'{severity}[{diagnostic.code}]')}{paint('bold', f': {visible(diagnostic.message)}')}"
    places = [
        (diagnostic.span, diagnostic.label, severity),
        *((s, t, "frame") for s, t in diagnostic.related),
    ]
    gutter = max(len(str(span.line)) for span, _, _ in places)
    for index, (span, label, style) in enumerate(places):
        yield from _excerpt(span, label, style, gutter, paint, first=index == 0)
    if diagnostic.hint:
        yield f"{paint('help', 'help')}: {visible(diagnostic.hint)}"


def _excerpt(span: Span, label: str, style: str, gutter: int, paint: _Paint, *, first: bool) -> Iterable[str]:
    """The place, its line and the caret; a file that could not be read has no lines."""
    arrow = "-->" if first else ":::"
    blank = " " * gutter
    if not span.source.text.strip():
        yield f"{blank}{paint('frame', arrow)} {visible(span.source.name)}"
        return
    yield f"{blank}{paint('frame', arrow)} {visible(span.source.name)}:{span.line}:{span.column}"
    line, caret = _window(span)
    bar = paint("frame", "|")
    yield f"{blank} {bar}"
    yield f"{paint('frame', str(span.line).rjust(gutter))} {bar} {line}"
    yield f"{blank} {bar} {caret[0]}{paint(style, f'{caret[1]} {label}'.rstrip())}"


def _window(span: Span) -> tuple[str, tuple[str, str]]:
    """The line as shown, and below it the blanks and the caret of a span's part on its first line."""
    text = span.source.line_text(span.line)
    start = min(span.column - 1, len(text))
    end = max(start, min(start + span.end - span.start, len(text)))
    before, marked, after = (_shown(part) for part in (text[:start], text[start:end], text[end:]))
    if _width(before) + _width(marked) + _width(after) > _WINDOW:
        before = before if len(before) <= _WINDOW // 2 else "…" + before[1 - _WINDOW // 2 :]
        room = max(_WINDOW - _width(before), 1)
        cut = len(marked) > room
        marked = marked[: room - 1] + "…" if cut else marked
        room = max(room - _width(marked), 1)
        after = "" if cut else after if len(after) <= room else after[: room - 1] + "…"
    line = f"{before}{marked}{after}".rstrip()
    return line, (" " * _width(before), "^" * max(_width(marked), 1))


def _shown(text: str) -> str:
    """Tabs as blanks, and other characters that have no shape as a box."""
    return "".join(_TAB if c == "\t" else c if c.isprintable() else "\ufffd" for c in text)


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
