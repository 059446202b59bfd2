"""A graph as plain data: lists, texts and numbers, for JSON, and back, with nothing but operations of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.semantics.operations import OPERATIONS
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.scopes import KEPT_PER, SCOPES, Scope, keyed
from maspo_dsl.semantics.types import Axis

ALLOWED = frozenset(
    {"input", "const", "param", "bound", "expand", "least", "candidate", *OPERATIONS, *REDUCTIONS}
)
"""Every operation that there is: none of them does anything but arithmetic on what it is given."""
_FORMAT = 1
_KNOWN = {**SCOPES, **{scope.name: scope for scope in KEPT_PER.values()}}


def as_data(graph: Graph, outputs: tuple[str, ...] = ("loss",)) -> dict[str, Any]:
    """The part of a graph that some outputs and the window's counts are made of; a node comes after those it reads."""
    wanted = tuple(dict.fromkeys([*outputs, "window:tokens", "window:sequences", "advantage"]))
    places = {place: number for number, place in enumerate(graph.reachable(wanted))}
    return {
        "format": _FORMAT,
        "nodes": [_node_data(graph.nodes[place], places) for place in places],
        "outputs": {name: places[graph.outputs[name]] for name in wanted},
    }


def from_data(data: Mapping[str, Any]) -> Graph:
    """The graph of plain data. Raises ValueError: an operation is none of ours, or something is not as it must be."""
    if data.get("format") != _FORMAT:
        raise ValueError(f"format {data.get('format')!r} is not known: {_FORMAT}")
    nodes: list[Node] = []
    for row in data["nodes"]:
        if row["op"] not in ALLOWED:
            raise ValueError(f"operation {row['op']!r} is not one of those that a graph may have")
        if not all(isinstance(place, int) and 0 <= place < len(nodes) for place in row["args"]):
            raise ValueError(f"node {len(nodes)} reads what does not come before it")
        nodes.append(_node(row))
    outputs = dict(data["outputs"])
    if not all(isinstance(place, int) and 0 <= place < len(nodes) for place in outputs.values()):
        raise ValueError("an output is no node")
    return Graph(tuple(nodes), outputs)


def _node_data(node: Node, places: Mapping[int, int]) -> dict[str, Any]:
    attributes = {key: _value_data(value) for key, value in node.attributes}
    return {
        "op": node.op,
        "args": [places[place] for place in node.args],
        "axis": node.axis.name,
        "condition": node.is_bool,
        "live": node.live,
        "name": node.name,
        "attributes": attributes,
    }


def _node(row: Mapping[str, Any]) -> Node:
    attributes = tuple((str(key), _value(value)) for key, value in row["attributes"].items())
    return Node(
        str(row["op"]),
        tuple(row["args"]),
        Axis[row["axis"]],
        bool(row["condition"]),
        bool(row["live"]),
        attributes,
        str(row["name"]),
    )


def _value_data(value: Any) -> Any:
    if not isinstance(value, Scope):
        return str(value) if isinstance(value, float) and abs(value) == float("inf") else value
    if not value.declared:
        return {"scope": value.name}
    axes = {key: Axis.TOKEN.name if key in value.of_tokens else Axis.SEQUENCE.name for key in value.own}
    return {"scope": value.name, "keys": list(value.keys), "own": axes}


def _value(value: Any) -> Any:
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, Mapping):
        if "keys" in value:
            own = {key: Axis[axis] for key, axis in value["own"].items()}
            return keyed(str(value["scope"]), tuple(value["keys"]), own)
        if value["scope"] not in _KNOWN:
            raise ValueError(f"scope {value['scope']!r} is not known")
        return _KNOWN[value["scope"]]
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no value of an attribute")
    return value
