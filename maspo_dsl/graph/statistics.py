"""Statistics of the optimizer window: the reductions whose value comes from all its micro-batches and ranks."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language.naming import unused_name
from maspo_dsl.semantics.types import Axis

_COUNTS = {Axis.TOKEN: "mask_tokens", Axis.SEQUENCE: "mask_sequences", Axis.SCALAR: "micro_batches"}
"""Keys of counts, by what they count: of what is one number for all, each micro-batch has one."""


def window_statistics(graph: Graph) -> dict[str, int]:
    """Places of the window's statistics, by the key the runtime knows them under.

    `tokens` and `sequences` count what is trained; any other has the spec's name for it.
    """
    counts = {key: graph.outputs[f"window:{key}"] for key in ("tokens", "sequences")}
    found = dict(counts)
    for place in graph.gathered:
        if place not in counts.values():
            found[unused_name(_key(graph, place), found)] = place
    return found


def _key(graph: Graph, place: int) -> str:
    node = graph.nodes[place]
    if node.op == "count":
        member = graph.nodes[node.args[0]]
        cells = [graph.nodes[one].within.name for one in member.args if graph.nodes[one].op == "first"]
        return f"{cells[0]}_cells" if cells else _COUNTS[member.axis]
    return node.name or f"{node.op.removeprefix('reduce_')}_statistic"


def phases(graph: Graph, statistics: dict[str, int]) -> list[list[str]]:
    """Keys in the order they can be computed: a later phase reads values of an earlier one."""
    places = {place: key for key, place in statistics.items()}
    depth: dict[int, int] = {}
    for place, node in graph:
        below = max((depth[argument] for argument in node.args), default=0)
        depth[place] = below + (1 if place in places else 0)
    result: list[list[str]] = []
    for place, key in sorted(places.items()):
        level = depth[place] - 1
        while len(result) <= level:
            result.append([])
        result[level].append(key)
    return result
