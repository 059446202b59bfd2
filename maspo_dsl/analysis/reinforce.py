"""What REINFORCE does with the tokens of a batch on which all policies are one, and whether an objective does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.semantics.types import Axis

_LEAF = "policy term of a token"


def reinforced(graph: Graph, batch: Arrays) -> tuple[Array, Array, Array]:
    """The advantage of each token, whether a rule leaves it free to learn, and what its gradient is then, `[N, T]`.

    That is -A times the weight that `reduce` gives, 0 where it is not free. The graph is one before any pass.
    """
    interpretation = Interpretation(graph, batch)
    shape = batch["mask"].shape
    interpretation.output("policy_loss")
    advantage = np.broadcast_to(interpretation.batch["advantage"], shape)
    free = _boolean(interpretation, "trained", shape) & interpretation.batch["mask"].astype(bool)
    if "muted" in graph.outputs:
        free &= ~_boolean(interpretation, "muted", shape)
    for key in _ids(graph):
        # What is in no cell of a scope has no ratio.
        free &= batch[key] >= 0 if batch[key].ndim == 2 else (batch[key] >= 0)[:, None]
    return advantage, free, np.where(free, -advantage * _weights_of_reduce(graph, batch, interpretation), 0.0)


def weighs_otherwise(gradient: Array, expected: Array, free: Array) -> Array:
    """Which free tokens have another gradient than REINFORCE gives them."""
    found: Array = free & ~(np.abs(gradient - expected) <= 1e-9 * (np.abs(expected) + np.abs(expected).max()))
    return found


def _ids(graph: Graph) -> set[str]:
    """Inputs that are keys of a scope which the loss reduces within; what has a negative id is in no cell."""
    nodes = (graph.nodes[place] for place in graph.reachable(["loss"]))
    return {key for node in nodes if node.scope is not None for key in node.scope.own}


def _boolean(interpretation: Interpretation, output: str, shape: tuple[int, ...]) -> Array:
    value = interpretation.output(output).astype(bool)
    return np.array(np.broadcast_to(value, shape))


def _weights_of_reduce(graph: Graph, batch: Arrays, interpretation: Interpretation) -> Array:
    """What a unit of each token's policy term adds to the reduced one, `[N, T]`: the term is made an input."""
    place = graph.outputs["policy_term"]
    leaf = Node("input", (), Axis.TOKEN, live=True, attributes=(("name", _LEAF),))
    nodes = (*graph.nodes[:place], replace(leaf, name=graph.nodes[place].name), *graph.nodes[place + 1 :])
    term = np.broadcast_to(interpretation.output("policy_term"), batch["mask"].shape)
    return Interpretation(Graph(nodes, graph.outputs), {**batch, _LEAF: term}).gradient("policy_loss", _LEAF)
