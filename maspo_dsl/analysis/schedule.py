"""In which visits to its tokens a loss can be computed from hidden states."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.analysis.coupling import Reach, coupling
from maspo_dsl.analysis.silence import silent_without_advantage
from maspo_dsl.graph.nodes import Graph


@dataclass(frozen=True)
class Schedule:
    """What a loss says of how its tokens may be visited.

    `reach` bounds whose policy the coefficient of a token depends on, `reach_given` if the denominators of the window
    are given. `silent`: a token without advantage has no part in the loss. `entropy`: the loss has gradient to it.
    """

    reach: Reach
    reach_given: Reach
    silent: bool
    entropy: bool


def schedule(graph: Graph) -> Schedule:
    """The schedule of a graph's loss."""
    found, given = coupling(graph), coupling(graph, denominators=True)
    return Schedule(
        # The value of a statistic has no part in a gradient where it only scales, but it must be known.
        reach=Reach.BATCH if found.statistics else found.reach,
        reach_given=given.reach,
        silent=silent_without_advantage(graph),
        entropy=_has_gradient(graph, "entropy"),
    )


def _has_gradient(graph: Graph, name: str) -> bool:
    """Whether the loss has gradient to an input; a condition on it, or a detached value, has none."""
    reached = {graph.outputs["loss"]}
    for place in reversed(graph.reachable(["loss"])):
        node = graph.nodes[place]
        if place not in reached or not node.live:
            continue
        if node.op == "input" and node.attribute("name") == name:
            return True
        reached.update(node.args)
    return False


def visits(plan: Schedule) -> str:
    """The schedule in words, for `explain`."""
    text = _VISITS[plan.reach]
    if plan.reach_given < plan.reach:
        text += f"; {_VISITS[plan.reach_given]} where the window's denominators are given"
    if plan.silent:
        text += "; tokens without advantage are not visited"
    return text


_ONE, _TWO = "one visit to each token", "two visits to each token, the second to those with a gradient"
_VISITS = {
    Reach.NONE: _ONE,
    Reach.TOKEN: _ONE,
    Reach.SEQUENCE: "one visit to each completion",
    Reach.GROUP: _TWO,
    Reach.BATCH: _TWO,
}
