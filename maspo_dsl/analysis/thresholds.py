"""The numbers that a spec compares things with: what has to be drawn so that its conditions go both ways."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from maspo_dsl.analysis.drawing import Array
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.operations import COMPARISONS
from maspo_dsl.semantics.quantities import Domain
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.terms import Term, static_value, walk
from maspo_dsl.semantics.types import Axis

LONGEST = 65536
"""No completion that is tried is longer, whatever a spec compares its length with."""
MOST = 256
"""Nor is a group larger."""
_BOUNDS = frozenset({"min", "max"})
_LENGTHS = frozenset({"length", "position"})
_SHAPED = {"shaped_reward": "reward"}
"""What a batch has of what a term reads."""
_NUMBERS = frozenset({Domain.REAL, Domain.INPUT, Domain.INTEGER, Domain.NONNEGATIVE})


def constants(objective: ResolvedObjective) -> Array:
    """Sizes of the numbers that a spec says or that follow from its parameters, sorted, and 1."""
    found = {static_value(term) for term in walk(*objective.parts.terms())}
    return np.array(sorted({abs(value) for value in found if value} | {1.0}))


def compared(objective: ResolvedObjective) -> Mapping[str, Array]:
    """For each tensor of numbers, the numbers that something made of it is compared with, or bounded by."""
    found: dict[str, set[float]] = defaultdict(set)
    tensors = objective.tensors
    for term in _comparisons(objective):
        below = list(walk(*term.args))
        numbers = {value for inner in below if (value := static_value(inner)) is not None}
        for inner in below:
            name = str(inner.attribute("name")) if inner.op == "input" else ""
            name = _SHAPED.get(name, name)
            if name in tensors and tensors[name].domain in _NUMBERS:
                found[name] |= numbers
    return {name: np.array(sorted(numbers)) for name, numbers in found.items() if numbers}


def counts(objective: ResolvedObjective) -> dict[Axis, list[int]]:
    """The numbers above 1 that a count of completions, and one of tokens, is compared with, each sorted."""
    found: dict[Axis, set[int]] = {Axis.SEQUENCE: set(), Axis.TOKEN: set()}
    for term in _comparisons(objective, "binom"):
        below = list(walk(*term.args))
        most = {_most(inner) for inner in below}
        numbers = {
            math.ceil(value) for inner in below if (value := static_value(inner)) is not None and value > 1
        }
        for axis, largest in ((Axis.SEQUENCE, MOST), (Axis.TOKEN, LONGEST)):
            if largest in most:
                found[axis] |= {number for number in numbers if number < largest}
    return {axis: sorted(numbers) for axis, numbers in found.items()}


def beyond(*roots: Term) -> bool:
    """Whether something that is counted is compared with more than is ever tried."""
    found = list(walk(*roots))
    most = max((_most(term) for term in found), default=0)
    numbers = [abs(value) for term in found if (value := static_value(term)) is not None]
    return 0 < most < max(numbers, default=0.0)


def _most(term: Term) -> int:
    """How large a value that grows with the number of tokens or completions gets; 0 where a value does not."""
    if term.op == "input":
        return LONGEST if term.attribute("name") in _LENGTHS else 0
    if term.op not in REDUCTIONS or not REDUCTIONS[term.op].grows:
        return 0
    return LONGEST if term.attribute("over") is Axis.TOKEN else MOST


def _comparisons(objective: ResolvedObjective, *more: str) -> Iterator[Term]:
    operations = {*COMPARISONS.values(), *_BOUNDS, *more}
    return (term for term in walk(*objective.parts.terms()) if term.op in operations)
