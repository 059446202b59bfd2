"""An objective with a part taken out or cut short: what a warning is tried on, to find what it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from maspo_dsl.graph.build import build
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.graph.passes.selects import guard_hazards
from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.assemble import Parts, assemble
from maspo_dsl.semantics.binding import bind
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.layering import Layer
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.shipped import library_definitions
from maspo_dsl.semantics.terms import Term

GROUPS = {
    "reward": "rewards",
    "keep": "keeps",
    "weight": "weights",
    "mute": "mutes",
    "exclude": "excludes",
    "penalty": "penalties",
    "bonus": "bonuses",
}
"""Where the parts of a word are."""


def graph_of(parts: Parts) -> Graph:
    """A graph of some parts to be evaluated a few times, which takes less to make than the simplified one.

    Every parameter is there, those of value 0 or 1 too.
    """
    return guard_hazards(build(parts))


def copied(objective: ResolvedObjective) -> Flat:
    """The flat spec, free to be changed."""
    return objective.flat.as_base(objective.flat.header)


def assembled(objective: ResolvedObjective, flat: Flat) -> Parts | None:
    """The parts of a changed flat spec, with the values that the objective has; None if it is none any more."""
    parts, _ = assemble(flat, objective.parameters, library_definitions(), Report())
    return parts


def rebound(objective: ResolvedObjective, name: str, value: float) -> Parts | None:
    """The parts with another value of a parameter; None where the value is not allowed."""
    report = Report()
    settings = objective.settings
    bound = bind(objective.flat, {**settings.params, name: value}, settings.run, report)
    if report.failed:
        return None
    return assemble(objective.flat, bound, library_definitions(), report)[0]


def dropped(objective: ResolvedObjective, name: str) -> Parts | None:
    """The parts after `drop NAME`; None where that is not an objective any more."""
    report = Report()
    target = tree.Name(tuple(name.split(".")), objective.flat.header.span)
    flat = Layer(copied(objective), library_definitions(), report).apply((tree.Drop((target,), target.span),))
    return None if report.failed else assembled(objective, flat)


def ratio_prefixes(objective: ResolvedObjective) -> Iterator[tuple[Span, Parts | None]]:
    """The ratio without its last stage, its last two, and so on, each with the span of the stage taken away last."""
    slot = objective.flat.slots["ratio"]
    if not isinstance(slot.value, tree.Pipe):
        return
    pipe = slot.value
    for count in reversed(range(len(pipe.stages))):
        shorter = replace(pipe, stages=pipe.stages[:count]) if count else pipe.head
        flat = copied(objective)
        flat.slots["ratio"] = replace(slot, value=shorter)
        found = assembled(objective, flat)
        # Only the ratio is cut: what else names it keeps the whole.
        parts = None if found is None else replace(objective.parts, ratio=found.ratio)
        yield pipe.stages[count].span, parts


def without_factors(objective: ResolvedObjective) -> Iterator[tuple[Span, Parts]]:
    """The objective without one of its weights or rules, each with the span of what is taken out."""
    parts, flat = objective.parts, objective.flat
    for name in parts.weights:
        yield flat.parts["weight", name].span, replace(parts, weights=_less(parts.weights, name))
    for name in parts.mutes:
        yield flat.parts["mute", name].span, replace(parts, mutes=_less(parts.mutes, name))
    for name in parts.excludes:
        yield flat.parts["exclude", name].span, replace(parts, excludes=_less(parts.excludes, name))


def _less(group: Mapping[str, Term], name: str) -> dict[str, Term]:
    return {other: term for other, term in group.items() if other != name}


def terms_of(parts: Parts) -> list[Term]:
    """Every part as a term."""
    slots = (parts.advantage, parts.ratio, parts.reduce, parts.prompt, parts.step)
    groups = (getattr(parts, name) for name in GROUPS.values())
    return [
        *(slot for slot in slots if slot is not None),
        *(term for group in groups for term in group.values()),
    ]
