"""The files that a command line means: paths, folders of `.obj` files, standard input."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from maspo_dsl.cli.output import InputError
from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.formatter import format_library, format_objective
from maspo_dsl.language.parser import parse_library, parse_objective
from maspo_dsl.language.reading import SIZE_LIMIT, foreign_text
from maspo_dsl.language.source import Source, Span

# What may come before the first word of a file: blank lines, comments, and a library's text.
_PREFACE = re.compile(r'\A(?:\ufeff|\s|#[^\n]*|"[^"\n]*"[ \t]*(?=[\r\n#]|\Z))*')
_DEF = re.compile(r"def\b")


def is_library(source: Source) -> bool:
    """Whether a file begins as a library does, with a `def`."""
    match = _PREFACE.match(source.text)
    return bool(_DEF.match(source.text, match.end() if match else 0))


def parse_file(source: Source) -> tree.ObjectiveTree | tree.LibraryTree:
    """The tree of an objective or a library. Raises SpecError with every syntax error."""
    return parse_library(source) if is_library(source) else parse_objective(source)


def formatted(source: Source) -> str:
    """The canonical text of an objective or a library. Raises SpecError."""
    parsed = parse_file(source)
    return format_library(parsed) if isinstance(parsed, tree.LibraryTree) else format_objective(parsed)


def read_stdin() -> Source:
    """The text on standard input. Raises SpecError where it is no text."""
    content = sys.stdin.buffer.read(SIZE_LIMIT + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if len(content) <= SIZE_LIMIT:
            place = Span(Source("<stdin>", ""), 0, 0)
            raise SpecError([Diagnostic("not-text", "this is not text in UTF-8", place)]) from None
        text = content.decode("utf-8", errors="replace")
    source = Source("<stdin>", text)
    if (refusal := foreign_text(source)) is not None:
        raise SpecError([refusal])
    return source


def expand_folders(names: list[str]) -> list[str]:
    """Names and paths, each folder replaced by the `.obj` files in it and below, sorted; nothing twice.

    Raises InputError for a folder without any.
    """
    found: list[str] = []
    for name in names:
        folder = Path(name)
        if not folder.is_dir():
            found.append(name)
            continue
        inside = sorted(str(path) for path in folder.rglob("*.obj") if path.is_file())
        if not inside:
            raise InputError(f"the folder `{name}` holds no .obj file")
        found += inside
    return list(dict.fromkeys(found))
