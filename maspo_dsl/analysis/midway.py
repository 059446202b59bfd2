"""Whether a search ends between its first candidate and its last: only then does it matter how fine its steps are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maspo_dsl.analysis.drawing import Arrays
from maspo_dsl.analysis.probes import batches
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.types import Axis

_SCALES = (1.0, 30.0, 1 / 30)
"""How much good completions weigh, against bad ones, in batches that a search may end on anyhow."""
_HALVINGS = 20
"""On the way from a batch where the first candidate is taken to one where none is."""


def midway(objective: ResolvedObjective, graph: Graph) -> list[Arrays] | None:
    """Batches on which the searches of the loss end beyond their first candidate, one for each that ever does.

    A search that never does takes the first candidate on some batch and none on another, and on the way from one to
    the other jumps. None where that cannot be told: a search takes the same on every batch that is tried, or is of
    tokens.
    """
    found: list[Arrays] = []
    needed = set(graph.reachable(["loss"]))
    searches = [place for place, node in graph if node.op == "least" and place in needed]
    for place in searches:
        if graph.nodes[place].axis is not Axis.SCALAR or graph.candidates[place]:
            return None
        batch = _Search(graph, place).midway(list(_alike(objective)))
        if batch is None:
            return None
        found += batch
    return found


class _Search:
    """One search of a graph, asked what it takes on a batch."""

    def __init__(self, graph: Graph, place: int) -> None:
        self.graph = Graph(graph.nodes, {**graph.outputs, "search": place})
        self.first = float(str(graph.nodes[place].attribute("low")))

    def midway(self, tried: list[Arrays]) -> list[Arrays] | None:
        """A batch on which the search ends beyond its first candidate; none if it jumps, None if that is not seen."""
        ends: dict[str, Arrays] = {}
        for batch in tried:
            taken = self._taken(batch)
            if taken == "later":
                return [batch]
            ends[taken] = batch
        if len(ends) < 2:
            return None
        first, none = ends["first"], ends["none"]
        for _ in range(_HALVINGS):
            between = {name: _mean(value, none[name]) for name, value in first.items()}
            match self._taken(between):
                case "later":
                    return [between]
                case "first":
                    first = between
                case _:
                    none = between
        return []

    def _taken(self, batch: Arrays) -> str:
        """What the search takes: the `first` candidate, a `later` one, or `none`."""
        value = float(Interpretation(self.graph, batch).output("search"))
        return "none" if np.isinf(value) else "first" if value == self.first else "later"


def _alike(objective: ResolvedObjective) -> Iterator[Arrays]:
    """Batches that differ in numbers alone, so that there are others between each two of them."""
    base: Arrays | None = None
    for batch in batches(objective):
        base = batch if base is None else base
        if batch["mask"].shape != base["mask"].shape:
            continue
        numbers = {name: value for name, value in batch.items() if value.dtype == float}
        for scale in _SCALES:
            advantage = np.where(batch["advantage"] > 0, scale * batch["advantage"], batch["advantage"])
            yield {**base, **numbers, "advantage": advantage}


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one + other) / 2 if one.dtype == float else one
