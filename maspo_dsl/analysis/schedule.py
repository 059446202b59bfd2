"""In how many passes over the head a loss can be computed from hidden states."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.analysis.coupling import Reach, coupling
from maspo_dsl.analysis.zero_advantage import skips_zero_advantage
from maspo_dsl.graph.nodes import Graph


@dataclass(frozen=True)
class Schedule:
    """How the passes over the head may cut the tokens of a loss into chunks.

    `reach` bounds whose policy the coefficient of a token depends on, `reach_given` if the denominators of the window
    are given. `skips_zero_advantage`: a
    token whose advantage is 0 has no part in the loss. `distributions` are the tensors of whole distributions that the
    loss has gradient to, such as `entropy`.
    """

    reach: Reach
    reach_given: Reach
    skips_zero_advantage: bool
    distributions: frozenset[str]


def schedule(graph: Graph, computed: frozenset[str] = frozenset()) -> Schedule:
    """The schedule of a graph's loss; `computed` are tensors without gradient that come from heads, too."""
    found, given = coupling(graph, computed), coupling(graph, computed, denominators=True)
    return Schedule(
        # The value of a statistic has no part in a gradient where it only scales, but it must be known.
        reach=Reach.BATCH if found.statistics else found.reach,
        reach_given=given.reach,
        skips_zero_advantage=skips_zero_advantage(graph, computed),
        distributions=frozenset(_with_gradient(graph) - {"logp", *graph.own_live}),
    )


def _with_gradient(graph: Graph) -> set[str]:
    """The inputs that the loss has gradient to; a condition on one, or a detached value, has none."""
    found: set[str] = set()
    reached = {graph.outputs["loss"]}
    for place in reversed(graph.reachable(["loss"])):
        node = graph.nodes[place]
        if place not in reached or not node.live:
            continue
        if node.op == "input":
            found.add(str(node.attribute("name")))
        reached.update(node.args)
    return found


def schedule_text(plan: Schedule) -> str:
    """The schedule in words, for `explain`."""
    text = _PASSES[plan.reach]
    if plan.reach_given < plan.reach:
        text += f"; {_PASSES[plan.reach_given]} where the window's denominators are given"
    if plan.skips_zero_advantage:
        text += "; tokens without advantage are skipped"
    return text


_ONE, _TWO = "one pass over the head", "two passes over the head, the second over tokens with a gradient"
_PASSES = {
    Reach.NONE: _ONE,
    Reach.TOKEN: _ONE,
    Reach.SEQUENCE: "one pass over the head, whole completions together",
    Reach.GROUP: _TWO,
    Reach.BATCH: _TWO,
}
