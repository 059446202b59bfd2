"""Gradient that gets lost without a word: what passes none on, of what carries some."""

from __future__ import annotations

from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.terms import Term, walk
from maspo_dsl.semantics.types import Kind


def lost_gradient(part: Term) -> Term | None:
    """A reduction that takes a live value and gives a number without gradient, of which the gradient of a part is made.

    Conditions have no gradient to lose, and `detach` says that it is not wanted.
    """
    stack = [inner for term in walk(part, into=_is_live) for inner in term.args]
    seen: set[int] = set()
    while stack:
        term = stack.pop()
        if id(term) in seen or term.live or term.kind is Kind.BOOL or term.op == "detach":
            continue
        if term.op in REDUCTIONS and any(argument.live for argument in term.args):
            return term
        seen.add(id(term))
        stack.extend(term.args)
    return None


def _is_live(term: Term) -> bool:
    return term.live
