"""An objective with a part taken out or cut short: what a warning is tried on, to find what it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from maspo_dsl.graph.build import build
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.graph.passes.selects import guard_hazards
from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.assemble import assemble
from maspo_dsl.semantics.binding import bind
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.edits import Target, remove
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.shipped import library_definitions
from maspo_dsl.semantics.terms import Term


def graph_of(parts: Parts) -> Graph:
    """A graph of some parts to be evaluated a few times, which takes less to make than the simplified one.

    Every parameter is there, those of value 0 or 1 too.
    """
    return guard_hazards(build(parts))


def graph_of_values(parts: Parts, values: Mapping[str, Term]) -> Graph:
    """A graph that has some values as its outputs `term:NAME`, as it has what is added to the loss."""
    added = parts.of(Role.ADDED, Role.SUBTRACTED)
    return build(parts.without(added).replaced({("penalty", name): term for name, term in values.items()}))


def copied(objective: ResolvedObjective) -> Flat:
    """The flat spec, free to be changed."""
    return objective.flat.as_base(objective.flat.header)


def assembled(objective: ResolvedObjective, flat: Flat) -> Parts | None:
    """The parts of a changed flat spec, with the values that the objective has; None if it is none any more."""
    parts, _ = assemble(flat, objective.parameters, library_definitions(), DiagnosticCollector())
    return parts


def rebound(objective: ResolvedObjective, name: str, value: float) -> Parts | None:
    """The parts with another value of a parameter; None where the value is not allowed."""
    report = DiagnosticCollector()
    settings = objective.settings
    bound = bind(objective.flat, {**settings.params, name: value}, settings.run, report)
    if report.failed:
        return None
    return assemble(objective.flat, bound, library_definitions(), report)[0]


def dropped(objective: ResolvedObjective, *targets: Target) -> Parts | None:
    """The parts after a `drop` of some targets; None where that is not an objective any more."""
    flat = copied(objective)
    # The places of the stages before a stage stay what they are.
    for target in sorted(targets, key=lambda target: -target.index):
        remove(flat, target)
    return assembled(objective, flat)


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
        parts = None if found is None else objective.parts.replaced({("ratio", ""): found["ratio"]})
        yield pipe.stages[count].span, parts


def without_factors(objective: ResolvedObjective) -> Iterator[tuple[Span, Parts]]:
    """The objective without one of its weights or rules, each with the span of what is taken out."""
    for key in objective.parts.of(Role.FACTOR, Role.REMOVES_POLICY_TERM, Role.REMOVES_TOKEN):
        yield objective.flat.parts[key].span, objective.parts.without([key])
