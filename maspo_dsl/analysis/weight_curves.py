"""How an objective weighs the gradient of a token, as curves to be drawn: over the ratio, over `old`, and over A.

They come from the graph by differentiation, so they are right for whatever a spec says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from maspo_dsl.analysis.coupling import coupling
from maspo_dsl.analysis.response import Points, gradient_weight
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.quantities import Quantity
from maspo_dsl.semantics.types import Kind

OLDS = (0.9, 0.5, 0.1, 0.01, 0.001)
"""Probabilities of a token under the old policy for which a curve over the ratio is made."""
ENTROPY = 1.0
"""Entropy of the policy, in nats, unless told: about that of a choice among three tokens."""
MOVED = 1.5
"""Where the policy has gone on curves over `old` and A: to this ratio of good tokens, its inverse of bad ones."""
STEPS = 80
"""Points of a curve on either side of ratio 1."""
_REACH, _LEAST_OLD, _ADVANTAGE = 2.0, 1e-4, 3.0
_ENTROPIES = (0.1, 3.0)
_SAME = 1e-6
RATIO, OLD, ADVANTAGE = "ratio", "old", "A"
_REACHES = {
    "sequence": "each token is a completion of its own",
    "batch": "each token is a completion, a group and a window of its own",
}


@dataclass(frozen=True)
class Curve:
    """Gradient weights along one coordinate, the others being `at`; NaN where the policy would be more probable than 1.

    Coordinates are `ratio` (policy / old), `old` and `A`.
    """

    along: str
    places: tuple[float, ...]
    at: Mapping[str, float]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class WeightCurves:
    """The curves of an objective: none if `why` says in a sentence why there are none.

    `matters` are those of `old`, `A` and `entropy` that change the weight over the advantage at some ratio. `notes`
    say what the curves leave out.
    """

    name: str
    curves: tuple[Curve, ...] = ()
    matters: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    why: str = ""

    def along(self, coordinate: str, **at: float) -> tuple[Curve, ...]:
        """The curves along a coordinate with some of the others at given places."""
        return tuple(
            curve
            for curve in self.curves
            if curve.along == coordinate and all(curve.at[name] == place for name, place in at.items())
        )


@dataclass(frozen=True)
class _Tokens:
    """What tokens are alike in: the graph they are weighed by, and values of the spec's own inputs."""

    graph: Graph
    own: Mapping[str, float] = field(default_factory=dict)

    def curve(self, along: str, places: Sequence[float], entropy: float = ENTROPY, **at: float) -> Curve:
        """The curve along a coordinate, all others fixed."""
        size = len(places)
        columns = {name: np.full(size, value) for name, value in at.items()} | {along: np.array(places)}
        points = Points(columns[RATIO], columns[ADVANTAGE], columns[OLD], np.full(size, entropy))
        own = {name: np.full(size, value) for name, value in self.own.items()}
        weights = gradient_weight(self.graph, points, own=own).tolist()
        return Curve(along, tuple(places), at, tuple(weights))


def weight_curves(
    objective: ResolvedObjective, graph: Graph, *, olds: Sequence[float] = OLDS, steps: int = STEPS
) -> WeightCurves:
    """The curves of an objective and its graph; `steps` is how many points there are on either side of ratio 1.

    Over the ratio: one for A = 1 and A = -1 each, for each of `olds`. Over `old`, and over A at `old` = 0.1: one for
    A > 0 at ratio 1.5, one for A < 0 at 1 / 1.5. Of the spec's own inputs each is 1, or a value that it may have;
    its conditions hold, unless no token has a weight then.
    """
    if not objective.parts.of(Role.RATIO) or "policy_term" not in graph.outputs:
        why = f"{objective.name} has no policy term, so no ratio weighs its gradient."
        return WeightCurves(objective.name, why=why)
    for holds in (True, False):
        own = _own_values(objective, holds)
        tokens = _Tokens(graph, own)
        curves = (
            *_over_ratio(tokens, olds, steps),
            *_over_old(tokens, steps),
            *_over_advantage(tokens, steps),
        )
        if pushes := any(weight for curve in curves for weight in curve.weights if math.isfinite(weight)):
            break
    if not pushes:
        why = f"A token that is alone in its window gets no gradient from {objective.name}."
        return WeightCurves(objective.name, why=why)
    matters = frozenset(_matters(tokens))
    return WeightCurves(objective.name, curves, matters, tuple(_notes(objective, graph, own, matters)))


