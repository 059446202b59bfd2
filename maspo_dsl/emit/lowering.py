"""The graph in the order in which it costs least: a step before it is written, for no reader of the graph."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite


def weights_first(graph: Graph) -> Graph:
    """Products with factors without gradient first: (a * x) * w is (a * w) * x, where x alone has one.

    Advantages and denominators are numbers of a sequence or of all, as a rule: a product of them is one number for
    many tokens, which a product with a token's ratio is not.
    """
    return rewrite(graph, _rule)


def _rule(b: GraphBuilder, node: Node) -> int | None:
    if node.op != "mul" or not node.live:
        return None
    live, weight = node.args if b.nodes[node.args[0]].live else node.args[::-1]
    return None if b.nodes[weight].live else _weighted(b, live, weight)


def _weighted(b: GraphBuilder, place: int, weight: int) -> int | None:
    node = b.nodes[place]
    if node.op == "neg":
        inside = _weighted(b, node.args[0], weight)
        return None if inside is None else b.op("neg", inside)
    if node.op != "mul" or b.nodes[node.args[0]].live is b.nodes[node.args[1]].live:
        return None
    live, factor = node.args if b.nodes[node.args[0]].live else node.args[::-1]
    return b.op("mul", b.op("mul", factor, weight), live)
