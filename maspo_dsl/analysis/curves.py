"""What the gradient weight does as the ratio moves: turns against the advantage, grows without bound, is off at 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.analysis.drawing import REALISTIC, Arrays, drawn, in_cells
from maspo_dsl.analysis.response import Points, gradient_weight, grid
from maspo_dsl.analysis.single_token import Numbers
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.quantities import Quantity

# Log-ratios from 0 to the compiler's bound of 20, close together where policies differ in practice.
_STEPS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 19.5)
RATIOS: Numbers = np.exp(np.array([*(-step for step in reversed(_STEPS)), 0.0, *_STEPS]))
ONE = len(_STEPS)
"""The place of ratio 1 on a curve."""
_ADVANTAGES = (1.0, -1.0, 0.3, -0.3, 4.0, -4.0)
# A ratio of e^19.5 is possible only for a token that was as improbable as the last.
_OLDS = (0.9, 0.5, 0.1, 0.01, 1e-4, 1e-9)
_ENTROPIES = (0.1, 2.0)
_MIDDLE, _FAR = _STEPS.index(16), _STEPS.index(19.5)
_FINE: Numbers = np.concatenate([np.arange(0.0005, 3.0, 0.0005), np.arange(3.0, 19.5, 0.01)])
"""Log-ratios at which narrow bands are looked for: no band near 1 is narrower than two steps and unseen."""
_NOTHING = 1e-6
"""A weight is nothing if it is less than this, against that at ratio 1."""
_SHOWN = 1000.0
"""The ratio, or its inverse, at which a message shows how large a weight has become."""


@dataclass(frozen=True)
class Side:
    """Where the policy has moved: for good or bad tokens, and whether their ratio is above or below 1."""

    sign: int
    above: bool

    @property
    def advantage(self) -> str:
        """The sign of the advantage in words."""
        return "A > 0" if self.sign > 0 else "A < 0"


SIDES = tuple(Side(sign, above) for sign in (1, -1) for above in (True, False))


def short_number(value: float) -> str:
    """A number to three digits, without an exponent where that is short: 1.62, 1000, 1e-09."""
    return f"{float(f'{value:.3g}') + 0.0:g}"


@dataclass(frozen=True)
class ExampleToken:
    """A token that shows something, its weight in units of its advantage, and which circumstances matter for it."""

    ratio: float
    advantage: float
    old: float
    entropy: float
    weight: float
    matters: tuple[str, ...] = ()

    @property
    def circumstances(self) -> str:
        """` with old = 0.9`, or nothing where it is the same for all tokens."""
        names = {"A": self.advantage, "old": self.old, "entropy": self.entropy}
        said = [f"{name} = {short_number(names[name])}" for name in self.matters]
        return f" with {' and '.join(said)}" if said else ""


class Curves:
    """Gradient weights of a graph over all ratios, for several advantages, old probabilities and entropies."""

    def __init__(self, graph: Graph, own: Mapping[str, Quantity] = MappingProxyType({})) -> None:
        """`own` are the rows of the spec's own inputs."""
        self.graph = graph
        self.own = own
        self.points = grid(RATIOS.tolist(), _ADVANTAGES, _OLDS, _ENTROPIES)

    @cached_property
    def relative(self) -> Numbers:
        """Weight over advantage, `[curve, ratio]`; NaN where the token would be more probable than 1."""
        weight = gradient_weight(self.graph, self.points) / self.points.advantage
        return weight.reshape(-1, len(RATIOS))

    def turns(self) -> dict[Side, ExampleToken]:
        """Where the weight first has the other sign than at ratio 1, by side."""
        return {side: found for side in SIDES if (found := self._turn(side)) is not None}

    def unbounded(self) -> dict[Side, ExampleToken]:
        """Sides on which the weight still grows at the end of all ratios, each with what it has become at 1000."""
        return {side: found for side in SIDES if (found := self._growth(side)) is not None}

    def off_at_one(self) -> ExampleToken | None:
        """A token at ratio 1 whose weight is not its advantage, the one that is farthest off.

        The spec's own inputs are 1 at first, and then such as it says, of every size that it allows.
        """
        return self._off(self._at_one({})) or (self._off(self._at_one(self._drawn())) if self.own else None)

    def _off(self, at_one: Numbers) -> ExampleToken | None:
        error = np.where(np.isfinite(at_one), np.abs(at_one - 1), 0.0)
        worst = int(np.argmax(error))
        if error[worst] <= 1e-6:
            return None
        return self._example(worst, ONE, float(at_one[worst]), at_one)

    def _at_one(self, own: Arrays) -> Numbers:
        """Weight over advantage at ratio 1, one a curve; takes no more than that."""
        points = grid([1.0], _ADVANTAGES, _OLDS, _ENTROPIES)
        return gradient_weight(self.graph, points, own=own) / points.advantage

    def _drawn(self) -> Arrays:
        """Values of the spec's own inputs, one a curve."""
        each = (len(_ADVANTAGES) * len(_OLDS) * len(_ENTROPIES),)
        return in_cells(drawn(REALISTIC, self.own, self.own, each, each, 0, each), self.own)

    # ---- turning

    def _turn(self, side: Side) -> ExampleToken | None:
        outward = self._outward(side)
        start = outward[:, :1]
        with np.errstate(invalid="ignore"):
            turned = outward * np.sign(start) < -_NOTHING * np.abs(start)
        turned[~self._curves(side)] = False
        if not turned.any():
            return self._narrow_turn(side)
        first = np.where(turned.any(axis=1), np.argmax(turned, axis=1), len(_STEPS) + 1)
        curve = int(np.argmin(first))
        place = ONE + int(first[curve]) * (1 if side.above else -1)
        found = self._example(curve, place, float(self.relative[curve, place]), first, self._curves(side))
        turns = replace(found, ratio=self._turning_ratio(found, side, float(start[curve, 0])))
        narrow = self._narrow_turn(side)
        nearer = narrow is not None and abs(np.log(narrow.ratio)) < abs(np.log(turns.ratio)) - 1e-6
        return narrow if nearer else turns

    def _narrow_turn(self, side: Side) -> ExampleToken | None:
        """The same for bands between the ratios of the grid: where the gradient is looked at closely."""
        curves = [int(np.argmax(self._columns()["A"] == advantage)) for advantage in _ADVANTAGES[:2]]
        found: list[ExampleToken] = []
        for curve in curves:
            columns = {name: float(column[curve]) for name, column in self._columns().items()}
            if np.sign(columns["A"]) != side.sign:
                continue
            old = 1e-9 if side.above else columns["old"]
            like = ExampleToken(1.0, columns["A"], old, columns["entropy"], 0.0)
            start = float(self._at(np.array([1.0]), like)[0])
            logs = _FINE if side.above else -_FINE
            turned = self._at(np.exp(logs), like) * np.sign(start) < -_NOTHING * abs(start)
            if turned.any():
                place = int(np.argmax(turned))
                found.append(
                    self._closer(like, float(logs[place - 1]) if place else 0.0, float(logs[place]), start)
                )
        return min(found, key=lambda example: abs(np.log(example.ratio)), default=None)

    def _closer(self, like: ExampleToken, begin: float, end: float, start: float) -> ExampleToken:
        """Between a log-ratio before a turn and one behind it, by bisection."""
        for _ in range(40):
            middle = (begin + end) / 2
            behind = float(self._at(np.exp(np.array([middle])), like)[0]) * np.sign(start) < 0
            begin, end = (begin, middle) if behind else (middle, end)
        ratio = np.exp(np.array([end]))
        return replace(like, ratio=float(ratio[0]), weight=float(self._at(ratio, like)[0]))

    def _turning_ratio(self, found: ExampleToken, side: Side, start: float) -> float:
        """Where between two ratios of the grid the sign changes, by bisection into 32 pieces at a time."""
        step = 1 if side.above else -1
        end = np.log(found.ratio)
        begin = np.log(RATIOS[int(np.argmin(np.abs(RATIOS - found.ratio))) - step])
        for _ in range(9):
            logs = np.linspace(begin, end, 33)
            turned = self._at(np.exp(logs), found) * np.sign(start) < 0
            turned[-1] = True
            index = int(np.argmax(turned))
            begin, end = logs[max(index - 1, 0)], logs[index]
        return float(np.exp(end))

    # ---- growing

    def _growth(self, side: Side) -> ExampleToken | None:
        outward = np.abs(self._outward(side))
        middle, far = outward[:, 1 + _MIDDLE], outward[:, 1 + _FAR]
        with np.errstate(invalid="ignore"):
            grows = (far > 1.1 * middle) & (far > 1.1 * self._as_probable(side)) & self._curves(side)
        if not grows.any():
            return None
        curve = int(np.argmax(grows))
        place = ONE + (1 + _FAR) * (1 if side.above else -1)
        found = self._example(curve, place, 0.0, grows, self._curves(side))
        ratio = _SHOWN if side.above else 1 / _SHOWN
        weight = float(self._at(np.array([ratio]), found)[0])
        return replace(found, ratio=ratio, weight=weight)

    def _as_probable(self, side: Side) -> Numbers:
        """Size of the weight nearer to ratio 1, one a curve, of a token as probable now as the one at the end.

        Where this is the same, it is the probability that the weight grows with, and that ends at 1.
        """
        middle, far = (_STEPS[place] * (1 if side.above else -1) for place in (_MIDDLE, _FAR))
        columns = self._columns()
        old = columns["old"] * np.exp(far - middle)
        ratio = np.full(len(old), np.exp(middle))
        points = Points(ratio, columns["A"], np.minimum(old, 1.0), columns["entropy"])
        return np.abs(gradient_weight(self.graph, points) / points.advantage)

    # ---- curves

    def _curves(self, side: Side) -> NDArray[np.bool_]:
        """Which curves are of a side's sign."""
        return np.asarray(np.sign(self._columns()["A"]) == side.sign)

    def _outward(self, side: Side) -> Numbers:
        """Weights from ratio 1 on, away from it."""
        return self.relative[:, ONE:] if side.above else self.relative[:, ONE::-1]

    def _at(self, ratios: Numbers, like: ExampleToken) -> Numbers:
        """Weights over advantage at other ratios, all else as in an example."""
        given = (np.full(len(ratios), value) for value in (like.advantage, like.old, like.entropy))
        points = Points(ratios, *given)
        return gradient_weight(self.graph, points) / points.advantage

    def _example(
        self,
        curve: int,
        place: int,
        weight: float,
        outcome: NDArray[Any],
        among: NDArray[np.bool_] | bool = True,
    ) -> ExampleToken:
        """The token of a curve at a ratio; what matters for it is what `outcome`, one a curve, changes with.

        Only curves among some, and with a token at that ratio, are asked.
        """
        index = curve * len(RATIOS) + place
        points = self.points
        advantage, old, entropy = (
            float(axis[index]) for axis in (points.advantage, points.old, points.entropy)
        )
        asked = self.points.possible.reshape(-1, len(RATIOS))[:, place] & among
        matters = tuple(self._matters(curve, outcome, asked))
        return ExampleToken(float(RATIOS[place]), advantage, old, entropy, weight, matters)

    def _matters(self, curve: int, outcome: NDArray[Any], among: NDArray[np.bool_]) -> Iterator[str]:
        columns = self._columns()
        for name in columns:
            alike = among.copy()
            for other, column in columns.items():
                if other != name:
                    alike &= column == column[curve]
            if not np.allclose(outcome[alike], outcome[curve], rtol=1e-6, atol=0, equal_nan=True):
                yield name

    def _columns(self) -> dict[str, Numbers]:
        """What each curve is of."""
        axes = {"A": self.points.advantage, "old": self.points.old, "entropy": self.points.entropy}
        return {name: axis.reshape(-1, len(RATIOS))[:, 0] for name, axis in axes.items()}
