"""`maspo-dsl check`: every mistake and warning of specs, at once. Does not import torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.completing import complete_spec
from maspo_dsl.cli.output import (
    FAILED,
    INVALID,
    counted,
    errors_in,
    invalid_input_exits,
    print_json,
    print_line,
    show_diagnostics,
)
from maspo_dsl.cli.sources import expand_folders
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.parser import parse_library
from maspo_dsl.language.reading import is_library
from maspo_dsl.language.rendering import to_json
from maspo_dsl.language.source import Source, Span
from maspo_dsl.semantics.resolve import find_source, resolve, split_variant

_ABSENT = frozenset({"missing-file", "unknown-objective"})
"""What is wrong where there is no spec to be read."""


@dataclass(frozen=True)
class Checked:
    """What a check of one spec found; `name` and `hash` are known for an objective without errors."""

    spec: str
    diagnostics: tuple[Diagnostic, ...]
    name: str | None = None
    hash: str | None = None

    @property
    def absent(self) -> bool:
        """Whether there is no such spec to check."""
        return any(found.code in _ABSENT for found in self.diagnostics)

    @property
    def errors(self) -> int:
        """How many errors."""
        return len(errors_in(self.diagnostics))

    @property
    def warnings(self) -> int:
        """How many warnings."""
        return len(self.diagnostics) - self.errors

    @property
    def verdict(self) -> str:
        """`fine`, or how many errors and warnings."""
        found = [(self.errors, "error"), (self.warnings, "warning")]
        return ", ".join(counted(number, noun) for number, noun in found if number) or "fine"


def check(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC...",
            help="Shipped names, paths of .obj files, folders of them.",
            autocompletion=complete_spec,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
) -> None:
    """Find every mistake of specs.

    Nothing is run, and torch is not needed. Exits with 1 if there is an error, with 2 if there is no such spec.
    """
    with invalid_input_exits(as_json=as_json):
        names = expand_folders(specs)
    answer([check_spec(name, hashed=as_json) for name in names], as_json=as_json, strict=strict)


def answer(checked: Sequence[Checked], *, as_json: bool = False, strict: bool = False) -> None:
    """Print what was found. Exits with 2 where a spec is not there, with 1 if one has an error."""
    if as_json:
        print_json(report(checked))
    else:
        _show(checked)
    if any(one.absent for one in checked):
        raise typer.Exit(INVALID)
    if any(one.errors or (strict and one.warnings) for one in checked):
        raise typer.Exit(FAILED)


def check_spec(spec: str, *, hashed: bool = False) -> Checked:
    """Check a shipped name, an objective file or a library file; `hashed` asks for name and hash as well."""
    try:
        base, variant = split_variant(spec)
        source, folder = find_source(base)
        return _check_source(spec, source, folder, variant, hashed)
    except SpecError as error:
        return Checked(spec, tuple(error.diagnostics))
    except RecursionError:
        place = Span(Source(spec, ""), 0, 0)
        message = "this spec is nested too deeply; name parts of it with `let`"
        return Checked(spec, (Diagnostic("too-deep", message, place),))


def _check_source(
    spec: str, source: Source, folder: Path | None, variant: str | None, hashed: bool
) -> Checked:
    if is_library(source):
        parse_library(source)
        return Checked(spec, ())
    from maspo_dsl.analysis.diagnosis import diagnose  # numpy, which no other command waits for

    found = tuple(diagnose(source, folder, variant))
    if not hashed or errors_in(found):
        return Checked(spec, found)
    objective = resolve(source, folder, variant=variant)
    return Checked(spec, found, objective.name, objective.hash)


def report(checked: Sequence[Checked]) -> dict[str, object]:
    """The findings as a document for machines."""
    errors, warnings = (sum(getattr(one, kind) for one in checked) for kind in ("errors", "warnings"))
    specs = [
        {
            "spec": one.spec,
            "name": one.name,
            "hash": one.hash,
            "errors": one.errors,
            "warnings": one.warnings,
            "diagnostics": to_json(one.diagnostics),
        }
        for one in checked
    ]
    return {
        "errors": errors,
        "warnings": warnings,
        "diagnostics": [record for one in checked for record in to_json(one.diagnostics)],
        "specs": specs,
    }


def _show(checked: Sequence[Checked]) -> None:
    for one in checked:
        show_diagnostics(one.diagnostics, sys.stdout)
        if one.diagnostics:
            print_line()
        print_line(f"{one.spec}: {one.verdict}")
    if len(checked) > 1:
        bad = sum(1 for one in checked if one.errors)
        print_line(f"{len(checked)} specs: {f'{bad} with errors' if bad else 'no errors'}")
