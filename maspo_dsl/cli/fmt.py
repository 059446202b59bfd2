"""`maspo-dsl fmt`: files in their canonical form, comments kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.output import (
    FAILED,
    InputError,
    counted,
    invalid_input_exits,
    log,
    print_file,
    print_line,
    write_file,
)
from maspo_dsl.cli.sources import expand_folders, formatted, read_stdin
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.reading import read_source


def fmt(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Objective or library files, folders of them; - for standard input."
        ),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file would change.")
    ] = False,
) -> None:
    """Rewrite files in canonical form.

    Comments are kept. A file with a syntax error stops it before anything is written.
    """
    with invalid_input_exits():
        if "-" in files:
            if len(files) > 1:
                raise InputError("`-`, standard input, stands alone")
            changed = _format_stdin(check)
        else:
            changed = _format_files(expand_folders(files), check)
    if check and changed:
        raise typer.Exit(FAILED)


def _format_stdin(check: bool) -> bool:
    source = read_stdin()
    text = formatted(source)
    if not check:
        print_file(text)
    elif text != source.text:
        log("<stdin>: would change")
    return text != source.text


def _format_files(paths: list[str], check: bool) -> bool:
    """Whether any file changed, or would."""
    changed = [(path, text) for path, text in _canonical(paths) if Path(path).read_bytes() != text.encode()]
    for path, text in changed:
        if not check:
            write_file(Path(path), text)
        print_line(f"{path}: {'would change' if check else 'changed'}")
    unchanged = len(paths) - len(changed)
    if unchanged:
        log(f"{counted(unchanged, 'file')} in canonical form already")
    return bool(changed)


def _canonical(paths: list[str]) -> list[tuple[str, str]]:
    """Each path with its canonical text. Raises SpecError with the mistakes of every file."""
    found: list[tuple[str, str]] = []
    mistakes: list[Diagnostic] = []
    for path in paths:
        try:
            found.append((path, formatted(read_source(path))))
        except SpecError as error:
            mistakes += error.diagnostics
    if mistakes:
        raise SpecError(mistakes)
    return found
