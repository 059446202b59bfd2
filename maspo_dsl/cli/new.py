"""`maspo-dsl new`: a file to begin with, like a spec that there is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.compiling import ForceOption
from maspo_dsl.cli.completing import complete_spec
from maspo_dsl.cli.output import InputError, invalid_input_exits, log, print_line, write_file
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.keywords import RESERVED_WORDS
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.resolve import find_source, resolve

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name; the file is NAME.obj, in this folder.")
    ],
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="SPEC",
            help="A shipped name, or the path of an .obj file.",
            autocompletion=complete_spec,
        ),
    ] = "grpo",
    force: ForceOption = False,
) -> None:
    """Write a spec to begin with.

    It is the text of another one under a name of its own, without its sources, and computes the same until you edit it.
    """
    with invalid_input_exits():
        if not _NAME.fullmatch(name) or name in RESERVED_WORDS:
            raise InputError(f"`{name}` is no name: letters, digits and _, and no word of the language")
        path = Path(f"{name}.obj")
        if path.exists() and not force:
            raise InputError(f"`{path}` exists; take another name, or overwrite it with --force")
        write_file(path, begun(name, like))
    print_line(str(path))
    log(f"like {like}; next: maspo-dsl check {path}, maspo-dsl explain {path}")


def begun(name: str, like: str) -> str:
    """The text of a spec under another name. Raises SpecError, and InputError where it would be another objective."""
    source, folder = find_source(like)
    before = parse_objective(source)
    header = before.header
    meaning = f"Like {header.name.text}: {header.doc}" if header.doc else f"Like {header.name.text}"
    own = replace(header, name=replace(header.name, text=name), doc=meaning, sources=(), differs=())
    text = format_objective(replace(before, header=own))
    expected = resolve(source, folder).hash
    try:
        same = resolve(Source(f"{name}.obj", text), Path()).hash == expected
    except SpecError:
        same = False
    if not same:
        assert header.extends is not None
        raise InputError(
            f"`{like}` extends `{header.extends.text}`, which is another objective in this folder"
        )
    return text
