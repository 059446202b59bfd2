"""Parameters that nothing depends on: whatever value they get, every gradient and every advantage is the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from maspo_dsl.analysis.alone import Alone
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.midway import midway
from maspo_dsl.analysis.probes import Batch, batches, long_answers, tokens
from maspo_dsl.analysis.spec_lints import dead_parts
from maspo_dsl.analysis.trial import graph_of, rebound
from maspo_dsl.graph.elementwise import Array
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language import tree
from maspo_dsl.semantics.binding import BoundParameter, bind, number_text
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.terms import Term, walk

_OUTPUTS = ("loss", "advantage", "keep", "prompt", "step")
"""What a spec decides: of the loss, its gradients."""
_USUAL = (0.0, 0.05, 0.3, 3.0, 6.0, 20.0)
"""Values near what probabilities, ratios, advantages and lengths of the probes are."""
_FIRST = 4
"""How many values are tried on what takes little, before all are on everything."""
_REBUILT = 2
"""How many values are tried on an objective that is built anew for each."""
_REBUILT_MIDWAY = 3
"""As many where a search ends midway: a step far too long is one of them."""


def dead_parameter_findings(objective: ResolvedObjective, graph: Graph) -> Iterator[Finding]:
    """A warning for each parameter that moves nothing.

    It is tried on tokens, and then on batches, made to reach whatever a spec can say: log-ratios beyond their bound,
    tiny probabilities, large advantages, groups of every kind. Parameters of a part that is itself dead are passed
    over, and so is what only other parameters read.
    """
    names = _candidates(objective)
    if not names:
        return
    trials = _Trials(objective, graph)
    for name in names:
        bound = objective.parameters[name]
        allowed = (value for value in _alternatives(bound) if _allowed(objective, name, value))
        values = list(islice(allowed, _FIRST))
        if values and not (trials.moves_soon(name, values) or trials.moves(name, [*values, *allowed])):
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
    parts = objective.parts
    dead = set(dead_parts(objective))
    groups = {
        "reward": parts.rewards,
        "keep": parts.keeps,
        "weight": parts.weights,
        "mute": parts.mutes,
        "exclude": parts.excludes,
        "penalty": parts.penalties,
        "bonus": parts.bonuses,
    }
    roots = [parts.advantage, parts.ratio, parts.reduce, parts.prompt, parts.step]
    roots += [
        term for word, group in groups.items() for name, term in group.items() if (word, name) not in dead
    ]
    return [root for root in roots if root is not None]


def _ranges(objective: ResolvedObjective) -> set[str]:
    """Parameters that the range of a `least` reads."""
    searches = [term for term in walk(*_roots(objective)) if term.op == "least"]
    return _parameters_of([bound for search in searches for bound in search.args[1:]])


def _parameters_of(roots: Sequence[Term]) -> set[str]:
    return {str(term.attribute("name")) for term in walk(*roots) if term.op == "param"}


# ---- values to try


def _alternatives(bound: BoundParameter) -> list[float]:
    """Other values of a parameter: near, far away, the ends of its interval, and such as the probes have."""
    value, domain = bound.value, bound.declared.domain
    if isinstance(domain, tree.Choices):
        found = [number for choice in domain.values if (number := _number(choice)) is not None]
    else:
        scaled = [2 * value, value / 2, 1000 * value, value / 1000]
        found = [*scaled, *_ends(domain), value + 1, value - 1, *_USUAL]
    return [number for number in dict.fromkeys(found) if number != value]


def _ends(domain: tree.Interval | None) -> Iterator[float]:
    """The ends of an interval, or just inside."""
    if domain is None:
        return
    low, high = _number(domain.low), _number(domain.high)
    width = high - low if low is not None and high is not None else 1.0
    if low is not None:
        yield low if domain.low_closed else low + 1e-3 * width
    if high is not None:
        yield high if domain.high_closed else high - 1e-3 * width


def _number(node: tree.Expression) -> float | None:
    if isinstance(node, tree.Negate):
        inner = _number(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, tree.Number) else None


def _allowed(objective: ResolvedObjective, name: str, value: float) -> bool:
    report = Report()
    settings = objective.settings
    bind(objective.flat, {**settings.params, name: value}, settings.run, report)
    return not report.failed


# ---- trials

_STAGES: dict[str, Callable[[Graph, ResolvedObjective], Iterator[Interpretation]]] = {
    "alone": lambda graph, objective: iter([Alone(graph, tokens(objective))]),
    "batches": lambda graph, objective: (Interpretation(graph, batch) for batch in batches(objective)),
    "long": lambda graph, objective: (Interpretation(graph, batch) for batch in long_answers(objective)),
}
"""What parameters are tried on, from what takes least to what takes most."""


class _Trials:
    """Tries values of parameters on tokens alone, then on batches, then on the objective built anew."""

    def __init__(self, objective: ResolvedObjective, graph: Graph) -> None:
        self.objective = objective
        self.graph = graph
        self.ranges = _ranges(objective)
        self.runs: dict[tuple[int, str], list[_Run]] = {}

    @cached_property
    def unsimplified(self) -> Graph:
        """The graph in which a parameter of value 0 or 1 is a parameter still."""
        return graph_of(self.objective.parts)

    @cached_property
    def midway(self) -> list[Batch] | None:
        """Batches on which searches end midway, None where that is not known."""
        return midway(self.objective, self.unsimplified)

    def moves_soon(self, name: str, values: Sequence[float]) -> bool:
        """Whether one of a few values is seen to matter on what takes little."""
        graph = self._graph(name)
        return graph is not None and self._moves_graph(graph, name, values, ("alone", "batches"))

    def moves(self, name: str, values: Sequence[float]) -> bool:
        """Whether any of the values gives another gradient, advantage, choice of answers or of prompts, or step."""
        graph = self._graph(name)
        in_range = name in self.ranges
        if graph is None and not in_range:
            return True
        if graph is not None and self._moves_graph(graph, name, values, _STAGES):
            return True
        return self._moves_rebuilt(name, values) or (in_range and self._moves_search(name, values))

    def _moves_graph(self, graph: Graph, name: str, values: Sequence[float], stages: Iterable[str]) -> bool:
        """Whether another value moves the graph that it is a parameter of."""
        below = _below(graph, name)
        reached = [output for output in _OUTPUTS if graph.outputs.get(output) in below]
        for stage in stages:
            asked = _asked(stage, reached)
            runs = self._runs(graph, stage) if asked else []
            if any(
                run.differs(run.with_value(name, value, below), asked) for run in runs for value in values
            ):
                return True
        return False

    def _graph(self, name: str) -> Graph | None:
        """A graph that the parameter is one of."""
        if _has(self.graph, name):
            return self.graph
        return self.unsimplified if _has(self.unsimplified, name) else None

    def _runs(self, graph: Graph, stage: str) -> list[_Run]:
        key = (id(graph), stage)
        if key not in self.runs:
            self.runs[key] = [_Run(run) for run in _STAGES[stage](graph, self.objective)]
        return self.runs[key]

    def _moves_rebuilt(self, name: str, values: Sequence[float]) -> bool:
        """A value may be read before there is a graph: by the range of `least`, or as the default of another."""
        graph = self.unsimplified
        present = [output for output in _OUTPUTS if output in graph.outputs]
        for rebuilt in self._rebuilt(name, values):
            for stage in ("alone", "batches"):
                others = _STAGES[stage](rebuilt, self.objective)
                pairs = zip(self._runs(graph, stage), others, strict=True)
                if any(run.differs(other, _asked(stage, present)) for run, other in pairs):
                    return True
        return False

    def _moves_search(self, name: str, values: Sequence[float]) -> bool:
        """Whether another range gives anything else where a search ends midway; so it is held where none is seen to."""
        reached = self.midway
        if reached is None:
            return True
        runs = [_Run(Interpretation(self.unsimplified, batch)) for batch in reached]
        return any(
            run.differs(Interpretation(rebuilt, batch), ["loss"])
            for rebuilt in (self._rebuilt(name, values, _REBUILT_MIDWAY) if reached else ())
            for run, batch in zip(runs, reached, strict=True)
        )

    def _rebuilt(self, name: str, values: Sequence[float], count: int = _REBUILT) -> Iterator[Graph]:
        """The graphs of the objective with some other values."""
        allowed = (parts for value in values if (parts := rebound(self.objective, name, value)) is not None)
        for parts in islice(allowed, count):
            yield graph_of(parts)


def _asked(stage: str, outputs: Sequence[str]) -> list[str]:
    """The outputs that mean something at a stage: what comes before the advantage compares answers."""
    return [output for output in outputs if stage != "alone" or output == "loss"]


class _Run:
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

    def differs(self, other: Interpretation, outputs: Sequence[str]) -> bool:
        """Whether another evaluation gives anything else."""
        for output in outputs:
            if output not in self.found:
                self.found[output] = list(_results(self.interpretation, output))
            pairs = zip(self.found[output], _results(other, output), strict=True)
            if any(_unequal(one, then) for one, then in pairs):
                return True
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


def _results(run: Interpretation, output: str) -> Iterator[Array]:
    """An output, or of the loss its gradients, one after the other."""
    if output != "loss":
        yield np.asarray(run.output(output), dtype=float)
        return
    yield run.gradient("loss", "logp")
    if any(node.op == "input" and node.attribute("name") == "entropy" for node in run.graph.nodes):
        yield run.gradient("loss", "entropy")


def _unequal(one: Array, other: Array) -> bool:
    """Whether two results differ by more than rounding does, large numbers taken from each other included."""
    size = np.maximum(np.abs(one), np.abs(other))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(all="ignore"):
        close = np.abs(one - other) <= 1e-7 * size + 1e-13 * np.max(size[np.isfinite(size)], initial=0.0)
    return not bool(np.all(same | close))
