"""A flat spec: every statement that holds after inheritance and edits, each knowing whether it was inherited."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span


@dataclass(frozen=True)
class Parameter:
    """One parameter: its default as written, and what holds for it."""

    name: tree.Identifier
    default: tree.Expression
    domain: tree.Domain | None
    bind: tree.Identifier | None
    doc: str | None
    inherited: bool = False

    @property
    def span(self) -> Span:
        """Where it is declared."""
        return self.name.span


NONE = "none"
"""What a slot is, of which there is none; a name elsewhere."""

Named: TypeAlias = tree.Part | tree.Rule


@dataclass(frozen=True)
class Flat:
    """An objective as one file would say it. Dictionaries keep the order of declaration."""

    header: tree.Header
    params: dict[str, Parameter] = field(default_factory=dict)
    inputs: dict[str, tree.Input] = field(default_factory=dict)
    teachers: dict[str, tree.Teacher] = field(default_factory=dict)
    scopes: dict[str, tree.KeyedScope] = field(default_factory=dict)
    defs: dict[str, tree.Def] = field(default_factory=dict)
    lets: dict[str, tree.Let] = field(default_factory=dict)
    slots: dict[str, tree.Slot] = field(default_factory=dict)
    parts: dict[tuple[str, str], Named] = field(default_factory=dict)
    variants: dict[str, tree.Variant] = field(default_factory=dict)
    sweeps: dict[str, tree.Sweep] = field(default_factory=dict)
    allows: dict[str, tree.Allow] = field(default_factory=dict)
    inherited: frozenset[tuple[str, str]] = frozenset()
    bases: tuple[tree.Header, ...] = ()

    @property
    def memories(self) -> dict[str, tuple[tree.Part, tree.Kept]]:
        """What is kept from rollout to rollout, by name: the part, and how it ends."""
        return {
            name: (part, part.kept)
            for (_, name), part in self.parts.items()
            if isinstance(part, tree.Part) and part.kept is not None
        }

    def is_none(self, word: str) -> bool:
        """Whether a slot is written `= none`, where nothing else is called so."""
        value = self.slots[word].value if word in self.slots else None
        named = {*self.params, *self.lets, *self.inputs}
        return isinstance(value, tree.Name) and value.path == (NONE,) and not named & {NONE}

    def as_base(self, header: tree.Header) -> Flat:
        """The start of an objective that extends this one: all is inherited; variants and sweeps stay behind."""
        everything = {("param", name) for name in self.params}
        everything |= {("let", name) for name in self.lets} | {("def", name) for name in self.defs}
        everything |= {("input", name) for name in self.inputs} | {("slot", name) for name in self.slots}
        everything |= {("teacher", name) for name in self.teachers}
        everything |= {("scope", name) for name in self.scopes}
        everything |= {("part", f"{kind}.{name}") for kind, name in self.parts}
        everything |= {("memory", name) for name in self.memories}
        return replace(
            self,
            header=header,
            params=dict(self.params),
            inputs=dict(self.inputs),
            teachers=dict(self.teachers),
            scopes=dict(self.scopes),
            defs=dict(self.defs),
            lets=dict(self.lets),
            slots=dict(self.slots),
            parts=dict(self.parts),
            variants={},
            sweeps={},
            allows=dict(self.allows),
            inherited=frozenset(everything),
            bases=(*self.bases, self.header),
        )

    @property
    def keys(self) -> frozenset[str]:
        """What its scopes tell cells apart by; an input among them is of whole numbers."""
        return frozenset(key.text for scope in self.scopes.values() for key in scope.keys)
