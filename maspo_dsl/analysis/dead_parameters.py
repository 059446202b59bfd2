"""Parameters that nothing depends on: whatever value they get, every gradient and every advantage is the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from maspo_dsl.analysis.alternatives import alternatives, values_with
from maspo_dsl.analysis.baseline import EVERYWHERE, SOON, Baseline, Trial, asked, decided
from maspo_dsl.analysis.drawing import Arrays
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.midway import midway
from maspo_dsl.analysis.spec_lints import dead_parts
from maspo_dsl.analysis.thresholds import beyond
from maspo_dsl.analysis.trial import graph_of, rebound
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.quantities import TENSORS
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.terms import Term, walk

_OF_TOKENS = frozenset(
    {*(name for name, row in TENSORS.items() if row.policy), "advantage", "advantage_rows"}
)
_FIRST = 4
"""How many values are tried on what takes little, before all are on everything."""
_REBUILT = 2
"""How many values are tried on an objective that is built anew for each."""
_REBUILT_MIDWAY = 3
"""As many where a search ends midway: a step far too long is one of them."""

_ELSEWHERE = 6
"""On how many batches a parameter is tried beside another value of another one."""


def dead_parameters(
    objective: ResolvedObjective, graph: Graph, baseline: Baseline
) -> Iterator[tuple[str, list[float]]]:
    """Each parameter that moves nothing, with some other values that it was given.

    It is tried on tokens, and then on batches, made to reach whatever a spec can say: log-ratios beyond their bound,
    tiny probabilities, large advantages, groups of every kind. Parameters of a part that is itself dead are passed
    over, and so is what only other parameters read. Nothing is said of what was not reached, nor of a parameter that
    matters once another one of its part has another value; that takes longest, and is not asked where the spec
    allows the warning.
    """
    names = _candidates(objective)
    allowed_here = "dead-parameter" in objective.flat.allows
    if not names:
        return
    trials = _Trials(objective, graph, baseline)
    for name in names:
        allowed = alternatives(objective, name)
        values = list(islice(allowed, _FIRST))
        if not values or trials.moves_soon(name, values) or trials.moves(name, [*values, *allowed]):
            continue
        if allowed_here or not (trials.not_reached(name) or trials.moves_elsewhere(name, values)):
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
        if graph is not None and self._moves_graph(graph, name, values, EVERYWHERE):
            return True
        return self._moves_rebuilt(name, values) or (in_range and self._moves_search(name, values))

    def not_reached(self, name: str) -> bool:
        """Whether it is read where nothing that was tried gets: by more than is counted, or on a side never taken.

        What decides on such a side is no policy alone: of those every relation is tried.
        """
        if any(name in _parameters_of([root]) and beyond(root) for root in _roots(self.objective)):
            return True
        graph = self.baseline.graph
        below = _below(graph, name)
        for place, sides in self._sides.items():
            condition, then, otherwise = graph.nodes[place].args
            hidden = {side for side, branch in ((True, then), (False, otherwise)) if branch in below}
            if len(sides) < 2 and (condition in below or hidden - sides) and _of_batches(graph, condition):
                return True
        return False

    @cached_property
    def _sides(self) -> dict[int, set[bool]]:
        """The sides of each choice that anything tried has taken."""
        graph, found = self.baseline.graph, defaultdict[int, set[bool]](set)
        choices = [place for place, node in graph if node.op == "select" and not graph.candidates[place]]
        for stage in EVERYWHERE:
            for trial in self.baseline.trials(graph, stage):
                for place in choices:
                    condition = trial.interpretation.values.get(graph.nodes[place].args[0])
                    if condition is not None:
                        found[place] |= {bool(side) for side in np.unique(condition)}
        return found

    def moves_elsewhere(self, name: str, values: Sequence[float]) -> bool:
        """Whether it matters where another parameter that it stands beside has another value."""
        graph = self.baseline.graph
        beside = {
            other
            for root in _roots(self.objective)
            if name in (read := _parameters_of([root]))
            for other in read - {name}
        }
        for other in sorted(beside):
            for elsewhere in islice(alternatives(self.objective, other), _FIRST):
                params = values_with(self.objective, other, elsewhere) or {}
                if self._moves_with(graph, name, values[:_REBUILT], params):
                    return True
        return False

    def _moves_with(self, graph: Graph, name: str, values: Sequence[float], params: dict[str, float]) -> bool:
        """Whether another value matters on what takes little, with values of all parameters."""
        below = _below(graph, name)
        for stage in SOON:
            outputs = asked(stage, decided(graph))
            for trial in islice(self.baseline.trials(graph, stage, params), _ELSEWHERE):
                if any(trial.differs(trial.with_value(name, value, below), outputs) for value in values):
                    return True
        return False

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


def _of_batches(graph: Graph, place: int) -> bool:
    """Whether a value has to do with more than policies and advantages of single tokens."""
    found, seen = [place], set[int]()
    while found:
        place = found.pop()
        node = graph.nodes[place]
        name = str(node.attribute("name")) if node.op == "input" else ""
        if node.op in REDUCTIONS or (name and name not in _OF_TOKENS):
            return True
        found += [argument for argument in node.args if argument not in seen]
        seen.update(node.args)
    return False


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
