"""Typed expressions: what is left of a spec when names are looked up and library calls inlined.

A term is a node of a shared DAG. Operations are those of the graph; nothing numeric has happened yet. A `candidate` is
the name that the condition of a `least` goes through; its level is how many `least` stand around the condition. After
its condition a `least` has what its range is made of, of which only the numbers are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.distributions import Distribution
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.operations import OPERATIONS, Operation
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.types import Axis, Kind

Attribute: TypeAlias = str | float | bool | Scope | Axis | Distribution


@dataclass(frozen=True, eq=False)
class Term:
    """One operation on terms.

    `attributes` hold what is not a value (the scope of a reduction, the name of an input). `live` says that
    gradient flows through it to the policy. `label` is the spec's own name for the value, for readers.
    """

    op: str
    args: tuple[Term, ...]
    axis: Axis
    kind: Kind
    live: bool
    span: Span = field(repr=False)
    attributes: tuple[tuple[str, Attribute], ...] = ()
    label: str = ""

    def attribute(self, name: str) -> Attribute:
        """An attribute by name."""
        return dict(self.attributes)[name]

    @cached_property
    def depth(self) -> int:
        """How many operations are inside each other, this one counted."""
        return 1 + max((argument.depth for argument in self.args), default=0)

    @cached_property
    def reads_live(self) -> bool:
        """Whether it depends on the policy being trained, with gradient or without."""
        return self.live or any(argument.reads_live for argument in self.args)

    @cached_property
    def candidates(self) -> frozenset[int]:
        """Levels of the candidates that the value depends on; `least` binds its own."""
        found = frozenset[int]().union(*(argument.candidates for argument in self.args))
        if self.op in ("candidate", "least"):
            level = frozenset({int(str(self.attribute("level")))})
            return found | level if self.op == "candidate" else found - level
        return found

    @cached_property
    def _number(self) -> float | None:
        if self.op in ("const", "param") and self.kind is not Kind.BOOL:
            value = self.attribute("value")
            return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
        if self.op == "select":
            condition, then, otherwise = self.args
            truth = condition._truth
            return None if truth is None else (then if truth else otherwise)._number
        operation = self._folding
        if operation is None or operation.condition:
            return None
        found = self._of_numbers(operation)
        return found if found is not None and math.isfinite(found) else None

    @cached_property
    def _truth(self) -> bool | None:
        if self.op == "const" and self.kind is Kind.BOOL:
            return bool(self.attribute("value"))
        if (operation := self._folding) is not None and operation.condition:
            value = self._of_numbers(operation)
            return None if value is None else bool(value)
        if self.op not in ("and", "or", "not"):
            return None
        known = [argument._truth for argument in self.args]
        if self.op == "not":
            return None if known[0] is None else not known[0]
        decisive = self.op == "or"
        if decisive in known:
            return decisive
        return None if None in known else not decisive

    @property
    def _folding(self) -> Operation | None:
        """The operation, if a value of numbers alone is a number."""
        operation = OPERATIONS.get(self.op)
        return operation if operation is not None and operation.folds else None

    def _of_numbers(self, operation: Operation) -> float | None:
        numbers = [number for argument in self.args if (number := argument._number) is not None]
        return operation.number(*numbers) if len(numbers) == len(self.args) else None

    def labelled(self, label: str) -> Term:
        """The same term under a name."""
        return replace(self, label=label)


def constant(value: float, span: Span) -> Term:
    """A number."""
    return Term("const", (), Axis.SCALAR, Kind.REAL, False, span, (("value", value),))


def walk(*roots: Term, into: Callable[[Term], bool] = lambda term: True) -> Iterator[Term]:
    """Every term below, once each, but for what stands below terms that `into` does not hold for, and these."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        term = stack.pop()
        if id(term) not in seen and into(term):
            seen.add(id(term))
            yield term
            stack.extend(term.args)


def static_value(term: Term) -> float | None:
    """The finite number that a term of constants and parameters has, None if it depends on the batch or has none."""
    return term._number


def static_truth(term: Term) -> bool | None:
    """Whether a condition of constants and parameters holds, None if it depends on the batch."""
    return term._truth


def settings_of(*terms: Term) -> str:
    """The parameters that terms read, with their values, for a hint: `with cap = 0, q = 1`; empty if none."""
    read = {str(t.attribute("name")): static_value(t) or 0.0 for t in walk(*terms) if t.op == "param"}
    settings = ", ".join(f"{name} = {number_text(value)}" for name, value in sorted(read.items()))
    return f"with {settings}" if settings else ""
