"""Whether a token without advantage has a part in the loss: what a penalty on every token decides."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite
from maspo_dsl.graph.passes.constants import fold_constants
from maspo_dsl.graph.passes.neutral import remove_neutral

_ADVANTAGE = frozenset({"advantage", "advantage_rows"})


def skips_zero_advantage(graph: Graph, computed: frozenset[str]) -> bool:
    """Whether the policy at a token whose advantage is 0 changes neither the loss nor a gradient.

    Decided by what is left of the loss when every advantage is 0: with a KL penalty or an entropy bonus
    something is, and such a token counts. `computed` are tensors without gradient that come from heads, too.
    """
    without = remove_neutral(fold_constants(remove_neutral(fold_constants(rewrite(graph, _no_advantage)))))
    return not without.live_inputs(["loss"]) and not computed & set(without.inputs(["loss"]))


def _no_advantage(builder: GraphBuilder, node: Node) -> int | None:
    return builder.const(0.0) if node.op == "input" and node.attribute("name") in _ADVANTAGE else None
