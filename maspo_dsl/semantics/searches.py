"""`least`: the first of a few numbers for which a condition holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics import typing_rules as rules
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.context import Context, Elaborate
from maspo_dsl.semantics.extent import Extent
from maspo_dsl.semantics.poison import fail, poison, poisoned
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.terms import Term, constant, static_value
from maspo_dsl.semantics.types import Axis, Kind

MAX_CANDIDATES = 100
"""What a `least` may try; those of a `least` in the condition of another count once for each of the other's."""


@dataclass(frozen=True)
class CandidateRange:
    """Candidates: `low`, `low + step`, … `count` of them. `bounds` is what they were made of."""

    bounds: tuple[Term, ...]
    low: float
    step: float
    count: int

    def value(self, index: int) -> float:
        """The candidate at a place."""
        return self.low + index * self.step


class Searches:
    """Elaborates `least`: `elaborate` is asked for its range and its condition."""

    def __init__(self, report: DiagnosticCollector, extent: Extent, elaborate: Elaborate) -> None:
        self.report = report
        self.extent = extent
        self.elaborate = elaborate

    def least(self, node: tree.Least, context: Context) -> Term:
        """The term of a `least`: a search that gives infinity where nothing holds, and what is taken then.

        The condition is computed for all candidates together where it takes tokens and sums of them within `micro`:
        torch cannot compile other reductions like that. Otherwise it is written out for each.
        """
        candidates = self._candidates(node, context)
        if candidates is None:
            return poison(node.span)
        otherwise = self.elaborate(node.otherwise, context)
        level = len(context.searches)
        candidate = Term(
            "candidate", (), Axis.SCALAR, Kind.REAL, False, node.span, (("level", level),), node.name
        )
        condition = self._condition(node, context, candidates, candidate)
        if poisoned(condition) or poisoned(otherwise):
            return poison(node.span)
        if not _goes_together(condition, level):
            return self._written_out(node, context, candidates, otherwise)
        if not candidates.count:
            return otherwise
        attributes = (
            ("low", candidates.low),
            ("step", candidates.step),
            ("count", candidates.count),
            ("level", level),
        )
        search = Term(
            "least", (condition, *candidates.bounds), condition.axis, Kind.REAL, False, node.span, attributes
        )
        infinite = constant(math.inf, node.span)
        found = Term("lt", (search, infinite), search.axis, Kind.BOOL, False, node.span)
        return rules.choose(self.report, found, search, otherwise, node.span)

    def _candidates(self, node: tree.Least, context: Context) -> CandidateRange | None:
        """The range, if it is known and short; None after a mistake."""
        bounds = [self.elaborate(part, context) for part in (node.low, node.high, node.step)]
        if any(poisoned(bound) for bound in bounds):
            return None
        numbers = [number for bound in bounds if (number := static_value(bound)) is not None]
        if len(numbers) < len(bounds):
            self._fail("not-static", "the range of `least` must be numbers and parameters", node.span)
            return None
        low, high, step = numbers
        if step <= 0:
            self._fail("bad-step", f"the step of `least` must be above 0, not {step:g}", node.step.span)
            return None
        steps = (high - low) / step + 1e-9
        count = max(math.floor(steps) + 1, 0) if math.isfinite(steps) else math.inf
        around = math.prod(context.searches)
        if count * around > MAX_CANDIDATES:
            amount = str(count * around) if math.isfinite(steps) else "endless"
            message = f"`least` would try {amount} values; {MAX_CANDIDATES} are allowed"
            hint = "those of a `least` in the condition of another count for each of the other's"
            self._fail("too-many-candidates", message, node.span, hint if around > 1 else "")
            return None
        return CandidateRange(tuple(bounds), low, step, int(count))

    def _condition(
        self, node: tree.Least, context: Context, candidates: CandidateRange, candidate: Term
    ) -> Term:
        inner = replace(
            context,
            locals={**context.locals, node.name: candidate},
            searches=(*context.searches, max(candidates.count, 1)),
        )
        condition = self.elaborate(node.condition, inner)
        return rules.logical(self.report, "and", [condition], node.condition.span)

    def _written_out(
        self, node: tree.Least, context: Context, candidates: CandidateRange, otherwise: Term
    ) -> Term:
        """A choice for each candidate, the first one outermost."""
        result = otherwise
        for index in reversed(range(candidates.count)):
            candidate = constant(candidates.value(index), node.span)
            condition = self._condition(node, context, candidates, candidate)
            result = rules.choose(self.report, condition, candidate, result, node.span)
            if poisoned(result := self.extent.held(result, node.span)):
                return result
        return result

    def _fail(self, code: str, message: str, span: Span, hint: str = "") -> Term:
        return fail(self.report, code, message, span, hint)


def _goes_together(condition: Term, level: int) -> bool:
    """Whether all that depends on the candidate of a level is of tokens, or a number with no reduction but sums."""
    seen: set[int] = set()
    stack = [condition]
    while stack:
        term = stack.pop()
        if id(term) in seen or level not in term.candidates:
            continue
        seen.add(id(term))
        scope = dict(term.attributes).get("scope")
        # Of an optimizer step a micro-batch knows what the others added, one number for each statistic.
        sums = scope is None or (
            term.op == "sum" and isinstance(scope, Scope) and not scope.keys and not scope.gathered
        )
        if not sums or term.axis in (Axis.SEQUENCE, Axis.GROUP):
            return False
        stack.extend(term.args)
    return True
