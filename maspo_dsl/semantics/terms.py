"""Typed expressions: what is left of a spec when names are looked up and library calls inlined.

A term is a node of a shared DAG. Operations are those of the graph; nothing numeric has happened yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.types import Axis, Kind, Scope

Attribute: TypeAlias = str | float | bool | Scope | Axis


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

    def labelled(self, label: str) -> Term:
        """The same term under a name."""
        return replace(self, label=label)


def constant(value: float, span: Span) -> Term:
    """A number."""
    return Term("const", (), Axis.SCALAR, Kind.REAL, False, span, (("value", value),))


def walk(*roots: Term) -> Iterator[Term]:
    """Every term below, once each."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        term = stack.pop()
        if id(term) not in seen:
            seen.add(id(term))
            yield term
            stack.extend(term.args)


def static_value(term: Term) -> float | None:
    """The number that a term of constants and parameters has, None if it depends on the batch."""
    if term.op in ("const", "param"):
        value = term.attribute("value")
        return float(value) if isinstance(value, (int, float)) else None
    values = [static_value(argument) for argument in term.args]
    if not values or any(value is None for value in values):
        return None
    numbers = [value for value in values if value is not None]
    try:
        return _fold(term.op, numbers)
    except (ArithmeticError, ValueError):
        return None


def _fold(op: str, numbers: list[float]) -> float | None:
    match op, numbers:
        case "neg", [a]:
            return -a
        case "add", [a, b]:
            return a + b
        case "sub", [a, b]:
            return a - b
        case "mul", [a, b]:
            return a * b
        case "div", [a, b]:
            return a / b
        case "pow", [a, b]:
            return float(a**b)
        case "min", [a, b]:
            return min(a, b)
        case "max", [a, b]:
            return max(a, b)
        case _:
            return None
