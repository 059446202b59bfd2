"""Which ways the conditions and bounds of a spec go on batches, and where it says those that never go another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.graph.build import traced
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.operations import COMPARISONS
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.terms import Term, static_truth, static_value

_BOUNDS = frozenset({"min", "max"})
_CONDITIONS = frozenset(COMPARISONS.values())
Written: TypeAlias = tuple[str, int, int, str]
"""A source, a line and a column, and what stands there."""
# Longer ones are not written out.
_LONGEST = 60


@dataclass
class Choice:
    """A condition, or a bound, as the spec writes it; `places` compute it, `sides` are those that it went."""

    term: Term
    places: list[int]
    sides: set[bool] = field(default_factory=set)

    @property
    def written(self) -> Written:
        """Where it stands, and how it is written there."""
        return _written(self.term)

    def side(self, interpretation: Interpretation) -> Iterator[Array]:
        """On which side each element is; nothing where its value was not asked for."""
        nodes, values = interpretation.graph.nodes, interpretation.values
        for place in self.places:
            needed = [place] if self.term.op not in _BOUNDS else nodes[place].args
            if any(argument not in values for argument in needed):
                continue
            found = [values[argument] for argument in needed]
            yield np.asarray(found[0] < found[1]) if self.term.op in _BOUNDS else found[0].astype(bool)


class SidesTaken:
    """Counts the ways that conditions and bounds went, batch by batch."""

    def __init__(self, objective: ResolvedObjective) -> None:
        self.graph, places = traced(objective.parts)
        self.terms = {place: term for term, found in places.items() for place in found}
        rules = objective.parts.of(Role.REMOVES_TOKEN, Role.REMOVES_POLICY_TERM, Role.FILTER).values()
        chosen = {term: found for term, found in places.items() if _decides(term) or term in rules}
        self.choices = [Choice(term, found) for term, found in chosen.items() if not self._searched(found)]

    def _searched(self, places: list[int]) -> bool:
        """Whether a value is one for each candidate of a search."""
        return any(self.graph.candidates[place] for place in places)

    def add(self, batch: Arrays, params: dict[str, float] | None = None) -> None:
        """Take a batch into account; `params` replaces values of parameters."""
        interpretation = Interpretation(self.graph, batch, params=params)
        for output in self.graph.outputs:
            if set(self.graph.inputs([output])) <= {*interpretation.batch, "mask", "present"}:
                interpretation.output(output)
        for choice in self.choices:
            for side in choice.side(interpretation):
                choice.sides |= {bool(one) for one in np.unique(_counted(side, interpretation.batch))}

    def first_not_finite(self, batch: Arrays) -> str:
        """Where the spec says the first value that is not finite though what it is made of is; empty if nowhere."""
        interpretation = Interpretation(self.graph, batch)
        interpretation.output("loss")
        wrong = {
            place for place, value in interpretation.values.items() if _not_finite(value, interpretation)
        }
        for place in sorted(wrong):
            if wrong.isdisjoint(self.graph.nodes[place].args) and place in self.terms:
                return _place(self.terms[place])
        return ""

    @property
    def number(self) -> int:
        """How many places of the text have a condition or a bound."""
        return len({choice.written for choice in self.choices})

    @property
    def one_way(self) -> list[Choice]:
        """Those that did not go both ways, one for each place of the text, in order."""
        gone: dict[tuple[object, ...], Choice] = {}
        for choice in self.choices:
            known = gone.setdefault((*choice.written, choice.term.op), Choice(choice.term, []))
            known.sides |= choice.sides
        found = {choice.written: choice for choice in gone.values() if len(choice.sides) < 2}
        return [found[written] for written in sorted(found)]


def _decides(term: Term) -> bool:
    """Whether something goes one way or the other there; a count that is kept off 0 does not."""
    if term.op in _CONDITIONS:
        return static_truth(term) is None
    guard = not term.span.text.startswith(term.op) and any(map(_counts, term.args))
    return term.op in _BOUNDS and static_value(term) is None and not guard


def _counts(term: Term) -> bool:
    """Whether a value is made of counts and numbers."""
    counts = term.op in REDUCTIONS and REDUCTIONS[term.op].values == "mask"
    below = [argument for argument in term.args if static_value(argument) is None]
    return counts or (bool(below) and all(map(_counts, below)))


def _counted(side: Array, batch: Arrays) -> Array:
    """The sides of trained tokens, or of completions that have one; a number is always one."""
    if not side.ndim:
        return side
    if side.ndim == 1:
        return np.asarray(side[batch["present"].astype(bool)])
    mask = batch["mask"].astype(bool)
    return np.asarray(np.broadcast_to(side, mask.shape)[mask])


def _not_finite(value: Array, interpretation: Interpretation) -> bool:
    return not np.isfinite(_counted(value, interpretation.batch).astype(float)).all()


def _written(term: Term) -> Written:
    span = term.span
    return span.source.name, span.line, span.column, " ".join(span.text.split())


def _place(term: Term) -> str:
    """A place of the text: `my.obj:5:12 `A > 3``."""
    name, line, column, text = _written(term)
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 2] + " …"
    return f"{Path(name).name}:{line}:{column} `{short}`"


def said(choice: Choice) -> str:
    """`my.obj:5:12 `A > 3` never holds`."""
    if not choice.sides:
        how = "was not asked for"
    elif choice.term.op in _BOUNDS:
        how = "went one way"
    else:
        how = "always holds" if True in choice.sides else "never holds"
    return f"{_place(choice.term)} {how}"
