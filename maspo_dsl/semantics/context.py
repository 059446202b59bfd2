"""What an expression may see: the names of the spec, and where in it the expression stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.quantities import QUANTITIES, Quantity
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.terms import Term


@dataclass(frozen=True)
class Members:
    """A scope as a reduction is given it, with the condition of the values that take part; all do where it is None."""

    scope: Scope
    of: Term | None = None


# What a def's parameter can stand for.
Value: TypeAlias = Term | Members


@dataclass(frozen=True)
class Context:
    """What an expression may see besides the names of the spec.

    `locals` are a def's parameters and the binder of `least`; `it` is the piped value. `slot` is where the
    expression stands: `loss` is known in `reduce` alone, `A` everywhere but in `advantage`, and `reward` means
    the shaped reward in `advantage`. Inside a def, `site` is the call in the spec itself. `searches` says how many
    candidates each `least` has around whose condition this is. In a memory, `kept` is the scope of one value of it.
    """

    slot: str
    locals: Mapping[str, Value] = field(default_factory=dict)
    it: Term | None = None
    calls: tuple[str, ...] = ()
    site: Span | None = None
    searches: tuple[int, ...] = ()
    kept: Scope | None = None


Elaborate: TypeAlias = Callable[[tree.Expression, Context], Term]
"""The term of an expression where it stands."""


@dataclass(frozen=True)
class Names:
    """Everything a spec declares that an expression can name."""

    params: Mapping[str, Term]
    lets: Mapping[str, tree.Let]
    inputs: Mapping[str, Term]
    teachers: Mapping[str, Quantity]
    memories: Mapping[str, Scope]
    scopes: Mapping[str, Value]
    defs: Mapping[str, tree.Def]
    slots: Mapping[str, tree.Slot]

    @cached_property
    def quantities(self) -> Mapping[str, Quantity]:
        """Those of the language, and the teachers."""
        return {**QUANTITIES, **self.teachers}
