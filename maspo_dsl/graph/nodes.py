"""The graph: a DAG of single assignments, from the batch to the loss and everything else an objective gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from maspo_dsl.semantics.operations import OPERATIONS
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.terms import Attribute
from maspo_dsl.semantics.types import Axis

MEMORY = "memory:"
"""How an output that is the next value of a memory begins; its name follows."""

Attributes: TypeAlias = tuple[tuple[str, Attribute], ...]


@dataclass(frozen=True)
class Node:
    """One operation; `args` are places in the graph. `name` is for readers and takes no part in equality.

    Operations: `input const param`; those of `semantics/operations.py`, and `bound` between two numbers; `expand`
    (sequence to token); those of `semantics/reductions.py`, which have a scope, and whose second argument is the mask
    of what takes part, or the only one. `least` is the first of its candidates (`low`, `step`, `count`) for which the
    condition, its argument, holds, infinity where none is; what the condition depends on reads the `candidate` of the
    same `level`.
    """

    op: str
    args: tuple[int, ...]
    axis: Axis
    is_bool: bool = False
    live: bool = False
    attributes: Attributes = ()
    name: str = field(default="", compare=False)

    def attribute(self, name: str) -> Attribute:
        """An attribute by name."""
        return dict(self.attributes)[name]

    @property
    def value(self) -> float:
        """The number of a `const` or a `param`."""
        return self.number("value")

    def number(self, name: str) -> float:
        """An attribute that is a number."""
        value = self.attribute(name)
        assert isinstance(value, (int, float))
        return float(value)

    @property
    def level(self) -> int:
        """How many `least` are around the condition that a `candidate` or a `least` is of."""
        return int(self.number("level"))

    @property
    def scope(self) -> Scope | None:
        """The scope of a reduction."""
        for key, value in self.attributes:
            if key == "scope":
                return value if isinstance(value, Scope) else None
        return None

    @property
    def within(self) -> Scope:
        """The scope of what is known to have one."""
        assert self.scope is not None
        return self.scope


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which arguments come first, and the outputs by name.

    Outputs: `loss`, `token_loss`, `trained`, `policy_term` and `policy_loss` (if there is one), `muted` (if there is a
    `mute`), `advantage`, `shaped_reward`, `keep`, `step`, `prompt`, `term:NAME` for each part of the loss,
    `memory:NAME` for each memory, `window:KEY` for each statistic.
    """

    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]

    @property
    def memories(self) -> dict[str, str]:
        """The output with the next value of each memory."""
        return {name.removeprefix(MEMORY): name for name in self.outputs if name.startswith(MEMORY)}

    def reachable(self, outputs: Iterable[str]) -> tuple[int, ...]:
        """Places that some outputs depend on, in order."""
        names = tuple(outputs)
        if names not in self._reachable:
            wanted = {self.outputs[name] for name in names}
            for place in range(len(self.nodes) - 1, -1, -1):
                if place in wanted:
                    wanted.update(self.nodes[place].args)
            self._reachable[names] = tuple(sorted(wanted))
        return self._reachable[names]

    @cached_property
    def _reachable(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """What was asked before: the oracle asks for every batch."""
        return {}

    @cached_property
    def gathered(self) -> tuple[int, ...]:
        """Places of the reductions that are made over all micro-batches and ranks of a window."""
        return tuple(place for place, node in self if node.scope is not None and node.scope.gathered)

    def inputs(self, outputs: Iterable[str]) -> list[str]:
        """Names of the tensors that some outputs read, sorted; reductions read those that tell their cells apart."""
        nodes = [self.nodes[place] for place in self.reachable(outputs)]
        found = {str(node.attribute("name")) for node in nodes if node.op == "input"}
        found.update(tensor for node in nodes if node.scope is not None for tensor in node.scope.tensors)
        return sorted(found)

    def live_inputs(self, outputs: Iterable[str]) -> set[str]:
        """Names of the tensors with gradient that some outputs read."""
        nodes = (self.nodes[place] for place in self.reachable(outputs))
        return {str(node.attribute("name")) for node in nodes if node.op == "input" and node.live}

    @cached_property
    def reads_reward(self) -> bool:
        """Whether anything depends on the task's reward: a row without one is not trained then."""
        return not {"reward", "correct"}.isdisjoint(self.inputs(self.outputs))

    @cached_property
    def own_live(self) -> tuple[str, ...]:
        """Names of the spec's own inputs that carry gradient, sorted."""
        nodes = [node for node in self.nodes if node.live and ("declared", True) in node.attributes]
        return tuple(sorted({str(node.attribute("name")) for node in nodes}))

    @cached_property
    def candidates(self) -> tuple[frozenset[int], ...]:
        """For each place the levels of the candidates that its value depends on: it has one for each of them."""
        if all(node.op != "candidate" for node in self.nodes):
            return (frozenset(),) * len(self.nodes)
        found: list[frozenset[int]] = []
        for node in self.nodes:
            levels = frozenset[int]().union(*(found[argument] for argument in node.args))
            if node.op == "candidate":
                levels = frozenset({node.level})
            elif node.op == "least":
                levels -= {node.level}
            found.append(levels)
        return tuple(found)

    @cached_property
    def bodies(self) -> Mapping[int, tuple[int, ...]]:
        """For each `least` the places, in order, that are to be computed once for each of its candidates.

        What is inside another `least` there is of that one's body.
        """
        return {place: self._body(node) for place, node in self if node.op == "least"}

    def _body(self, node: Node) -> tuple[int, ...]:
        bound = self.candidates[node.args[0]]
        found: set[int] = set()
        stack = list(node.args)
        while stack:
            place = stack.pop()
            if node.level in self.candidates[place] and place not in found:
                found.add(place)
                stack.extend(self.nodes[place].args)
        return tuple(sorted(place for place in found if self.candidates[place] <= bound))

    def __iter__(self) -> Iterator[tuple[int, Node]]:
        return enumerate(self.nodes)


class GraphBuilder:
    """Appends nodes; with `share`, an equal node is not appended twice."""

    def __init__(self, *, share: bool = False) -> None:
        self.nodes: list[Node] = []
        self._places: dict[Node, int] | None = {} if share else None

    def add(self, node: Node) -> int:
        """The place of a node."""
        if self._places is None:
            self.nodes.append(node)
            return len(self.nodes) - 1
        if node in self._places:
            place = self._places[node]
            if node.name and not self.nodes[place].name:
                self.nodes[place] = replace(self.nodes[place], name=node.name)
            return place
        self.nodes.append(node)
        self._places[node] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def const(self, value: float) -> int:
        """A number."""
        return self.add(Node("const", (), Axis.SCALAR, attributes=(("value", value),)))

    def truth(self, value: bool) -> int:
        """A condition that is always true, or never."""
        return self.add(Node("const", (), Axis.SCALAR, is_bool=True, attributes=(("value", value),)))

    def op(self, op: str, *args: int, attributes: Attributes = (), name: str = "") -> int:
        """An elementwise operation; its axis is the finest of its arguments'."""
        nodes = [self.nodes[argument] for argument in args]
        row = OPERATIONS.get(op)
        is_bool = (row is not None and row.condition) or (op == "select" and nodes[1].is_bool)
        live = op != "detach" and not is_bool and any(node.live for node in nodes)
        axis = max((node.axis for node in nodes), default=Axis.SCALAR)
        return self.add(Node(op, args, axis, is_bool, live, attributes, name))

    def graph(self, outputs: Mapping[str, int]) -> Graph:
        """The graph so far."""
        return Graph(tuple(self.nodes), dict(outputs))


# A rule sees a node whose arguments are already places of the new graph, and returns its place there, or None
# to have it copied.
Rule: TypeAlias = Callable[[GraphBuilder, Node], int | None]


def rewrite(graph: Graph, rule: Rule, *, share: bool = False) -> Graph:
    """The graph with a rule applied to every node, arguments first.

    Where a rule makes one number of what was one a sequence, there is nothing to expand any more.
    """
    builder = GraphBuilder(share=share)
    places: list[int] = []
    for node in graph.nodes:
        moved = with_args(node, tuple(places[argument] for argument in node.args))
        place = rule(builder, moved)
        if place is None and moved.op == "expand" and builder.nodes[moved.args[0]].axis is Axis.SCALAR:
            place = moved.args[0]
        elif place is None:
            place = builder.add(retyped(builder, moved))
        elif (
            node.name
            and not builder.nodes[place].name
            and builder.nodes[place].op not in ("input", "param", "const")
        ):
            builder.nodes[place] = replace(builder.nodes[place], name=node.name)
        places.append(place)
    return builder.graph({name: places[place] for name, place in graph.outputs.items()})


def with_args(node: Node, args: tuple[int, ...]) -> Node:
    """The node on other arguments; passes make a great many, and `dataclasses.replace` takes four times as long."""
    if args == node.args:
        return node
    return Node(node.op, args, node.axis, node.is_bool, node.live, node.attributes, node.name)


def retyped(builder: GraphBuilder, node: Node) -> Node:
    """A node whose gradient flag and axis follow from its arguments: a rule may have made one of them a constant."""
    if not node.args:
        return node
    # A loop, since a great many nodes come through here: `any` and `max` of generators take twice as long.
    live, axis = False, Axis.SCALAR
    for place in node.args:
        argument = builder.nodes[place]
        live = live or argument.live
        axis = max(axis, argument.axis)
    live = live and node.live
    if axis is not node.axis and (node.scope is not None or node.op == "expand"):
        axis = node.axis
    return node if (live, axis) == (node.live, node.axis) else replace(node, live=live, axis=axis)
