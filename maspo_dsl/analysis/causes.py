"""Why an objective couples tokens: the parts that read the policy at other tokens, and where they say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from maspo_dsl.analysis.coupling import Coupling, Reach, coupling
from maspo_dsl.analysis.trial import graph_of
from maspo_dsl.semantics.assemble import Parts
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.terms import Term, walk
from maspo_dsl.semantics.types import Axis

_AXES = {Reach.SEQUENCE: Axis.SEQUENCE, Reach.GROUP: Axis.GROUP, Reach.BATCH: Axis.SCALAR}
"""The axis of what is gathered over each reach."""


@dataclass(frozen=True)
class Cause:
    """A part that couples tokens as widely as the whole objective does, and its calls that gather over them.

    Without a call it is the number of tokens that the part leaves: an `exclude`.
    """

    part: str
    calls: tuple[str, ...]


def causes(objective: ResolvedObjective, found: Coupling) -> list[Cause]:
    """What makes a coupling as wide as it is; nothing where each token is for itself."""
    if found.reach is Reach.TOKEN:
        return []
    parts = objective.parts
    bare = replace(parts, weights={}, mutes={}, excludes={}, penalties={}, bonuses={})
    if coupling(graph_of(bare)).reach is found.reach:
        slots = [("ratio", parts.ratio), ("reduce", parts.reduce)]
    else:
        slots = [
            (name, term)
            for name, term, with_it in _alone(parts, bare)
            if coupling(graph_of(with_it)).reach is found.reach
        ]
    found_causes = [Cause(name, tuple(_calls(term, found.reach))) for name, term in slots]
    return [cause for cause in found_causes if cause.calls or cause.part.startswith("exclude ")]


def _alone(parts: Parts, bare: Parts) -> Iterator[tuple[str, Term, Parts]]:
    """Each weight, rule, penalty and bonus, and the objective with it and none of the others."""
    for name, term in parts.weights.items():
        yield f"weight {name}", term, replace(bare, weights={name: term})
    for name, term in parts.mutes.items():
        yield f"mute {name}", term, replace(bare, mutes={name: term})
    for name, term in parts.excludes.items():
        yield f"exclude {name}", term, replace(bare, excludes={name: term})
    for name, term in parts.penalties.items():
        yield f"penalty {name}", term, replace(bare, penalties={name: term})
    for name, term in parts.bonuses.items():
        yield f"bonus {name}", term, replace(bare, bonuses={name: term})


def _calls(term: Term, reach: Reach) -> Iterator[str]:
    """The calls that gather over what the reach names and read the current policy, as they are written."""
    texts = {
        " ".join(inner.span.text.split()): None
        for inner in walk(term)
        if _gathers(inner, _AXES[reach]) and _reads_policy(inner)
    }
    yield from texts


def _gathers(term: Term, axis: Axis) -> bool:
    return any(isinstance(value, Scope) and value.axis is axis for _, value in term.attributes)


def _reads_policy(term: Term) -> bool:
    """Whether a value is made of the current policy, `loss` apart: what `reduce` gathers it does so in any case."""
    return any(
        inner.op == "input" and inner.live and inner.attribute("name") != "loss" for inner in walk(term)
    )
