"""What changes nothing."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite


def remove_neutral(graph: Graph) -> Graph:
    """Remove what changes nothing: x + 0, x * 1, x ^ 1, x / 1, 0 * x and 0 / x (a term of weight 0 is no term).

    Also `detach` of what has no gradient.
    """
    return rewrite(graph, _neutral_rule)


def _neutral_rule(b: GraphBuilder, node: Node) -> int | None:
    if node.op == "detach" and not b.nodes[node.args[0]].live:
        return node.args[0]
    if node.op == "select":
        condition, then, otherwise = node.args
        return then if then == otherwise and b.nodes[then].axis >= b.nodes[condition].axis else None
    if len(node.args) != 2 or node.op not in ("add", "sub", "mul", "div", "pow"):
        return None
    left, right = node.args
    a, c = _number(b.nodes[left]), _number(b.nodes[right])
    match node.op:
        case "add" if a == 0:
            return right
        case "add" | "sub" if c == 0:
            return left
        case "sub" if a == 0:
            return b.op("neg", right)
        case "mul" if 0 in (a, c):
            return b.const(0.0)
        case "mul" if a == 1:
            return right
        case "mul" | "div" | "pow" if c == 1:
            return left
        case "div" if a == 0:
            return b.const(0.0)
        case "pow" if c == 0:
            return b.const(1.0)
    return None


def _number(node: Node) -> float | None:
    return node.value if node.op == "const" and not node.is_bool else None
