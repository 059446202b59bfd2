"""`maspo-dsl list`: what ships, and the words of the language. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated

import typer

from maspo_dsl.cli.output import print_json, print_line
from maspo_dsl.language.expression_text import format_expression
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.notation.plain import call_form
from maspo_dsl.semantics.part_words import NAMED, SLOTS
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.shipped import library_trees, shipped_names, shipped_source
from maspo_dsl.semantics.vocabulary import (
    PRIMITIVES,
    RUN_CONSTANTS,
    WARNINGS,
)


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List what ships.

    The objectives, the library in the language, and the words of the language itself.
    """
    if as_json:
        print_json(catalogue())
    else:
        for line in catalogue_lines():
            print_line(line)


def catalogue() -> dict[str, object]:
    """Everything that ships, as a document for machines."""
    words = {
        "slots": {name: slot.doc for name, slot in SLOTS.items()},
        "parts": {name: part.doc for name, part in NAMED.items()},
        "quantities": {name: quantity.doc for name, quantity in QUANTITIES.items()},
        "primitives": PRIMITIVES,
        "run_constants": {name: constant.meaning for name, constant in RUN_CONSTANTS.items()},
        "warnings": WARNINGS,
    }
    listed = {
        family: [{"name": name, "meaning": meaning} for name, meaning in entries.items()]
        for family, entries in words.items()
    }
    return {"objectives": _objectives(), "library": _library(), **listed, "scopes": list(SCOPES)}


def _objectives() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name in shipped_names():
        source = shipped_source(name)
        header = parse_objective(source).header
        found.append(
            {
                "name": header.name.text,
                "meaning": header.doc or "",
                "extends": header.extends.text if header.extends else None,
                "sources": list(header.sources),
                "differs": list(header.differs),
                "file": source.name,
            }
        )
    return found


def _library() -> list[dict[str, object]]:
    return [
        {
            "file": f"maspo_dsl/objectives/std/{name}.obj",
            "meaning": library.doc or "",
            "definitions": [
                {
                    "name": definition.name.text,
                    "call": call_form(definition),
                    "meaning": definition.doc or "",
                    "body": format_expression(definition.body),
                    "notation": definition.notation.value if definition.notation is not None else "",
                    "line": definition.name.span.line,
                }
                for definition in library.definitions
            ],
        }
        for name, library in library_trees().items()
    ]


def catalogue_lines() -> Iterator[str]:
    """Everything that ships, for readers."""
    yield "Objectives"
    width = max(map(len, shipped_names()))
    for entry in _objectives():
        base = f" (extends {entry['extends']})" if entry["extends"] else ""
        yield f"  {entry['name']:<{width}}  {entry['meaning']}{base}"
        sources = entry["sources"]
        assert isinstance(sources, list)
        yield from (f"  {'':<{width}}  {source}" for source in sources)
    for library in _library():
        yield ""
        yield f"Library, std/{PurePosixPath(str(library['file'])).name}: {library['meaning']}"
        definitions = library["definitions"]
        assert isinstance(definitions, list)
        yield from _table({entry["call"]: entry["meaning"] for entry in definitions})
    for title, entries in _WORDS.items():
        yield ""
        yield title
        yield from _table(entries)
    yield ""
    yield f"Scopes of reductions: {', '.join(SCOPES)}"


_WORDS: dict[str, dict[str, str]] = {
    "Slots, written `slot = …`": {name: slot.doc for name, slot in SLOTS.items()},
    "Parts, written `part name = …` or `rule name where …`": {name: p.doc for name, p in NAMED.items()},
    "Quantities": {name: quantity.doc for name, quantity in QUANTITIES.items()},
    "Primitives": PRIMITIVES,
}


def _table(entries: dict[str, str]) -> Iterator[str]:
    width = max(map(len, entries))
    yield from (f"  {name:<{width}}  {meaning}".rstrip() for name, meaning in entries.items())
