"""A graph as text, one operation a line."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.types import Axis


def graph_lines(graph: Graph) -> Iterator[str]:
    """Every operation as `%place = op arguments | axis flow name`, then the outputs."""
    rows = [_row(place, node) for place, node in graph]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
    yield ""
    yield "outputs"
    width = max(map(len, graph.outputs), default=0)
    for name, place in graph.outputs.items():
        yield f"  {name.ljust(width)}  %{place}"


def _row(place: int, node: Node) -> tuple[str, str, str, str, str]:
    flow = "live" if node.live else "bool" if node.is_bool else "detached"
    return f"%{place}", f"= {_operation(node)}", node.axis.word, flow, node.name


def _operation(node: Node) -> str:
    match node.op:
        case "const":
            return number_text(node.value)
        case "param":
            return f"param {node.attribute('name')} ({number_text(node.value)})"
        case "input":
            return f"input {node.attribute('name')}"
    words = [node.op, *(f"%{argument}" for argument in node.args)]
    words += [f"{name}={_attribute(value)}" for name, value in node.attributes]
    return " ".join(words)


def _attribute(value: object) -> str:
    if isinstance(value, Scope):
        return value.name
    if isinstance(value, Axis):
        return value.word
    return number_text(value) if isinstance(value, float) else str(value)
