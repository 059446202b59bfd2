"""Parameters of an objective for which it weighs tokens as another loss does, searched on the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.comparison.probes import curve
from maspo_dsl.comparison.sides import ComparedLoss
from maspo_dsl.graph.build import build
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.expression_text import format_domain
from maspo_dsl.objective import Objective, load

EXACT = 1e-6
_SWEEPS = 3
# A parameter at which nothing is left of its part, and those of sources that name none of their own.
_COMMON = (0.0, 0.2, 1.0, 1e4)
_GRID = np.concatenate([-np.geomspace(4, 1e-4, 120), np.geomspace(1e-4, 4, 120)])
_NEAR = (-0.02, -1e-3, -1e-4, 1e-4, 1e-3, 0.02)
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class MatchTarget:
    """A loss to be matched: batches, its gradients on them, and ratios at which its gradient weight breaks off."""

    batches: tuple[Arrays, ...]
    gradients: tuple[dict[str, Array], ...]
    breaks: tuple[float, ...]


@dataclass(frozen=True)
class Fit:
    """An objective with values of the parameters that its loss reads, and how far its gradients are from a target."""

    objective: Objective
    params: Mapping[str, float]
    distance: float

    @property
    def exact(self) -> bool:
        """Whether nothing is left."""
        return self.distance <= EXACT

    @cached_property
    def outside(self) -> dict[str, str]:
        """The domains that do not have the values, by parameter."""
        found = {}
        for name, value in self.changed.items():
            try:
                load(self.objective, {name: value})
            except SpecError:
                domain = self.objective.resolved.parameters[name].declared.domain
                found[name] = format_domain(domain) if domain is not None else ""
        return found

    @property
    def changed(self) -> dict[str, float]:
        """The parameters that have another value than the objective ships with."""
        return {name: value for name, value in self.params.items() if value != self.objective.params[name]}


def target_of(side: ComparedLoss, batch: Arrays) -> MatchTarget:
    """What is to be matched: on a batch, and on tokens alone, close to where the weight breaks off. Raises
    NotComparableError.
    """
    breaks = tuple(_breaks(side))
    near = np.log([ratio * (1 + apart) for ratio in breaks for apart in _NEAR])
    at = np.concatenate([_GRID[::6], near])
    alone = curve(np.tile(at, 2), np.repeat([1.3, -0.7], len(at)))
    gradients = tuple(side.evaluate([one]).derived for one in (alone, batch))
    return MatchTarget((alone, batch), gradients, breaks)


# ---- where the gradient weight breaks off


def _breaks(side: ComparedLoss) -> Iterator[float]:
    """Ratios at which the weight of a good, or of a bad, token jumps or bends."""
    for advantage in (1.0, -1.0):
        at, weight = _GRID, _weights(side, _GRID, advantage)
        for place in _corners(at, weight):
            yield _located(side, advantage, at[place - 2], at[place + 2])


def _weights(side: ComparedLoss, log_ratios: Array, advantage: float) -> Array:
    batch = curve(log_ratios, np.full(len(log_ratios), advantage))
    found = side.evaluate([batch]).gradients["logp"][:, 0]
    return np.asarray(-found * len(log_ratios) / advantage)


def _corners(at: Array, weight: Array) -> list[int]:
    """Places where the slope of the weight over the ratio changes at once, the middle of each."""
    slope = np.diff(weight) / np.diff(np.exp(at))
    turn = np.abs(np.diff(slope)) / (np.abs(slope[1:]) + np.abs(slope[:-1]) + 1e-9)
    usual = np.array([np.median(turn[max(0, i - 6) : i + 7]) for i in range(len(turn))])
    sharp = np.flatnonzero((turn > 0.15) & (turn > 6 * usual)) + 1
    kept = [int(place) for place in sharp if 2 <= place < len(at) - 2]
    return [place for number, place in enumerate(kept) if number == 0 or place - kept[number - 1] > 2]


def _located(side: ComparedLoss, advantage: float, low: float, high: float) -> float:
    """The ratio of the corner between two log-ratios, by looking closer until there is nothing between."""
    for _ in range(9):
        at = np.linspace(low, high, 17)
        weight = _weights(side, at, advantage)
        bend = np.abs(np.diff(np.diff(weight) / np.diff(np.exp(at))))
        place = int(np.argmax(bend)) + 1
        low, high = at[max(place - 2, 0)], at[min(place + 2, 16)]
    return float(np.exp((low + high) / 2))


# ---- the search


def fitted(fit: Fit, target: MatchTarget, *, between: bool) -> Fit:
    """The objective with its parameters moved, one after the other, so that it is nearer to the target.

    Tried are values that sources have and those that the breaks suggest; with `between` also what lies between them.
    """
    return _ParameterSearch(fit.objective, target).run(fit, between)


def as_shipped(objective: Objective, target: MatchTarget) -> Fit:
    """The objective as it is."""
    search = _ParameterSearch(objective, target)
    return search.fit(search.start)


class _ParameterSearch:
    """A descent along one parameter after the other, over values that sources have and those that breaks suggest."""

    def __init__(self, objective: Objective, target: MatchTarget) -> None:
        self.objective = objective
        self.target = target
        # Before any pass: a parameter of value 0 or 1 is still one.
        self.graph = build(objective.resolved.parts)
        names = _parameters(self.graph)
        self.start = {name: value for name, value in objective.params.items() if name in names}

    def fit(self, params: Mapping[str, float], enough: float = np.inf) -> Fit:
        return Fit(self.objective, dict(params), self.distance(params, enough))

    def run(self, best: Fit, between: bool) -> Fit:
        for _ in range(_SWEEPS if between else 1):
            before = best.distance
            for name in self.start:
                if best.exact:
                    return self._with_fewer_changes(best)
                best = self._along(best, name, between)
            if best.distance > 0.99 * before:
                break
        return self._with_fewer_changes(best)

    def _along(self, best: Fit, name: str, between: bool) -> Fit:
        """The nearest along one parameter: among candidates, then between the neighbours of the nearest."""
        values = sorted({*self._candidates(name), best.params[name]})
        found = self.fit(best.params)
        for value in values:
            fit = self.fit({**best.params, name: value}, found.distance)
            found = min(found, fit, key=lambda fit: (max(fit.distance, EXACT), len(repr(fit.params[name]))))
        if found.exact or not between or not found.distance < np.inf:
            return found
        place = values.index(found.params[name])
        low, high = values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)]
        refined = self._between(found, name, low, high)
        return refined if refined.distance < found.distance else found

    def _between(self, fit: Fit, name: str, low: float, high: float) -> Fit:
        """Golden section search; the simplest number near what it finds, if that is as near."""
        left, right = float(high - _GOLDEN * (high - low)), float(low + _GOLDEN * (high - low))
        of_left, of_right = (self.fit({**fit.params, name: value}) for value in (left, right))
        for _ in range(36):
            if of_left.distance <= of_right.distance:
                high, right, of_right = right, left, of_left
                left = high - _GOLDEN * (high - low)
                of_left = self.fit({**fit.params, name: left})
            else:
                low, left, of_left = left, right, of_right
                right = low + _GOLDEN * (high - low)
                of_right = self.fit({**fit.params, name: right})
        nearest = min(of_left, of_right, key=lambda one: one.distance)
        simple = [self.fit({**fit.params, name: value}) for value in _simple(nearest.params[name])]
        return next((one for one in simple if one.distance <= nearest.distance + 1e-9), nearest)

    def _candidates(self, name: str) -> Iterator[float]:
        start = self.start[name]
        yield from _COMMON
        yield from start * np.geomspace(0.1, 10, 7) if start else np.geomspace(1e-3, 10, 7)
        for ratio in self.target.breaks:
            for value in (ratio, ratio - 1, 1 - ratio, np.log(ratio), -np.log(ratio)):
                if value > 0:
                    yield from _simple(float(value))
        yield from self._scaled(start)

    def _scaled(self, start: float) -> Iterator[float]:
        """Values that a constant in the denominator has if everything is so many times larger."""
        ours = self._gradients(self.target.batches[0], self.start)["logp"]
        factor = np.abs(self.target.gradients[0]["logp"]).sum() / max(np.abs(ours).sum(), 1e-12)
        if start and factor > 0:
            yield from _simple(float(start / factor))

    def _with_fewer_changes(self, fit: Fit) -> Fit:
        """The fit with each parameter back where it was, if that is as near."""
        for name, value in fit.changed.items():
            back = self.fit({**fit.params, name: self.start[name]})
            if back.distance <= max(fit.distance, EXACT) and value != self.start[name]:
                fit = back
        return fit

    def distance(self, params: Mapping[str, float], enough: float = np.inf) -> float:
        """The root mean square of the differences of gradients, of that of the gradients; the worst of the batches.

        Once it is more than `enough`, no further batch is looked at.
        """
        with np.errstate(all="ignore"):
            try:
                return self._distance(params, enough)
            except (ValueError, IndexError, OverflowError):
                # A value that no domain has, such as a quantile above 1.
                return np.inf

    def _distance(self, params: Mapping[str, float], enough: float) -> float:
        worst = 0.0
        for batch, wanted in zip(self.target.batches, self.target.gradients, strict=True):
            found = self._gradients(batch, params)
            gap = sum(float(((found[name] - value) ** 2).sum()) for name, value in wanted.items())
            size = sum(float((value**2).sum()) for value in wanted.values())
            apart = float(np.sqrt(gap / max(size, 1e-300)))
            worst = max(worst, apart) if np.isfinite(apart) else np.inf
            if worst > max(enough, EXACT):
                break
        return worst

    def _gradients(self, batch: Arrays, params: Mapping[str, float]) -> dict[str, Array]:
        found = Interpretation(self.graph, batch, params=params)
        return {name: found.gradient("loss", name) for name in self.target.gradients[0]}


def _parameters(graph: Graph) -> frozenset[str]:
    """Parameters that the loss reads."""
    nodes = (graph.nodes[place] for place in graph.reachable(["loss"]))
    return frozenset(str(node.attribute("name")) for node in nodes if node.op == "param")


def _simple(value: float) -> Iterator[float]:
    """A number rounded to few digits first, then as it is."""
    for digits in (1, 2, 3, 4, 5):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded - value) <= 2e-4 * abs(value):
            yield rounded
            break
    yield value
