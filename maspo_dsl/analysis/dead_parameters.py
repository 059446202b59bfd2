"""Parameters that nothing depends on: whatever value they get, every gradient and every advantage is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

from maspo_dsl.analysis.alternatives import alternatives
from maspo_dsl.analysis.baseline import SOON, STAGES, Baseline, Trial, asked, decided
from maspo_dsl.analysis.drawing import Arrays
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.midway import midway
from maspo_dsl.analysis.spec_lints import dead_parts
from maspo_dsl.analysis.trial import graph_of, rebound
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.terms import Term, walk

_FIRST = 4
"""How many values are tried on what takes little, before all are on everything."""
_REBUILT = 2
"""How many values are tried on an objective that is built anew for each."""
_REBUILT_MIDWAY = 3
"""As many where a search ends midway: a step far too long is one of them."""


def dead_parameters(
    objective: ResolvedObjective, graph: Graph, baseline: Baseline
) -> Iterator[tuple[str, list[float]]]:
    """Each parameter that moves nothing, with some other values that it was given.

    It is tried on tokens, and then on batches, made to reach whatever a spec can say: log-ratios beyond their bound,
    tiny probabilities, large advantages, groups of every kind. Parameters of a part that is itself dead are passed
    over, and so is what only other parameters read.
    """
    names = _candidates(objective)
    if not names:
        return
    trials = _Trials(objective, graph, baseline)
    for name in names:
        allowed = alternatives(objective, name)
        values = list(islice(allowed, _FIRST))
        if values and not (trials.moves_soon(name, values) or trials.moves(name, [*values, *allowed])):
            yield name, values


def dead_parameter_findings(
    objective: ResolvedObjective, dead: Mapping[str, Sequence[float]]
) -> Iterator[Finding]:
    """A warning for each parameter that moves nothing, with some of the values that it was given."""
    for name, values in dead.items():
        bound = objective.parameters[name]
        tried = " and ".join(number_text(value) for value in values[:2])
        yield Finding(
            "dead-parameter",
            f"changing `{name}` changes nothing: with {tried} in place of {number_text(bound.value)} every "
            "gradient and every advantage is the same",
            bound.declared.span,
        )


def _candidates(objective: ResolvedObjective) -> list[str]:
    """Parameters that some part reads which is not dead as a whole."""
    read = _parameters_of(_roots(objective))
    return [name for name in objective.parameters if name in read]


def _roots(objective: ResolvedObjective) -> list[Term]:
    """The parts that are not dead as a whole."""
    return list(objective.parts.without(list(dead_parts(objective))).terms())


def _ranges(objective: ResolvedObjective) -> set[str]:
    """Parameters that the range of a `least` reads."""
    searches = [term for term in walk(*_roots(objective)) if term.op == "least"]
    return _parameters_of([bound for search in searches for bound in search.args[1:]])


def _parameters_of(roots: Sequence[Term]) -> set[str]:
    return {str(term.attribute("name")) for term in walk(*roots) if term.op == "param"}


# ---- trials


class _Trials:
    """Tries values of parameters on tokens alone, then on batches, then on the objective built anew."""

    def __init__(self, objective: ResolvedObjective, graph: Graph, baseline: Baseline) -> None:
        self.objective = objective
        self.graph = graph
        self.baseline = baseline
        self.ranges = _ranges(objective)

    @cached_property
    def midway(self) -> list[Arrays] | None:
        """Batches on which searches end midway, None where that is not known."""
        return midway(self.objective, self.baseline.graph)

    def moves_soon(self, name: str, values: Sequence[float]) -> bool:
        """Whether one of a few values is seen to matter on what takes little."""
        graph = self._graph(name)
        return graph is not None and self._moves_graph(graph, name, values, SOON)

    def moves(self, name: str, values: Sequence[float]) -> bool:
        """Whether any of the values gives another gradient, advantage, choice of completions or of prompts, or step."""
        graph = self._graph(name)
        in_range = name in self.ranges
        if graph is None and not in_range:
            return True
        if graph is not None and self._moves_graph(graph, name, values, STAGES):
            return True
        return self._moves_rebuilt(name, values) or (in_range and self._moves_search(name, values))

    def _moves_graph(self, graph: Graph, name: str, values: Sequence[float], stages: Iterable[str]) -> bool:
        """Whether another value moves the graph that it is a parameter of."""
        below = _below(graph, name)
        reached = [output for output in decided(graph) if graph.outputs[output] in below]
        for stage in stages:
            outputs = asked(stage, reached)
            trials = self.baseline.trials(graph, stage) if outputs else iter(())
            if any(
                trial.differs(trial.with_value(name, value, below), outputs)
                for trial in trials
                for value in values
            ):
                return True
        return False

    def _graph(self, name: str) -> Graph | None:
        """A graph that the parameter is one of."""
        if _has(self.graph, name):
            return self.graph
        return self.baseline.graph if _has(self.baseline.graph, name) else None

    def _moves_rebuilt(self, name: str, values: Sequence[float]) -> bool:
        """A value may be read before there is a graph: by the range of `least`, or as the default of another."""
        graph = self.baseline.graph
        present = decided(graph)
        for rebuilt in self._rebuilt(name, values):
            for stage in SOON:
                others = self.baseline.interpretations(rebuilt, stage)
                pairs = zip(self.baseline.trials(graph, stage), others, strict=True)
                if any(trial.differs(other, asked(stage, present)) for trial, other in pairs):
                    return True
        return False

    def _moves_search(self, name: str, values: Sequence[float]) -> bool:
        """Whether another range gives anything else where a search ends midway; so it is held where none is seen to."""
        reached = self.midway
        if reached is None:
            return True
        trials = [Trial(Interpretation(self.baseline.graph, batch)) for batch in reached]
        return any(
            trial.differs(Interpretation(rebuilt, batch), ["loss"])
            for rebuilt in (self._rebuilt(name, values, _REBUILT_MIDWAY) if reached else ())
            for trial, batch in zip(trials, reached, strict=True)
        )

    def _rebuilt(self, name: str, values: Sequence[float], count: int = _REBUILT) -> Iterator[Graph]:
        """The graphs of the objective with some other values."""
        allowed = (parts for value in values if (parts := rebound(self.objective, name, value)) is not None)
        for parts in islice(allowed, count):
            yield graph_of(parts)


def _has(graph: Graph, name: str) -> bool:
    return any(node.op == "param" and node.attribute("name") == name for node in graph.nodes)


def _below(graph: Graph, name: str) -> set[int]:
    """Places whose value depends on a parameter."""
    found: set[int] = set()
    for place, node in graph:
        own = node.op == "param" and node.attribute("name") == name
        if own or any(argument in found for argument in node.args):
            found.add(place)
    return found
