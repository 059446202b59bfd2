"""What must stand beside a token in a batch for its numbers to be those of the whole optimizer step."""

from __future__ import annotations

from enum import IntEnum

from maspo_dsl.analysis.coupling import Reach, reach_of
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.graph.statistics import window_statistics


class Surroundings(IntEnum):
    """How much: the token's completion, its group, its micro-batch, or its window."""

    COMPLETION = 0
    GROUP = 1
    MICRO_BATCH = 2
    WINDOW = 3


def surroundings(graph: Graph) -> Surroundings:
    """The least that is enough where advantages and the window's counts are known. An upper bound.

    Sums of the loss over tokens do not count: what else is added does not change what a token gets.
    """
    gathered = set(window_statistics(graph).values())
    if any(graph.nodes[place].op != "count" for place in gathered):
        return Surroundings.WINDOW
    terms = [name for name in graph.outputs if name in ("policy_term", "muted") or name.startswith("term:")]
    of_tokens = set(graph.reachable(terms))
    widest = Surroundings.COMPLETION
    for place in graph.reachable(["loss"]):
        node = graph.nodes[place]
        added = node.op == "sum" and place not in of_tokens
        if node.scope is None or place in gathered or (added and reach_of(node.scope.keys) is Reach.BATCH):
            continue
        widest = max(widest, _OF[reach_of(node.scope.keys)])
    return widest


_OF = {
    Reach.SEQUENCE: Surroundings.COMPLETION,
    Reach.GROUP: Surroundings.GROUP,
    Reach.BATCH: Surroundings.MICRO_BATCH,
}
