"""An objective with one of its marked places left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from maspo_dsl.analysis.marks import Place, number_of, numbered
from maspo_dsl.analysis.trial import GROUPS
from maspo_dsl.semantics.assemble import Parts
from maspo_dsl.semantics.terms import Term, walk
from maspo_dsl.semantics.types import Axis, Kind


def without(parts: Parts, place: Place) -> Parts | None:
    """An objective without a place; None where there is none to leave out."""
    if place.kind == "part":
        word, name = place.owner
        group = dict(getattr(parts, GROUPS[word]))
        if (term := group.pop(name, None)) is None:
            return None
        if word == "keep":
            group[name] = Term("const", (), Axis.SCALAR, Kind.BOOL, False, term.span, (("value", True),))
        changed: dict[str, Any] = {GROUPS[word]: group}
        return replace(parts, **changed)
    moved = {}
    for term in numbered(parts).get(place.whole, []):
        rest = _below(term, place.rest)
        # A value for each token where there was one for each completion is another kind of objective.
        if rest is None or rest.axis > term.axis:
            return None
        moved[id(term)] = _negated(rest) if place.negated else rest
    return _moved(parts, moved) if moved else None


def _below(term: Term, number: int) -> Term | None:
    return next((inner for inner in walk(*term.args) if number_of(inner) == number), None)


def _negated(term: Term) -> Term:
    return Term("neg", (term,), term.axis, Kind.REAL, term.live, term.span)


def _moved(parts: Parts, moved: dict[int, Term]) -> Parts:
    """The parts with some terms in place of others."""
    memo: dict[int, Term] = {}

    def place(term: Term) -> Term:
        if id(term) not in memo:
            if id(term) in moved:
                memo[id(term)] = place(moved[id(term)])
            else:
                args = tuple(map(place, term.args))
                same = all(one is other for one, other in zip(args, term.args, strict=True))
                memo[id(term)] = term if same else replace(term, args=args)
        return memo[id(term)]

    changed: dict[str, Any] = {
        name: {key: place(term) for key, term in getattr(parts, name).items()} for name in GROUPS.values()
    }
    slots = {name: getattr(parts, name) for name in ("advantage", "ratio", "reduce", "prompt", "step")}
    changed |= {name: None if term is None else place(term) for name, term in slots.items()}
    return replace(parts, **changed)
