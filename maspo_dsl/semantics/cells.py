"""Scopes that a spec declares: its keys looked up, and the condition under which a value is in a cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.language.source import Span
from maspo_dsl.semantics import typing_rules as rules
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.context import Members, Value
from maspo_dsl.semantics.poison import poison
from maspo_dsl.semantics.scopes import KEYS, Scope, keyed
from maspo_dsl.semantics.terms import Term, constant
from maspo_dsl.semantics.types import Axis, Kind


def keyed_scope(declared: tree.KeyedScope, inputs: Mapping[str, Term], report: DiagnosticCollector) -> Value:
    """The scope of a declaration, with the condition of what is in one of its cells; poison after a mistake."""
    seen: set[str] = set()
    mistakes = len(report.diagnostics)
    for key in declared.keys:
        if key.text in seen:
            report.error("repeated-argument", f"`{key.text}` is given twice", key.span)
        elif key.text not in KEYS:
            _check_input(key, inputs, report)
        seen.add(key.text)
    if len(report.diagnostics) > mistakes:
        return poison(declared.span)
    scope = keyed(declared.name.text, key_names(declared), {key: term.axis for key, term in inputs.items()})
    return Members(scope, in_a_cell(report, scope, declared.span))


def key_names(declared: tree.KeyedScope) -> tuple[str, ...]:
    """What a declaration names as keys."""
    return tuple(key.text for key in declared.keys)


def _check_input(key: tree.Identifier, inputs: Mapping[str, Term], report: DiagnosticCollector) -> None:
    given = inputs.get(key.text)
    if given is None:
        message = (
            f"`{key.text}` is no key: cells are told apart by {', '.join(KEYS)} and inputs of whole numbers"
        )
        report.error("unknown-name", message, key.span, did_you_mean(key.text, [*KEYS, *inputs]))
    elif given.kind is Kind.BOOL:
        message = f"a key is a whole number; `{key.text}` is a condition"
        report.error("condition-as-number", message, key.span)
    elif given.axis is Axis.SCALAR:
        report.error("axis", f"`{key.text}` is one number for everything: it tells no cells apart", key.span)


def in_a_cell(report: DiagnosticCollector, scope: Scope, span: Span) -> Term | None:
    """The condition that no id of a value is negative; None where no id can be."""
    inside = []
    for key in scope.own:
        axis = Axis.TOKEN if key in scope.of_tokens else Axis.SEQUENCE
        attributes = (("name", key), ("declared", True), ("integer", True))
        ids = Term("input", (), axis, Kind.REAL, False, span, attributes, label=key)
        inside.append(rules.compare(report, ">=", ids, constant(0.0, span), span))
    if not inside:
        return None
    return reduce(lambda a, b: rules.logical(report, "and", [a, b], span), inside)
