"""How far a spec may unroll: a `def` is written out at each call, a `least` may be for each candidate."""

from __future__ import annotations

from collections.abc import Callable

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.poison import fail, poison, poisoned
from maspo_dsl.semantics.terms import Term

MAX_OPERATIONS = 20_000
"""Operations of all expressions together; the largest shipped objective has 360."""
MAX_DEPTH = 200
"""Operations inside each other once everything is written out; the deepest shipped value has 36."""
MAX_NESTING = 100
"""Expressions that wait for each other, through calls and `let`s."""


class Extent:
    """Counts the operations of a spec, and says where they become too many or too deep."""

    def __init__(self, report: DiagnosticCollector) -> None:
        self.report = report
        self._operations = 0
        self._nesting = 0
        self._failed = False

    def within(self, span: Span, make: Callable[[], Term]) -> Term:
        """The term that `make` gives, or poison where it would be too much."""
        self._operations += 1
        if self._operations > MAX_OPERATIONS:
            return self._too_many(span)
        if self._nesting >= MAX_NESTING:
            return self._too_deep(span, MAX_NESTING)
        self._nesting += 1
        term = make()
        self._nesting -= 1
        return self.held(term, span)

    def held(self, term: Term, span: Span) -> Term:
        """The term, or poison where too many operations are inside each other."""
        return term if poisoned(term) or term.depth <= MAX_DEPTH else self._too_deep(span, MAX_DEPTH)

    def _too_many(self, span: Span) -> Term:
        message = f"this spec unrolls to more than {MAX_OPERATIONS} operations"
        hint = "a `def` is written out at each of its calls, and a `least` may be for each candidate"
        return self._fail("too-many-operations", message, span, hint)

    def _too_deep(self, span: Span, limit: int) -> Term:
        message = f"more than {limit} operations are inside each other here, calls and `let`s written out"
        return self._fail("too-deep", message, span)

    def _fail(self, code: str, message: str, span: Span, hint: str = "") -> Term:
        """Once for a spec: what such a value is read in would be as bad."""
        if self._failed:
            return poison(span)
        self._failed = True
        return fail(self.report, code, message, span, hint)
