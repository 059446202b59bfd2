"""Totals over the optimizer window: a micro-batch knows its share of those that carry gradient, and no more.

Shares add up, so what is made of such a total must add up as well: sums of totals, and totals times or over
numbers without gradient. Anything else would depend on how the window was cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.poison import fail
from maspo_dsl.semantics.scopes import MICRO, WINDOW
from maspo_dsl.semantics.terms import Term
from maspo_dsl.semantics.types import Axis


def is_total(term: Term) -> bool:
    """Whether a term is a total over the window, with gradient."""
    if not term.live or term.axis is not Axis.SCALAR:
        return False
    if term.op == "sum":
        return term.attribute("scope") is WINDOW
    return any(is_total(argument) for argument in term.args)


def is_averaged(term: Term) -> bool:
    """Whether a number with gradient is one of each micro-batch, so that the window has the mean of them."""
    return term.live and term.axis is Axis.SCALAR and not is_total(term)


def totals_stay_sums(op: str, args: Sequence[Term]) -> bool:
    """Whether an operation on totals gives something that still adds up over micro-batches."""
    totals = [is_total(argument) for argument in args]
    if not any(totals):
        return True
    others = [argument for argument, total in zip(args, totals, strict=True) if not total]
    others_constant = all(not other.live and other.axis is Axis.SCALAR for other in others)
    match op:
        case "add" | "sub" | "neg":
            return all(totals)
        case "mul":
            return sum(totals) == 1 and others_constant
        case "div":
            return totals == [True, False] and others_constant
    return False


def micro_total(term: Term) -> Term | None:
    """A total of one micro-batch that a number of the whole window is made of, if there is one.

    Within a total of the window there may be one: that is computed for each micro-batch.
    """
    stack, seen = [term], set[int]()
    while stack:
        current = stack.pop()
        scope = dict(current.attributes).get("scope")
        if scope is MICRO:
            return current
        if scope is not WINDOW and id(current) not in seen:
            seen.add(id(current))
            stack.extend(current.args)
    return None


def reject_total(report: DiagnosticCollector, span: Span) -> Term:
    """The mistake of computing with a total as if the whole of it were known."""
    message = (
        "a total over the window that carries gradient is known only as a sum of the micro-batches' shares"
    )
    hint = (
        "add totals, or multiply them by numbers; for its value alone detach inside: mean(detach(x), window)"
    )
    return fail(report, "live-total", message, span, hint)