def _own_values(objective: ResolvedObjective, holds: bool) -> dict[str, float]:
    """What the spec's own inputs are: 1, or what they may be; conditions `holds`, memories what they begin with."""
    given = {name: _own_value(row, holds) for name, row in objective.own.items()}
    return given | {memory.name: memory.start for memory in objective.memories.values()}


def _own_value(row: Quantity, holds: bool) -> float:
    if row.kind is Kind.BOOL:
        return holds
    return 1.0 if row.values is None or 1.0 in row.values else row.values.typical


def _over_ratio(tokens: _Tokens, olds: Sequence[float], steps: int) -> list[Curve]:
    ratios = [math.exp(_REACH * step / steps) for step in range(-steps, steps + 1)]
    return [tokens.curve(RATIO, ratios, A=sign, old=old) for sign, old in product((1.0, -1.0), olds)]


def _over_old(tokens: _Tokens, steps: int) -> list[Curve]:
    olds = [math.exp(math.log(_LEAST_OLD) * (1 - step / (2 * steps))) for step in range(2 * steps + 1)]
    return [tokens.curve(OLD, olds, A=sign, ratio=MOVED**sign) for sign in (1.0, -1.0)]


def _over_advantage(tokens: _Tokens, steps: int) -> list[Curve]:
    # Not 0: there the weight is nothing, whatever the objective.
    sizes = [_ADVANTAGE * (step + 0.5) / steps for step in range(steps)]
    return [
        tokens.curve(ADVANTAGE, [sign * size for size in sizes], ratio=MOVED**sign, old=0.1)
        for sign in (1.0, -1.0)
    ]


def _matters(tokens: _Tokens) -> list[str]:
    """What of a token, beside its ratio, changes its weight over its advantage."""
    ratios = [math.exp(step / 10) for step in range(-15, 16)]

    def relative(sign: float, size: float, old: float, entropy: float) -> list[float]:
        curve = tokens.curve(RATIO, ratios, entropy, A=sign * size, old=old)
        return [weight / (sign * size) for weight in curve.weights]

    changed = {
        OLD: [{"old": 0.1}, {"old": 0.001}],
        ADVANTAGE: [{"size": 0.3}, {"size": 3.0}],
        "entropy": [{"entropy": entropy} for entropy in _ENTROPIES],
    }
    usual = {"size": 1.0, "old": 0.1, "entropy": ENTROPY}
    found = []
    for name, changes in changed.items():
        for sign in (1.0, -1.0):
            base = relative(sign, **usual)
            others = [relative(sign, **{**usual, **change}) for change in changes]
            if not all(_alike(one, other) for each in others for one, other in zip(base, each, strict=True)):
                found.append(name)
    return found


def _alike(one: float, other: float) -> bool:
    """Whether two weights are the same; where one cannot be, it is not asked."""
    unknown = math.isnan(one) or math.isnan(other)
    return unknown or abs(one - other) <= _SAME * max(1.0, abs(one))


def _said(value: float) -> str:
    if isinstance(value, bool):
        return "holds" if value else "does not hold"
    return f"is {value:g}"


def _notes(
    objective: ResolvedObjective, graph: Graph, own: Mapping[str, float], matters: frozenset[str]
) -> list[str]:
    found = []
    if (alone := _REACHES.get(coupling(graph).reach.word)) is not None:
        found.append(alone)
    if "entropy" in matters:
        found.append(f"the entropy is {ENTROPY:g}")
    found += [f"{name} {_said(value)}" for name, value in own.items()]
    read = graph.inputs(["policy_loss"])
    others = [
        name
        for name, row in objective.tensors.items()
        if row.policy and not row.live and name != "logp_old" and name in read
    ]
    if others:
        found.append("every other policy is the old one")
    return found
