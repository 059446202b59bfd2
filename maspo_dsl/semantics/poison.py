"""What stands where a mistake was reported: a term of op `poison`, which nothing complains about again."""

from __future__ import annotations

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.terms import Term
from maspo_dsl.semantics.types import Axis, Kind


def poison(span: Span) -> Term:
    """A term that stands for a mistake."""
    return Term("poison", (), Axis.SCALAR, Kind.REAL, False, span)


def poisoned(term: Term) -> bool:
    """Whether a mistake was reported inside."""
    return term.op == "poison"


def fail(report: DiagnosticCollector, code: str, message: str, span: Span, hint: str = "") -> Term:
    """Report a mistake, and give poison for it."""
    report.error(code, message, span, hint)
    return poison(span)
