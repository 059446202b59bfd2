"""What every command shares: where output goes, how mistakes look, and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import typer

from maspo_dsl.cli.streams import is_unicode
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.rendering import render, to_json, visible
from maspo_dsl.language.writing import write_whole

FAILED = 1
INVALID = 2
INTERRUPTED = 130
TYPED = "maspo_dsl.typed"
"""Where a command's context keeps the words that were typed."""


class InputError(Exception):
    """What the user gave cannot be used; the message says why in the user's terms.

    `diagnostics` are the mistakes of the spec that were found with it, shown after the message.
    """

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics


def colored(stream: TextIO) -> bool:
    """Whether to write in colour: on a terminal, unless NO_COLOR says otherwise."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_line(text: str = "") -> None:
    """Print a line of the command's product to standard output."""
    print(visible(text), file=sys.stdout)


def print_file(text: str) -> None:
    """Print what is a file's text: in UTF-8, as files are, but to a terminal."""
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        sys.stdout.write(text)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8"))


def log(text: str) -> None:
    """Print a line about the work to standard error."""
    print(visible(text), file=sys.stderr)


def print_json(document: object) -> None:
    """Print the one JSON document of a command."""
    print_line(json.dumps(document, indent=2, ensure_ascii=not is_unicode(sys.stdout)))


def show_diagnostics(diagnostics: Sequence[Diagnostic], stream: TextIO | None = None) -> None:
    """Print diagnostics in their frames, to standard error unless told."""
    stream = stream or sys.stderr
    if diagnostics:
        print(render(diagnostics, color=colored(stream)), file=stream)


def errors_in(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The errors among diagnostics."""
    return [found for found in diagnostics if found.severity == "error"]


@contextmanager
def invalid_input_exits(*, as_json: bool = False) -> Iterator[None]:
    """Turn an invalid spec, override or file into its message and exit code 2."""
    try:
        yield
    except SpecError as error:
        if not as_json:
            show_diagnostics(error.diagnostics)
        _fail(str(error), error.diagnostics, as_json)
    except InputError as error:
        if not as_json:
            log(f"error: {error}")
            show_diagnostics(error.diagnostics)
        _fail(str(error), error.diagnostics, as_json)
    except RecursionError:
        message = "this spec is nested too deeply; name parts of it with `let`"
        if not as_json:
            log(f"error: {message}")
        _fail(message, [], as_json)


def _fail(message: str, diagnostics: Sequence[Diagnostic], as_json: bool) -> None:
    if as_json:
        print_json({"error": message, "diagnostics": to_json(diagnostics)})
    raise typer.Exit(INVALID)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file that is whole or as it was. Raises InputError where it cannot be written."""
    try:
        write_whole(path, content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"`{path}` cannot be written: {reason}") from None


def command_line(context: typer.Context) -> str:
    """The command as it was typed, in words that a shell reads as the same ones."""
    return shlex.join(["maspo-dsl", *context.meta.get(TYPED, [])])


def counted(number: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
