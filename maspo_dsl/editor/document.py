"""A text in an editor, with what it declares and inherits as far as it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path, PurePosixPath

from maspo_dsl.editor.tokens import TextNames
from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.parser import parse_library
from maspo_dsl.language.reading import is_library
from maspo_dsl.language.source import Source, Span
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.resolve import examine, outline
from maspo_dsl.semantics.shipped import library_definitions


@dataclass(frozen=True)
class Declared:
    """Something that a spec declares or inherits: its sort, its name's place, what it says of itself."""

    sort: str
    name: str
    span: Span
    meaning: str
    node: tree.Statement | None = None


@dataclass(frozen=True)
class Document:
    """A text and the folder that `extends` looks in."""

    source: Source
    folder: Path | None = None

    @cached_property
    def names(self) -> TextNames:
        """The names in it."""
        return TextNames(self.source)

    @cached_property
    def is_library(self) -> bool:
        """Whether it is a file of `def` lines."""
        return is_library(self.source)

    @cached_property
    def flat(self) -> Flat | None:
        """What holds after inheritance and edits, as far as it can be read; None without a first line."""
        try:
            return None if self.is_library else outline(self.source, self.folder)
        except (SpecError, RecursionError):
            return None

    @cached_property
    def _examined(self) -> tuple[ResolvedObjective | None, list[Diagnostic]]:
        try:
            return examine(self.source, self.folder)
        except SpecError as error:
            return None, error.diagnostics
        except RecursionError:
            message = "this spec is nested too deeply; name parts of it with `let`"
            return None, [Diagnostic("too-deep", message, Span(self.source, 0, 0))]

    @property
    def objective(self) -> ResolvedObjective | None:
        """The objective, if nothing is wrong."""
        return None if self.is_library else self._examined[0]

    @cached_property
    def errors(self) -> list[Diagnostic]:
        """Every mistake, in source order."""
        if not self.is_library:
            return self._examined[1]
        try:
            parse_library(self.source)
        except SpecError as error:
            return error.diagnostics
        return []

    @cached_property
    def declared(self) -> dict[str, list[Declared]]:
        """What is declared here or in its bases, by name."""
        found: dict[str, list[Declared]] = {}
        for each in _declared(self.flat) if self.flat is not None else _defined(self):
            found.setdefault(each.name, []).append(each)
        return found

    @property
    def definitions(self) -> dict[str, tree.Def]:
        """Every `def` that can be called."""
        own = {
            name: d.node for name, all_ in self.declared.items() for d in all_ if isinstance(d.node, tree.Def)
        }
        return {**library_definitions(), **own}


def file_of(span: Span, document: Document) -> Path | None:
    """The file that a span is in; None where its text is in no file."""
    name = PurePosixPath(span.source.name)
    if span.source is document.source or span.source.name == document.source.name:
        return Path(document.source.name)
    if name.parts[:2] == ("maspo_dsl", "objectives"):
        folder = files(".".join(name.parts[:-1])) if len(name.parts) > 3 else files("maspo_dsl.objectives")
        return Path(str(folder.joinpath(name.name)))
    path = Path(span.source.name)
    return path if path.is_file() else None


def _declared(flat: Flat) -> Iterator[Declared]:
    for name, parameter in flat.params.items():
        yield Declared("param", name, parameter.span, parameter.doc or "")
    for sort, family in (("input", flat.inputs), ("teacher", flat.teachers), ("scope", flat.scopes)):
        for name, node in family.items():
            yield Declared(sort, name, node.name.span, node.doc or "", node)
    for name, definition in flat.defs.items():
        yield Declared("def", name, definition.name.span, definition.doc or "", definition)
    for name, let in flat.lets.items():
        yield Declared("let", name, let.name.span, "", let)
    for name, slot in flat.slots.items():
        yield Declared("slot", name, slot.slot.span, "", slot)
    for (word, name), part in flat.parts.items():
        kept = part.kept if isinstance(part, tree.Part) else None
        yield Declared(word, name, part.name.span, kept.doc or "" if kept is not None else "", part)
    for name, variant in flat.variants.items():
        yield Declared("variant", name, variant.name.span, "", variant)


def _defined(document: Document) -> Iterator[Declared]:
    """The functions of a library, as far as it can be read."""
    if not document.is_library:
        return
    try:
        library = parse_library(document.source)
    except SpecError:
        return
    for definition in library.definitions:
        yield Declared("def", definition.name.text, definition.name.span, definition.doc or "", definition)
