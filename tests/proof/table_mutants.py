"""Mistakes in the tables of the language: one field of one row changed, where everything reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS
from maspo_dsl.semantics.operations import COMPARISONS, OPERATIONS, OPERATORS, Operation
from maspo_dsl.semantics.part_words import PART_WORDS, PartWord
from maspo_dsl.semantics.quantities import QUANTITIES, Quantity
from maspo_dsl.semantics.reductions import REDUCTION_WORDS, Reduction
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.types import Axis

from ..rows.numbers import difference, found, kept
from ..rows.partials import wrong_partials
from ..rows.specs import ROWS

TEXTS = frozenset(
    {"name", "word", "meaning", "doc", "cell", "plain", "latex", "dropped", "note", "adjective", "neutral"}
)
"""Fields that people read: docs/language.md, docs/objectives.md and the tests of `explain` hold them."""
NO_VALUE = frozenset({"slow", "local", "typical", "ordered", "by_place"})
"""Fields that say when something is computed, what it is called in a file, and what `verify` and probes try."""
TABLES: dict[str, dict[str, Any]] = {
    "function": OPERATIONS,
    "reduction": REDUCTION_WORDS,
    "distribution": DISTRIBUTION_WORDS,
    "quantity": QUANTITIES,
    "scope": SCOPES,
    "part word": PART_WORDS,
}


@dataclass(frozen=True)
class TableMutant:
    """A row of a table in which a field has another value, and the objective that uses the row."""

    table: str
    row: Any
    field: str
    value: Any
    used_by: str

    def __str__(self) -> str:
        named = getattr(self.value, "__name__", None) or repr(self.value)
        return f"{self.used_by}: {self.field} → {named}"

    def killer(self) -> str | None:
        """What notices the change; None if nothing does."""
        before = getattr(self.row, self.field)
        object.__setattr__(self.row, self.field, self.value)
        try:
            wrong = isinstance(self.row, Operation) and wrong_partials(self.row)
            return wrong or difference(found(self.used_by), kept()[self.used_by]) or None
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            object.__setattr__(self.row, self.field, before)


def table_mutants() -> Iterator[TableMutant]:
    """Every mutant of every row that an objective of tests/rows uses."""
    for table, rows in TABLES.items():
        for name, row in rows.items():
            if (used_by := _used_by(table, name)) is None:
                continue
            for one in fields(row):
                if one.name not in TEXTS | NO_VALUE and _is_read(row, one.name):
                    before = getattr(row, one.name)
                    for value in _others(before, [getattr(other, one.name) for other in rows.values()]):
                        yield TableMutant(table, row, one.name, value, used_by)


def _is_read(row: Any, field: str) -> bool:
    """Whether anything reads a field of this row.

    Connectives and `detach`, `min` and `max` are written by rules of their own; a reduction known in few scopes is not
    asked about the others; a slot is read by its name, a condition has no gradient, and what fits needs no hint.
    """
    match row:
        case Operation(name="detach"):
            return field not in ("arity", "torch", "precedence", "condition", "folds")
        case Operation(name="min" | "max"):
            return field != "precedence"
        case Operation(name="and" | "or" | "not"):
            return field not in ("condition", "folds") and (row.name, field) != ("or", "value")
        case Reduction() if field in ("axes", "scopes"):
            return not row.along
        case Reduction() if field in ("additive", "differentiable", "by_parts", "keeps_kind", "pooled"):
            return not row.scopes and not (row.additive and field in ("pooled", "keeps_kind"))
        case Quantity(tensor=None):
            return field not in ("domain", "per_token")
        case PartWord(form="slot") if field == "role":
            return False
        case PartWord(form="rule") if field == "gradient":
            return False
        case PartWord() if field == "without_gradient":
            return row.gradient == "required"
        case PartWord() if field == "axis_hint":
            return len(row.axes) < len(Axis)
    return True


def _used_by(table: str, name: str) -> str | None:
    symbols = {operation: symbol for symbol, operation in (*OPERATORS.items(), *COMPARISONS.items())}
    found = [f"{table} {name}", f"special {name}"]
    found += [f"{kind} {symbols[name]}" for kind in ("operator", "comparison") if name in symbols]
    return next((row for row in found if row in ROWS), None)


def _others(before: Any, values: list[Any]) -> list[Any]:
    """Other values that a field could have had: what another row has, the opposite, none at all."""
    if isinstance(before, bool):
        return [not before]
    others = [value for value in values if value != before and type(value) is type(before)]
    if isinstance(before, Enum):
        return list(dict.fromkeys(others))
    if callable(before):
        return [*others[:2], *([_negated(before)] if _gives_derivatives(before) else [])]
    return [*others[:2], *([type(before)()] if before and isinstance(before, tuple | frozenset) else [])]


def _gives_derivatives(function: Any) -> bool:
    return getattr(function, "__code__", None) is not None and function.__code__.co_varnames[:1] == ("v",)


def _negated(partials: Any) -> Any:
    """Derivatives with the other sign."""

    def negated(*arguments: Any) -> list[Any]:
        return [-1.0 * partial for partial in partials(*arguments)]

    return negated
