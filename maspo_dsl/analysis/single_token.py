"""The oracle on many tokens at once, each alone: in a completion, a group and a window of its own.

Every reduction is then over one value, so a grid of thousands of tokens is one pass over the graph, whatever the
objective couples. What a token's neighbours would change (a quantile, a search for bounds) is what the token alone
gives: its own entropy is the quantile, its own sign the balance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maspo_dsl.graph.interpret import Interpretation, as_number
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.segments import Segments
from maspo_dsl.semantics.operations import Array
from maspo_dsl.semantics.scopes import Scope

Numbers = NDArray[np.float64]


class SingleTokenInterpreter(Interpretation):
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
        self._cells = {}
        self.batch = {name: np.asarray(value) for name, value in tokens.items()}
        self.size = len(self.batch["advantage"])
        self.batch["advantage_rows"] = self.batch["advantage"]
        for name in ("mask", "present"):
            self.batch[name] = np.ones(self.size, dtype=bool)

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

    def _input(self, node: Node) -> Array:
        name = str(node.attribute("name"))
        if name not in self.batch:
            return np.ones(self.size, dtype=bool if node.is_bool else float)
        return as_number(self.batch[name])

    def _expanded(self, value: Array) -> Array:
        return value

    def _contracted(self, incoming: Array, value: Array) -> Array:
        return incoming

    def _made_segments(self, scope: Scope, shape: tuple[int, ...]) -> Segments:
        each = np.arange(self.size)
        return Segments(each, self.size, each)
