"""In how many passes over the head a loss can be computed from hidden states."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.analysis.coupling import Reach, coupling
from maspo_dsl.analysis.zero_advantage import skips_zero_advantage
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.quantities import LIVE_TENSORS


@dataclass(frozen=True)
class Schedule:
    """How the passes over the head may cut the tokens of a loss into chunks.

    `reach` bounds whose policy the coefficient of a token depends on, `reach_given` if the denominators of the window
    are given. `skips_zero_advantage`: a
    token whose advantage is 0 has no part in the loss. `entropy`: the loss has gradient to it.
    """

    reach: Reach
    reach_given: Reach
    skips_zero_advantage: bool
    entropy: bool


def schedule(graph: Graph, *, on_policy: bool = False) -> Schedule:
    """The schedule of a graph's loss; `on_policy` if the old policy is the present one, and known no earlier."""
    live = (*LIVE_TENSORS, "logp_old") if on_policy else LIVE_TENSORS
    found, given = coupling(graph, live=live), coupling(graph, denominators=True, live=live)
    return Schedule(
        # The value of a statistic has no part in a gradient where it only scales, but it must be known.
        reach=Reach.BATCH if found.statistics else found.reach,
        reach_given=given.reach,
        skips_zero_advantage=skips_zero_advantage(graph, live),
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
