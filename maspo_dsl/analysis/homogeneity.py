"""By which power of a positive factor a loss is multiplied when a quantity is: of a count, of the advantage.

A host that divides what it is given by a count of its own, or scales advantages beforehand, computes the objective only
if the loss is a plain multiple: of 1 / tokens, say. That is read off the graph.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.semantics.operations import OPERATIONS

_ANY: Final = float("inf")
"""The degree of 0, which is multiplied by any power."""

_KEEP = frozenset({"neg", "detach", "abs", "expand", "sum", "reduce_max", "reduce_min", "next", "previous"})
"""Of their first argument, whatever the others, which have degree 0, are."""


def divisors(graph: Graph) -> frozenset[str]:
    """The counts, of `tokens` and `sequences`, that all multiplied by a number divide a loss by it; else none.

    Of one, the loss is a plain sum over that count. Nothing else in it depends on the whole step.
    """
    statistics = window_statistics(graph)
    read = set(graph.reachable(["loss"]))
    places = {key: place for key, place in statistics.items() if place in read}
    if not places.keys() <= {"tokens", "sequences"} or degree(graph, "loss", places.values()) != -1:
        return frozenset()
    return frozenset(places)


def scales_with_advantage(graph: Graph) -> bool:
    """Whether advantages times a positive number give that many times the loss: only their signs matter otherwise."""
    named = ("advantage", "advantage_rows")
    places = {place for place, node in graph if node.op == "input" and node.attribute("name") in named}
    return degree(graph, "loss", places) == 1


def degree(graph: Graph, output: str, scaled: Collection[int]) -> float | None:
    """The power of an output where the values at some places are multiplied by one factor; None if it is no power."""
    found: dict[int, float | None] = {}
    for place in graph.reachable([output]):
        node = graph.nodes[place]
        found[place] = 1 if place in scaled else _of(graph, node, found, scaled)
    return found[graph.outputs[output]]


def _of(graph: Graph, node: Node, found: dict[int, float | None], scaled: Collection[int]) -> float | None:
    if node.op == "const" and not node.is_bool and node.value == 0:
        return _ANY
    if _is_count_or_one(graph, node, scaled):
        return 1
    degrees = [found[argument] for argument in node.args]
    known = [each for each in degrees if each is not None]
    if len(known) < len(degrees):
        return None
    rest_is_fixed = all(each in (0, _ANY) for each in known[1:])
    if node.op in _KEEP:
        return known[0] if rest_is_fixed else None
    match node.op:
        case "mul":
            return sum(known)
        case "div":
            return None if known[1] == _ANY else known[0] - known[1]
        case "add" | "sub" | "min" | "max":
            return _common(known)
        case "select":
            return _common(known[1:]) if known[0] in (0, _ANY) else None
    if node.op in OPERATIONS and OPERATIONS[node.op].condition and len(known) == 2:
        return None if _common(known) is None else 0
    return 0 if all(each in (0, _ANY) for each in known) else None


def _is_count_or_one(graph: Graph, node: Node, scaled: Collection[int]) -> bool:
    """Whether it is a count that is at least 1 where anything is trained, written so that nothing divides by 0."""
    if node.op != "max" or not any(place in scaled for place in node.args):
        return False
    others = [graph.nodes[place] for place in node.args if place not in scaled]
    counts = all(graph.nodes[place].op == "count" for place in node.args if place in scaled)
    return counts and all(other.op == "const" and other.value <= 1 for other in others)


def _common(degrees: list[float]) -> float | None:
    """The one degree of several, those of 0 aside."""
    fixed = {each for each in degrees if each != _ANY}
    return fixed.pop() if len(fixed) == 1 else None if fixed else _ANY
