"""How far the gradient of one token reaches: whose current policy its coefficient depends on.

Every policy term obeys dL/dlogp = -c, where c is a number. What c of a token is made of decides in how many passes a
loss can be computed: if it is that token's own log-prob alone, one pass over the head is enough; if the completion's
(a geometric mean of ratios), one pass with whole completions together; if it is the
batch's (a quantile of entropies), two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.types import Axis


class Reach(IntEnum):
    """Whose current policy a value of one token depends on: nobody's, its own, its completion's, its group's, all."""

    NONE = 0
    TOKEN = 1
    SEQUENCE = 2
    GROUP = 3
    BATCH = 4

    @property
    def word(self) -> str:
        """The reach as `explain` says it."""
        return self.name.lower()


@dataclass(frozen=True)
class Coupling:
    """What the gradient of one token depends on.

    `reach` bounds from above whose log-prob and entropy under the current policy it reads; it is at least TOKEN.
    `statistics` are those of the window that depend on the current policy, by the key the runtime knows them under:
    they have to be computed again after every update, which the others need not.
    """

    reach: Reach
    statistics: tuple[str, ...]


def coupling(graph: Graph, computed: frozenset[str] = frozenset(), *, denominators: bool = False) -> Coupling:
    """The coupling of a graph's `loss`. An upper bound for every batch.

    `computed` are tensors without gradient that are known when the policy is, token by token. With `denominators` the
    statistics of the window are given, numbers that no token of this batch moves.
    """
    given = frozenset(window_statistics(graph).values()) if denominators else frozenset[int]()
    values = _values(graph, Reach.NONE, given, computed)
    # An advantage that the batch does not bring is computed from it, and may read the policy, without gradient.
    estimated = values[graph.outputs["advantage"]]
    if estimated > Reach.NONE:
        advantage = max(estimated, _ON_AXIS[graph.nodes[graph.outputs["advantage"]].axis])
        values = _values(graph, advantage, given, computed)
    needed = set(graph.reachable(["loss"]))
    statistics = [(key, place) for key, place in window_statistics(graph).items() if place in needed]
    dependent = tuple(key for key, place in statistics if values[place] > Reach.NONE)
    return Coupling(max(Reach.TOKEN, _gradients(graph, values)), dependent)


# ---- values

_ON_AXIS = {
    Axis.TOKEN: Reach.TOKEN,
    Axis.SEQUENCE: Reach.SEQUENCE,
    Axis.GROUP: Reach.GROUP,
    Axis.SCALAR: Reach.BATCH,
}


def reach_of(keys: tuple[str, ...]) -> Reach:
    """How far apart values are that agree in some keys of a scope."""
    if "sequence" in keys:
        return Reach.SEQUENCE
    return Reach.GROUP if "group" in keys else Reach.BATCH


def _carried(node: Node) -> Reach:
    """How far apart the tokens are that all carry a reduction's value, if they do."""
    of_cells = node.scope is not None and node.scope.axis is Axis.CELL
    return reach_of(node.within.keys) if of_cells else Reach.NONE


_ADVANTAGE = frozenset({"advantage", "advantage_rows"})


def _values(graph: Graph, advantage: Reach, given: frozenset[int], computed: frozenset[str]) -> list[Reach]:
    """Whose policy one element of each node depends on, where that of the advantage and some places are known."""
    found: list[Reach] = []
    for place, node in graph:
        if place in given:
            found.append(Reach.NONE)
            continue
        if node.op == "input":
            name = node.attribute("name")
            found.append(
                Reach.TOKEN
                if (node.live and not _is_own(node)) or name in computed
                else advantage
                if name in _ADVANTAGE
                else Reach.NONE
            )
            continue
        read = max((found[argument] for argument in node.args), default=Reach.NONE)
        found.append(_raised(read, Reach.NONE if node.scope is None else reach_of(node.scope.keys)))
    return found


def _is_own(node: Node) -> bool:
    """Whether it is an input of the spec's own, which the batch brings: it depends on nobody's policy."""
    return ("declared", True) in node.attributes


def _raised(reach: Reach, level: Reach) -> Reach:
    """A reach gathered over a level; what depends on nobody still does not."""
    return max(reach, level) if reach > Reach.NONE else Reach.NONE


# ---- gradients


def _gradients(graph: Graph, values: list[Reach]) -> Reach:
    """Whose policy the derivative of the loss with respect to one token's log-prob or entropy depends on."""
    adjoints = {graph.outputs["loss"]: Reach.NONE}
    widest = Reach.NONE
    for place in reversed(graph.reachable(["loss"])):
        node = graph.nodes[place]
        if place not in adjoints or not node.live:
            continue
        if node.op == "input" and not _is_own(node):
            widest = max(widest, adjoints[place])
        for position, argument in enumerate(node.args):
            below = graph.nodes[argument]
            if not below.live:
                continue
            pushed = max(adjoints[place], _slope(node, position, [values[other] for other in node.args]))
            # What one value of a coarser axis gets back is the sum over everything that it was used for; so is what a
            # token gets back of results at other tokens.
            gathered = Reach.NONE
            if node.scope is not None and (REDUCTIONS[node.op].members or node.scope.axis is Axis.GROUP):
                gathered = _ON_AXIS[node.scope.axis]
            if below.axis < node.axis:
                gathered = max(gathered, _ON_AXIS[below.axis])
            reach = _raised(pushed, max(gathered, _carried(node)))
            adjoints[argument] = max(adjoints.get(argument, Reach.NONE), reach)
    return widest


def _slope(node: Node, position: int, args: list[Reach]) -> Reach:
    """Whose policy the derivative of a node with respect to one argument depends on, at one element."""
    match node.op:
        case "add" | "sub" | "neg" | "expand":
            return Reach.NONE
        case "sum" | "next" | "previous":
            return args[1]
        case "discounted_sum" | "running_sum" if position == 0:
            return max(args[1:])
        case "mul":
            return args[1 - position]
        case "div" if position == 0:
            return args[1]
        case "select":
            return args[0]
    # Which one is the largest, say, depends on all of its cell.
    gathered = Reach.NONE if node.scope is None else _ON_AXIS[node.scope.axis]
    return _raised(max(args), gathered)
