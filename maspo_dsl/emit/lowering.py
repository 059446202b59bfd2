"""The graph in the order in which it costs least: a step before it is written, for no reader of the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.language.naming import unused_name
from maspo_dsl.semantics.operations import OPERATIONS
from maspo_dsl.semantics.types import Axis

_OTHERS = frozenset({"input", "candidate", "least", "expand"})


def cheapest(graph: Graph) -> Graph:
    """Products with factors without gradient first, and bounds where there is a condition: numbers of many tokens.

    (a * x) * w is (a * w) * x, where x alone has a gradient: advantages and denominators are numbers of a sequence or
    of all, as a rule, and so is their product, which a product with a token's ratio is not. In the same way
    `min(x, c) if condition else x` is min(x, c if condition else inf): the bound is chosen, not each token's value, and
    x has one gradient and not a sum of two.
    """
    return rewrite(graph, _rule)


def _rule(b: GraphBuilder, node: Node) -> int | None:
    if node.op == "select" and node.live:
        return _bounded(b, node)
    if node.op != "mul" or not node.live:
        return None
    live, weight = node.args if b.nodes[node.args[0]].live else node.args[::-1]
    return None if b.nodes[weight].live else _weighted(b, live, weight)


def _bounded(b: GraphBuilder, node: Node) -> int | None:
    condition, bounded, value = node.args
    inside = b.nodes[bounded]
    if inside.op not in ("min", "max") or value not in inside.args:
        return None
    limit = inside.args[1 - inside.args.index(value)]
    if b.nodes[limit].live:
        return None
    name, unbounded = ("highest", math.inf) if inside.op == "min" else ("lowest", -math.inf)
    chosen = b.op("select", condition, limit, b.const(unbounded), name=name)
    return b.op(inside.op, value, chosen, name=inside.name)


def _weighted(b: GraphBuilder, place: int, weight: int) -> int | None:
    node = b.nodes[place]
    if node.op == "neg":
        inside = _weighted(b, node.args[0], weight)
        return None if inside is None else b.op("neg", inside)
    if node.op != "mul" or b.nodes[node.args[0]].live is b.nodes[node.args[1]].live:
        return None
    live, factor = node.args if b.nodes[node.args[0]].live else node.args[::-1]
    return b.op("mul", b.op("mul", factor, weight), live)


def loop_invariant(graph: Graph, output: str) -> dict[int, str]:
    """Places that an output reads, whose value is one number for the batch and takes long, each with a name for it.

    They depend on parameters and on statistics of the window alone. A compiler that fuses everything into one loop
    over tokens would compute them for each of these again.
    """
    names = {place: key for key, place in window_statistics(graph).items()}
    depends = _numbers(graph, set(names))
    taken, found = set(names.values()), dict[int, str]()
    for place in _outermost(graph, graph.outputs[output], set(depends)):
        if place not in names and any(_is_slow(graph.nodes[each]) for each in depends[place]):
            found[place] = unused_name(
                graph.nodes[place].name or _words(graph, place, names) or "number", taken
            )
            taken.add(found[place])
    return found


def _is_slow(node: Node) -> bool:
    return node.op in OPERATIONS and OPERATIONS[node.op].slow


def _numbers(graph: Graph, statistics: set[int]) -> dict[int, frozenset[int]]:
    """Places that depend on parameters and on statistics of the window alone, each with those it depends on."""
    found: dict[int, frozenset[int]] = {}
    for place, node in graph:
        elementwise = node.axis is Axis.SCALAR and node.scope is None and node.op not in _OTHERS
        if place in statistics:
            found[place] = frozenset({place})
        elif elementwise and not node.is_bool and found.keys() >= set(node.args):
            found[place] = frozenset({place}).union(*(found[each] for each in node.args))
    return found


def _outermost(graph: Graph, output: int, chosen: set[int]) -> list[int]:
    """The chosen places that an output depends on through places that are not chosen."""
    seen, stack = set[int](), [output]
    while stack:
        place = stack.pop()
        if place not in seen:
            seen.add(place)
            stack += [] if place in chosen else graph.nodes[place].args
    return sorted(seen & chosen)


def _words(graph: Graph, place: int, names: Mapping[int, str]) -> str:
    """A short expression as a word, `exp_minus_eps` or `inverse_tokens`; empty for any other."""
    node = graph.nodes[place]
    if place in names or node.op == "param":
        return names.get(place) or str(node.attribute("name"))
    known = [word for word in (_words(graph, each, names) for each in node.args) if word]
    if len(known) != 1:
        return ""
    constants = [graph.nodes[each].value for each in node.args if graph.nodes[each].op == "const"]
    match node.op, constants:
        case ("neg", []):
            return f"minus_{known[0]}"
        case (("exp" | "log" | "sqrt"), []):
            return f"{node.op}_{known[0]}"
        case ("div", [1]) if graph.nodes[node.args[0]].op == "const":
            return f"inverse_{known[0]}"
        case ("max", [1]):
            return known[0]
    return ""
