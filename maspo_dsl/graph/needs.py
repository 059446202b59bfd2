"""What the outputs of a graph read: the tensors of a batch by purpose, and the terms of the loss that are computed."""

from __future__ import annotations

from collections.abc import Iterable

from maspo_dsl.graph.nodes import Graph
from maspo_dsl.graph.statistics import phases, window_statistics
from maspo_dsl.semantics.reductions import REDUCTIONS

PURPOSES = ("loss", "advantage", "keep", "prompt", "step", "memory", "window")


def live_terms(graph: Graph) -> list[str]:
    """Outputs that are terms of the loss; one that a weight of 0 removed is none."""
    terms = [name for name in graph.outputs if name.startswith("term:")]
    return [name for name in terms if graph.nodes[graph.outputs[name]].op != "const"]


def outputs_of(graph: Graph, purposes: Iterable[str]) -> Graph:
    """The graph with the outputs of some purposes alone; those that it does not have compute nothing."""
    if unknown := set(purposes) - {*PURPOSES}:
        raise ValueError(f"no purpose {', '.join(sorted(unknown))}; there are {', '.join(PURPOSES)}")
    found = {purpose: graph.outputs[purpose] for purpose in purposes if purpose in graph.outputs}
    if "memory" in purposes:
        found |= {output: graph.outputs[output] for output in graph.memories.values()}
    if "window" in purposes:
        found |= {f"statistic:{key}": place for key, place in window_statistics(graph).items()}
    return Graph(graph.nodes, found)


def reads(graph: Graph) -> dict[str, dict[str, str]]:
    """For each purpose, the tensors it reads and the term that needs each of them first."""
    terms = {name: name.removeprefix("term:") for name in live_terms(graph)}
    found: dict[str, str] = {}
    for output, term in terms.items():
        label = "`ratio`" if term == "policy" else f"`{term}`"
        for tensor in graph.inputs([output]):
            found.setdefault(tensor, label)
    for tensor in graph.inputs(["trained"]):
        found.setdefault(tensor, "`exclude`")
    loss = {tensor: found.get(tensor, "`reduce`") for tensor in graph.inputs(["loss"])}
    statistics = window_statistics(graph)
    here = outputs_of(graph, ["window"])
    window = dict.fromkeys(here.inputs(here.outputs), "the window's statistics")
    prompt = dict.fromkeys(graph.inputs(["prompt"]), "`prompt`") if "prompt" in graph.outputs else {}
    keep = dict.fromkeys(graph.inputs(["keep"]), "`keep`") if "keep" in graph.outputs else {}
    memory = {
        tensor: f"`memory {n}`" for n, output in graph.memories.items() for tensor in graph.inputs([output])
    }
    return {
        "loss": _public(loss),
        "advantage": _public(dict.fromkeys(graph.inputs(["advantage"]), "`advantage`")),
        "window": _public(window),
        "keep": _public(keep),
        "prompt": _public(prompt),
        **({"memory": _public(memory)} if memory else {}),
        "statistics": {key: _togetherness(graph, key, statistics) for key in statistics},
    }


def _togetherness(graph: Graph, key: str, statistics: dict[str, int]) -> str:
    """Why a statistic cannot be added up over ranks, empty if it can."""
    if not REDUCTIONS[graph.nodes[statistics[key]].op].additive:
        return "of all values"
    return "" if key in phases(graph, statistics)[0] else "of another statistic"


def _public(wanted: dict[str, str]) -> dict[str, str]:
    """Tensors of the batch; `mask` is always there and `present` follows from it."""
    return {tensor: term for tensor, term in wanted.items() if tensor not in ("mask", "present")}
