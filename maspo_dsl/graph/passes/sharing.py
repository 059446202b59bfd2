"""Equal expressions computed once, unread ones not at all."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph, GraphBuilder, rewrite, with_args


def share_common(graph: Graph) -> Graph:
    """Compute equal expressions once."""
    return rewrite(graph, lambda b, node: None, share=True)


def remove_dead(graph: Graph) -> Graph:
    """Keep what the outputs depend on."""
    kept = graph.reachable(graph.outputs)
    moved = {old: new for new, old in enumerate(kept)}
    builder = GraphBuilder()
    for place in kept:
        node = graph.nodes[place]
        builder.add(with_args(node, tuple(moved[argument] for argument in node.args)))
    return builder.graph({name: moved[place] for name, place in graph.outputs.items()})
