"""Choices: merged, and kept from spoiling gradients."""

from __future__ import annotations

from dataclasses import replace

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite
from maspo_dsl.semantics.operations import OPERATIONS


def merge_selects(graph: Graph) -> Graph:
    """A choice inside a branch of the same choice is already made."""

    def rule(b: GraphBuilder, node: Node) -> int | None:
        if node.op != "select":
            return None
        condition, then, otherwise = node.args
        inner, other = b.nodes[then], b.nodes[otherwise]
        if inner.op == "select" and inner.args[0] == condition:
            return b.op("select", condition, inner.args[1], otherwise)
        if other.op == "select" and other.args[0] == condition:
            return b.op("select", condition, then, other.args[2])
        return None

    return rewrite(graph, rule)


def guard_hazards(graph: Graph) -> Graph:
    """Keep the branch that was not chosen from spoiling the gradient.

    Where a live branch of a `select` divides, or takes a logarithm, root or power, the operand is replaced by 1 on
    the elements that chose the other branch: 0 * inf in the backward pass would be NaN.
    """

    hazards: dict[int, bool] = {}

    def rule(b: GraphBuilder, node: Node) -> int | None:
        if node.op != "select" or node.is_bool or not node.live:
            return None
        condition, then, otherwise = node.args
        branches = [(then, condition), (otherwise, -1)]
        if not any(_hazardous(b, branch, hazards) for branch, _ in branches):
            return None
        if _hazardous(b, otherwise, hazards):
            branches[1] = (otherwise, b.op("not", condition))
        then, otherwise = (_Guard(b, chosen, hazards).place(branch) for branch, chosen in branches)
        return b.op("select", condition, then, otherwise)

    return rewrite(graph, rule, share=True)


def _hazardous(b: GraphBuilder, place: int, memo: dict[int, bool]) -> bool:
    if place not in memo:
        node = b.nodes[place]
        inside = node.live and node.scope is None
        memo[place] = inside and (
            _hazard(b, node) is not None or any(_hazardous(b, a, memo) for a in node.args)
        )
    return memo[place]


def _hazard(b: GraphBuilder, node: Node) -> int | None:
    """The argument whose value of 0 makes derivatives of a node infinite; none if that cannot be 0."""
    row = OPERATIONS.get(node.op)
    if row is None or row.hazard is None:
        return None
    return None if _is_above_zero(b, node.args[row.hazard]) else row.hazard


def _is_above_zero(b: GraphBuilder, place: int) -> bool:
    """Whether a value is at least some number above 0, as counts are that something is divided by."""
    node = b.nodes[place]
    least = [b.nodes[argument] for argument in node.args if b.nodes[argument].op == "const"]
    return node.op == "max" and any(one.value > 0 for one in least)


class _Guard:
    """Copies a branch with the operands of its hazards made 1 where the branch was not chosen."""

    def __init__(self, b: GraphBuilder, chosen: int, hazards: dict[int, bool]) -> None:
        self.b = b
        self.chosen = chosen
        self.hazards = hazards
        self.memo: dict[int, int] = {}

    def place(self, place: int) -> int:
        if place in self.memo or not _hazardous(self.b, place, self.hazards):
            return self.memo.get(place, place)
        node = self.b.nodes[place]
        args = [self.place(argument) for argument in node.args]
        position = _hazard(self.b, node)
        together = node.axis is self.b.nodes[self.chosen].axis
        if position is not None and together and not self._guarded(args[position]):
            args[position] = self.b.op("select", self.chosen, args[position], self.b.const(1.0))
        self.memo[place] = self.b.add(replace(node, args=tuple(args)))
        return self.memo[place]

    def _guarded(self, place: int) -> bool:
        """Whether an operand is 1 already where the branch was not chosen; guards of nested choices stand around it."""
        one = self.b.const(1.0)
        while (node := self.b.nodes[place]).op == "select" and node.args[2] == one:
            if node.args[0] == self.chosen:
                return True
            place = node.args[1]
        return False
