"""A resolved objective: edits applied, parameters bound, library calls inlined, types known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from maspo_dsl.language import tree
from maspo_dsl.language.source import Source
from maspo_dsl.semantics import canonical
from maspo_dsl.semantics.binding import BoundParameter, allowed_values, start_of
from maspo_dsl.semantics.cells import key_names
from maspo_dsl.semantics.distributions import Distribution
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.quantities import (
    INPUT_AXES,
    PROMPT_ID,
    TENSORS,
    Quantity,
    kept_tensor,
    own_tensor,
    teacher,
)
from maspo_dsl.semantics.scopes import KEPT_PER, SCOPES, Scope, keyed
from maspo_dsl.semantics.shipped import library_definitions
from maspo_dsl.semantics.terms import walk
from maspo_dsl.semantics.versions import language_version


@dataclass(frozen=True)
class Settings:
    """What was asked for beside the text: values of parameters, constants of the run, a variant."""

    params: Mapping[str, object] = field(default_factory=dict)
    run: Mapping[str, float] = field(default_factory=dict)
    variant: str | None = None


@dataclass(frozen=True)
class Memory:
    """A value that a loop keeps from rollout to rollout, `start` at first: one for the `run`, or for each `prompt`."""

    name: str
    per: str
    start: float
    doc: str


@dataclass(frozen=True)
class ResolvedObjective:
    """What a spec says, checked; nothing numeric has happened.

    `used` are the names that its terms read; `read` also has parameters that only give others their default or
    interval.
    """

    source: Source
    flat: Flat
    parameters: Mapping[str, BoundParameter]
    parts: Parts
    read: frozenset[str]
    used: frozenset[str]
    settings: Settings = field(default_factory=Settings)

    @property
    def name(self) -> str:
        """Its name."""
        return self.flat.header.name.text

    @property
    def doc(self) -> str:
        """Its one-line meaning."""
        return self.flat.header.doc or ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Papers and implementations it was written from."""
        return self.flat.header.sources

    @property
    def differs(self) -> tuple[str, ...]:
        """What other implementations, or the paper, do otherwise."""
        return self.flat.header.differs

    @property
    def lineage(self) -> tuple[str, ...]:
        """The objectives it extends, the nearest last."""
        return tuple(base.name.text for base in self.flat.bases)

    @property
    def params(self) -> dict[str, float]:
        """Values of the parameters that are read."""
        return {name: bound.value for name, bound in self.parameters.items() if name in self.read}

    @cached_property
    def tensors(self) -> dict[str, Quantity]:
        """Every tensor that its batch can hold: those of the language, and those that the spec itself brings about."""
        declared = {name: given for name, given in self.flat.teachers.items() if name in self.read}
        rows = [teacher(name, given.doc) for name, given in declared.items()]
        rows += [distribution.quantity for distribution in self.distributions.values()]
        policies = {str(row.tensor): row for row in rows}
        kept = {m.name: kept_tensor(m.name, KEPT_PER[m.per], m.start, m.doc) for m in self.memories.values()}
        ids = {tensor for m in self.memories.values() for tensor in KEPT_PER[m.per].tensors}
        prompts = {row.name: row for row in (PROMPT_ID,) if row.name in ids}
        return {**TENSORS, **prompts, **self.own, **policies, **kept}

    @cached_property
    def own(self) -> dict[str, Quantity]:
        """The tensors that the spec declares itself."""
        return {
            name: own_tensor(
                declared, allowed_values(declared, self.flat, self.parameters), key=name in self.flat.keys
            )
            for name, declared in self.flat.inputs.items()
            if name in self.read
        }

    @cached_property
    def memories(self) -> dict[str, Memory]:
        """What is kept from rollout to rollout, by name."""
        return {
            name: Memory(name, kept.per.text, start_of(kept, self.flat, self.parameters), kept.doc or "")
            for name, (_, kept) in self.flat.memories.items()
        }

    @cached_property
    def distributions(self) -> dict[str, Distribution]:
        """What is read of whole distributions, by its tensor."""
        read = (dict(term.attributes).get("distribution") for term in walk(*self.parts.terms()))
        found = {each.tensor: each for each in read if isinstance(each, Distribution)}
        return dict(sorted(found.items()))

    @property
    def live_tensors(self) -> tuple[str, ...]:
        """The tensors of its batch that carry gradient."""
        return tuple(name for name, row in self.tensors.items() if row.live)

    @cached_property
    def scopes(self) -> dict[str, Scope]:
        """Every scope that a reduction of it may be within: those of the language, and its own."""
        axes = {name: INPUT_AXES[declared.axis.text] for name, declared in self.flat.inputs.items()}
        own = {name: given for name, given in self.flat.scopes.items() if name in self.read}
        return {**SCOPES, **{name: keyed(name, key_names(given), axes) for name, given in own.items()}}

    @cached_property
    def text(self) -> str:
        """The objective as one flat file with every value bound."""
        return canonical.flat_text(self.flat, self.parameters, self.used)

    def text_allowing(self, codes: frozenset[str]) -> str:
        """The same with no other `allow` than those of some warnings."""
        allows = {code: allow for code, allow in self.flat.allows.items() if code in codes}
        return canonical.flat_text(replace(self.flat, allows=allows), self.parameters, self.used)

    @cached_property
    def hash(self) -> str:
        """Hash of what is computed, whatever it is called."""
        version = language_version(self.parts)
        return canonical.objective_hash(self.flat, self.parameters, self.used, library_definitions(), version)

    @property
    def tree(self) -> tree.ObjectiveTree:
        """The flat objective as a tree."""
        return canonical.flat_tree(self.flat, self.parameters, self.used)
