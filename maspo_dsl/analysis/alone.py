"""The oracle on many tokens at once, each alone: in a completion, a group and a window of its own.

Every reduction is then over one value, so a grid of thousands of tokens is one pass over the graph, whatever the
objective couples. What a token's neighbours would change (a quantile, a search for bounds) is what the token alone
gives: its own entropy is the quantile, its own sign the balance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maspo_dsl.graph.elementwise import Array
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph, Node

Numbers = NDArray[np.float64]


class Alone(Interpretation):
    """Values of a graph's nodes for K tokens, each of shape `[K]`, and derivatives of its outputs.

    `tokens` holds tensors of the batch, all `[K]`, with `advantage` given; one that is not there is 1 everywhere.
    `params` replaces values of parameters.
    """

    def __init__(
        self, graph: Graph, tokens: Mapping[str, ArrayLike], *, params: Mapping[str, float] | None = None
    ) -> None:
        self.graph = graph
        self.params = dict(params or {})
        self.given = {}
        self.values = {}
        self.candidates = {}
        self.batch = {name: np.asarray(value) for name, value in tokens.items()}
        self.size = len(self.batch["advantage"])
        self.batch["advantage_rows"] = self.batch["advantage"]
        for name in ("mask", "present"):
            self.batch[name] = np.ones(self.size, dtype=bool)

    def adjoints(self, name: str) -> dict[int, Array]:
        """Derivative of an output with respect to every live node it depends on, by place."""
        self.output(name)
        found: dict[int, Array] = {self.graph.outputs[name]: np.ones(self.size)}
        with np.errstate(all="ignore"):
            for place in reversed(self.graph.reachable([name])):
                if place in found and self.graph.nodes[place].live:
                    self._push(self.graph.nodes[place], place, found)
        return found

    def gradient(self, name: str, tensor: str = "logp") -> Numbers:
        """Derivative of an output with respect to a tensor."""
        return self.of_tensor(self.adjoints(name), tensor)

    def of_tensor(self, adjoints: Mapping[int, Array], tensor: str) -> Numbers:
        """The part of some derivatives that is with respect to a tensor."""
        total = np.zeros(self.size)
        for place, adjoint in adjoints.items():
            node = self.graph.nodes[place]
            if node.op == "input" and node.attribute("name") == tensor:
                total = total + adjoint
        return total

    def _evaluate(self, place: int) -> Array:
        node = self.graph.nodes[place]
        return self.values[node.args[0]] if node.op == "expand" else super()._evaluate(place)

    def _input(self, name: str) -> Array:
        return self.batch.get(name, np.ones(self.size))

    def _reduce(self, node: Node, args: list[Array]) -> Array:
        if node.op in ("count", "position"):
            return np.asarray(args[0], dtype=float)
        value, member = args[0], args[1].astype(bool)
        match node.op:
            case "kth":
                member = np.logical_and(member, node.attribute("k") == 1)
            case "quantile":
                return np.asarray(np.where(np.logical_and(member, args[3]), value, args[4]), dtype=float)
            case "rank" | "top":
                value = np.ones(self.size)
            case "next":
                value = np.zeros(self.size)
        return np.asarray(np.where(member, value, 0.0), dtype=float)

    def _slopes(self, node: Node, place: int, args: list[Array], incoming: Array) -> list[ArrayLike]:
        return [incoming] if node.op == "expand" else super()._slopes(node, place, args, incoming)

    def _sum_slope(self, node: Node, args: list[Array], incoming: Array) -> Array:
        return np.where(args[1].astype(bool), incoming, 0.0)
