"""Numbers known before anything runs."""

from __future__ import annotations

import math

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite
from maspo_dsl.semantics.operations import OPERATIONS


def fold_constants(graph: Graph) -> Graph:
    """Compute what is made of numbers alone, and choose where the condition is known.

    Parameters stay, so that they can be changed without compiling again.
    """

    def rule(b: GraphBuilder, node: Node) -> int | None:
        arguments = [b.nodes[argument] for argument in node.args]
        if node.op in ("and", "or", "not", "select"):
            return _known_condition(b, node, [_truth(argument) for argument in arguments])
        if node.op == "least" and (holds := _truth(arguments[0])) is not None:
            return b.const(float(str(node.attribute("low"))) if holds else math.inf)
        if not arguments or any(argument.op != "const" for argument in arguments):
            return None
        if node.op == "bound":
            low, high = (float(str(node.attribute(side))) for side in ("low", "high"))
            return b.const(min(max(arguments[0].value, low), high))
        operation = OPERATIONS.get(node.op)
        if operation is None or not operation.folds:
            return None
        value = operation.number(*(argument.value for argument in arguments))
        return b.truth(bool(value)) if operation.condition else b.const(value)

    return rewrite(graph, rule)


def _truth(node: Node) -> bool | None:
    return bool(node.value) if node.op == "const" and node.is_bool else None


def _known_condition(b: GraphBuilder, node: Node, known: list[bool | None]) -> int | None:
    """What is left of a connective or a choice of which a condition is known; what it is made of stays a tensor."""
    if node.op == "select":
        return None if known[0] is None else node.args[1 if known[0] else 2]
    if node.op == "not":
        return None if known[0] is None else b.truth(not known[0])
    neutral = node.op == "and"
    for place, truth in zip(node.args[::-1], known, strict=True):
        if truth is neutral:
            return place
    return node.args[0] if None not in known else None


def bind_neutral(graph: Graph) -> Graph:
    """Make parameters whose value is 0 or 1 numbers: they may remove a term, so they cannot change afterwards."""

    def rule(b: GraphBuilder, node: Node) -> int | None:
        return b.const(node.value) if node.op == "param" and node.value in (0.0, 1.0) else None

    return rewrite(graph, rule)
