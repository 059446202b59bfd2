"""Warnings about the policy term, from its gradient weight as a function of the ratio."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

from maspo_dsl.analysis.curves import Curves, ExampleToken, Side, short_number
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.trial import graph_of, ratio_prefixes, without_factors
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.quantities import Quantity
from maspo_dsl.semantics.terms import Term, walk
from maspo_dsl.semantics.types import Kind


def policy_findings(objective: ResolvedObjective, graph: Graph) -> Iterator[Finding]:
    """Every warning about the policy term, if there is one."""
    if not objective.parts.has_policy_term:
        return
    curves = Curves(graph, objective.own)
    yield from _turning(objective, curves)
    yield from _unbounded(objective, curves)
    yield from _on_policy(objective, curves)


def _turning(objective: ResolvedObjective, curves: Curves) -> Iterator[Finding]:
    turns = curves.turns()
    for above in (True, False):
        sides = {side: turn for side, turn in turns.items() if side.above is above}
        for ratio in dict.fromkeys(short_number(turn.ratio) for turn in sides.values()):
            same = {side: turn for side, turn in sides.items() if short_number(turn.ratio) == ratio}
            signs = " and ".join(side.advantage for side in same)
            turn = next(iter(same.values()))
            yield Finding(
                "turning-gradient",
                f"for {signs} the gradient turns at ratio {ratio}{turn.circumstances}: "
                f"{'above' if above else 'below'} it the update goes against the advantage",
                _search(objective, partial(_turns_on, same)),
                "a gate is usually detached: r * detach(gate)",
                frozenset(map(_name, same)),
            )


def _unbounded(objective: ResolvedObjective, curves: Curves) -> Iterator[Finding]:
    for side, example in curves.unbounded().items():
        moves = "rises" if side.above else "falls"
        cap = f"|> min(3) as cap when {side.advantage}" if side.above else "min(old / policy, 3), say"
        yield Finding(
            "unbounded-side",
            f"for {side.advantage} the gradient weight grows without bound as the ratio {moves}: "
            f"at ratio {short_number(example.ratio)} it is {short_number(example.weight)} A{example.circumstances}",
            _search(objective, partial(_unbounded_on, side)),
            f"bound what grows: {cap}",
            frozenset({_name(side)}),
        )


def _turns_on(sides: Collection[Side], parts: Parts) -> bool:
    turns = Curves(graph_of(parts)).turns()
    return all(side in turns for side in sides)


def _unbounded_on(side: Side, parts: Parts) -> bool:
    return side in Curves(graph_of(parts)).unbounded()


def _name(side: Side) -> str:
    return f"{side.advantage}, {'above' if side.above else 'below'} 1"


# ---- on policy


def _on_policy(objective: ResolvedObjective, curves: Curves) -> Iterator[Finding]:
    own = objective.own
    found = off_at_one(objective.parts, own, curves)
    if found is not None:
        yield Finding(
            "on-policy-weight",
            f"at ratio 1 the gradient weight of a token is {short_number(found.weight)} A{found.circumstances}, not A",
            _search(objective, lambda parts: off_at_one(parts, own) is not None),
        )


def off_at_one(
    parts: Parts, own: Mapping[str, Quantity], curves: Curves | None = None
) -> ExampleToken | None:
    """A token that is on policy in every respect and weighs anything but its advantage.

    A rule that compares no two policies mutes what its author wants muted, on policy too: it is not asked.
    """
    if not parts.has_policy_term:
        return None
    rules = parts.of(Role.REMOVES_POLICY_TERM, Role.REMOVES_TOKEN)
    others = [key for key, rule in rules.items() if len(_policies(rule)) < 2]
    if curves is None or others:
        curves = Curves(graph_of(parts.without(others)), own)
    return curves.off_at_one()


def _policies(term: Term) -> set[str]:
    inputs = (inner for inner in walk(term) if inner.op == "input")
    return {str(inner.attribute("name")) for inner in inputs if inner.kind is Kind.LOG_PROB}


# ---- what is at fault


def _search(objective: ResolvedObjective, given: Callable[[Parts], bool]) -> Callable[[], Span]:
    """The place of what makes a warning: a factor or rule without which it is not given, else a stage of the ratio.

    Where no stage makes it, it is the quotient at their head, which nothing stops.
    """

    def place() -> Span:
        for span, parts in without_factors(objective):
            if not given(parts):
                return span
        for span, shorter in ratio_prefixes(objective):
            if shorter is None or not given(shorter):
                return span
        value = objective.flat.slots["ratio"].value
        return value.head.span if isinstance(value, tree.Pipe) else value.span

    return place
