"""What ships: objectives, and the library in the language."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from maspo_dsl.language import tree
from maspo_dsl.language.parser import parse_library
from maspo_dsl.language.source import Source


def _objects(package: str) -> dict[str, Traversable]:
    found = (entry for entry in files(package).iterdir() if entry.name.endswith(".obj"))
    return {entry.name.removesuffix(".obj"): entry for entry in sorted(found, key=lambda entry: entry.name)}


@cache
def shipped_names() -> tuple[str, ...]:
    """Names of the shipped objectives, sorted."""
    return tuple(_objects("maspo_dsl.objectives"))


def shipped_path(name: str) -> str:
    """What messages call the file of a shipped objective."""
    return f"maspo_dsl/objectives/{name}.obj"


@cache
def shipped_source(name: str) -> Source:
    """The text of a shipped objective."""
    return Source(shipped_path(name), _objects("maspo_dsl.objectives")[name].read_text(encoding="utf-8"))


@cache
def library_trees() -> dict[str, tree.LibraryTree]:
    """The library files by name, each a tree of `def` lines."""
    entries = _objects("maspo_dsl.objectives.std")
    return {
        name: parse_library(Source(f"maspo_dsl/objectives/std/{name}.obj", entry.read_text(encoding="utf-8")))
        for name, entry in entries.items()
    }


@cache
def library_definitions() -> dict[str, tree.Def]:
    """Every `def` of the library by name."""
    return {d.name.text: d for library in library_trees().values() for d in library.definitions}
