"""An objective on everything it is tried on, to be compared with the same objective changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from maspo_dsl.analysis.drawing import Arrays
from maspo_dsl.analysis.extremes import alike_batches, far_batches, far_tokens
from maspo_dsl.analysis.probes import batches, long_completions, tokens
from maspo_dsl.analysis.single_token import SingleTokenInterpreter
from maspo_dsl.analysis.trial import graph_of
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.operations import Array

OUTPUTS = ("loss", "advantage", "keep", "prompt", "step")
"""What a spec decides: of the loss, its gradients."""
SOON = ("alone", "batches")
"""What shows most effects, and takes little."""
EVERYWHERE = ("alone", "far alone", "batches", "long", "far", "alike")
"""What is tried before something is said to have no effect, whatever the numbers that a spec compares with."""

_SOURCES: dict[str, Callable[[ResolvedObjective], Iterable[Arrays]]] = {
    "alone": lambda objective: [tokens(objective)],
    "batches": batches,
    "long": long_completions,
    "far alone": lambda objective: [far_tokens(objective)],
    "far": far_batches,
    "alike": alike_batches,
}


def decided(graph: Graph) -> list[str]:
    """The outputs of a graph that say what its spec decides; what a memory will be is one."""
    return [name for name in (*OUTPUTS, *graph.memories.values()) if name in graph.outputs]


def of_tokens(stage: str) -> bool:
    """Whether a stage has tokens alone, which know nothing of each other."""
    return stage.endswith("alone")


def asked(stage: str, outputs: Sequence[str]) -> list[str]:
    """The outputs that mean something at a stage: what comes before the advantage compares completions."""
    return [output for output in outputs if not of_tokens(stage) or output == OUTPUTS[0]]


class Baseline:
    """What an objective is tried on, stage after stage, and what its graphs give there; each is made once."""

    def __init__(self, objective: ResolvedObjective) -> None:
        self.objective = objective
        self._sources: dict[str, Iterator[Arrays]] = {}
        self._batches: dict[str, list[Arrays]] = {}
        self._trials: dict[tuple[int, str, int], Trial] = {}

    @cached_property
    def graph(self) -> Graph:
        """The objective's graph in which a parameter of value 0 or 1 is a parameter still."""
        return graph_of(self.objective.parts)

    def batches(self, stage: str) -> Iterator[Arrays]:
        """The batches of a stage; each is drawn when it is first asked for."""
        if stage not in self._sources:
            self._sources[stage] = iter(_SOURCES[stage](self.objective))
        source, drawn = self._sources[stage], self._batches.setdefault(stage, [])
        number = 0
        while True:
            if number == len(drawn):
                batch = next(source, None)
                if batch is None:
                    return
                drawn.append(batch)
            yield drawn[number]
            number += 1

    def interpretations(
        self, graph: Graph, stage: str, params: dict[str, float] | None = None
    ) -> Iterator[Interpretation]:
        """A graph on the batches of a stage, one after the other; `params` replaces values of parameters."""
        kind = SingleTokenInterpreter if of_tokens(stage) else Interpretation
        return (kind(graph, batch, params=params) for batch in self.batches(stage))

    def trials(self, graph: Graph, stage: str, params: dict[str, float] | None = None) -> Iterator[Trial]:
        """The same with what they give, remembered where parameters have their own values."""
        for number, interpretation in enumerate(self.interpretations(graph, stage, params)):
            trial = Trial(interpretation)
            yield trial if params else self._trials.setdefault((id(graph), stage, number), trial)


class Trial:
    """One evaluation of a graph, and what it gives, to be compared with others."""

    def __init__(self, interpretation: Interpretation) -> None:
        self.interpretation = interpretation
        self.found: dict[str, list[Array]] = {}

    def with_value(self, name: str, value: float, below: set[int]) -> Interpretation:
        """The same with another value of a parameter; only what depends on it is computed again."""
        changed = copy.copy(self.interpretation)
        changed.params = {**changed.params, name: value}
        changed.values = {place: found for place, found in changed.values.items() if place not in below}
        return changed

    def differs(self, other: Interpretation, outputs: Sequence[str], *, floor: float = 1e-11) -> bool:
        """Whether another evaluation gives anything else; less than `floor` of the largest number is nothing."""
        live = sorted(self.interpretation.graph.live_inputs(["loss"]))
        for output in outputs:
            if output not in self.found:
                self.found[output] = list(_results(self.interpretation, output, live))
            pairs = zip(self.found[output], _results(other, output, live), strict=True)
            if any(_unequal(one, then, floor) for one, then in pairs):
                return True
        return False


def _results(interpretation: Interpretation, output: str, live: Sequence[str]) -> Iterator[Array]:
    """An output, or of the loss its gradients to the live tensors, one after the other."""
    if output != "loss":
        yield np.asarray(interpretation.output(output), dtype=float)
        return
    yield from (interpretation.gradient("loss", name) for name in live)


def _unequal(one: Array, other: Array, floor: float) -> bool:
    """Whether two results differ by more than rounding does, large numbers taken from each other included."""
    if one.ndim and other.ndim and one.shape != other.shape:
        return True
    size = np.maximum(np.abs(one), np.abs(other))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(all="ignore"):
        close = np.abs(one - other) <= 1e-7 * size + floor * np.max(size[np.isfinite(size)], initial=0.0)
    return not bool(np.all(same | close))
