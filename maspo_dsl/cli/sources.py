"""The files that a command line means: paths, folders of `.obj` files, standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from maspo_dsl.cli.output import InputError
from maspo_dsl.language import tree
from maspo_dsl.language.formatter import format_library, format_objective
from maspo_dsl.language.parser import parse_library, parse_objective
from maspo_dsl.language.reading import SIZE_LIMIT, is_library, source_of
from maspo_dsl.language.source import Source


def parse_file(source: Source) -> tree.ObjectiveTree | tree.LibraryTree:
    """The tree of an objective or a library. Raises SpecError with every syntax error."""
    return parse_library(source) if is_library(source) else parse_objective(source)


def formatted(source: Source) -> str:
    """The canonical text of an objective or a library. Raises SpecError."""
    parsed = parse_file(source)
    return format_library(parsed) if isinstance(parsed, tree.LibraryTree) else format_objective(parsed)


def read_stdin() -> Source:
    """The text on standard input. Raises SpecError where it is no text, InputError where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return source_of("<stdin>", sys.stdin.buffer.read(SIZE_LIMIT + 1))


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
