"""Quotients and powers of probabilities, in logs."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite
from maspo_dsl.semantics.types import Axis


def rewrite_logs(graph: Graph) -> Graph:
    """Work in logs: log(exp x) is x; exp(x) ^ k is exp(k x); y / exp(x) is y exp(-x).

    So `sigma / old ^ alpha` becomes `sigma * exp(-alpha * logp_old)`, which no small probability can overflow
    half-way.
    """
    return rewrite(graph, _log_rule)


def _log_rule(b: GraphBuilder, node: Node) -> int | None:
    arguments = [b.nodes[argument] for argument in node.args]
    match node.op:
        case "log" if arguments[0].op == "exp":
            return arguments[0].args[0]
        case "pow" if (
            arguments[0].op == "exp"
            and arguments[1].axis is Axis.SCALAR
            and arguments[1].op in ("const", "param", "candidate")
        ):
            return b.op("exp", b.op("mul", node.args[1], arguments[0].args[0]))
        case "div" if arguments[1].op == "exp" and not arguments[1].live and arguments[0].op != "exp":
            inverse = b.op("exp", b.op("neg", arguments[1].args[0]))
            return b.op("mul", node.args[0], inverse)
    return None
