"""Values for the tensors of a batch, each drawn by its row: by what it can hold, and by the regime of the batch.

A regime says how far from each other policies are and how large other values get. Probes, `verify` and the tests draw
from here, so a quantity that is added to the table is drawn everywhere, as a spec's own input is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.semantics.domains import Values
from maspo_dsl.semantics.quantities import QUANTITIES, Domain, Quantity, other_policies
from maspo_dsl.semantics.types import Axis

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]
Shape: TypeAlias = tuple[int, ...]

# No log-prob of a realistic batch comes nearer to 0: nothing that is learned is certain.
CEILING = -1e-3
# Of whole numbers without end mostly so many are drawn, and some up to 2^10; of others all, if there are not too many.
_IDS, _MANY, _FAR_ID = 5, 1000, 10.0
# Nothing is said of an id: -1 is one that many hosts give to what has none.
_ANY_ID = Values(low=-1, low_closed=True)
# Share of numbers that are at a closed end of an interval, and of those that a spec compares with something.
_AT_AN_END, _COMPARED = 0.1, 0.3
# And of numbers of which a batch has one.
_COMPARED_ALONE = 0.6


@dataclass(frozen=True)
class Draw:
    """One tensor to draw: its row and shape, and the old policy's log-probs of the same tokens.

    `seed` decides everything: numbers come from streams that differ by tensor, and are the same on every machine.
    """

    row: Quantity
    shape: Shape
    seed: int
    old: Array

    def uniform(self, stream: str = "") -> Array:
        """Numbers of [0, 1); streams of different names are independent."""
        return uniform(f"{self.row.name}/{stream}", self.shape, self.seed)

    def between(self, low: float, high: float) -> Array:
        """Numbers spread evenly over an interval."""
        return low + (high - low) * self.uniform()

    def normal(self, stream: str = "") -> Array:
        """Standard normal numbers, two uniform ones each (Box-Muller)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(f"{stream} radius")))
        found: Array = radius * np.cos(2 * np.pi * self.uniform(f"{stream} angle"))
        return found

    def exponential(self, scale: float) -> Array:
        """Exponentially distributed numbers."""
        found: Array = -scale * np.log1p(-self.uniform())
        return found

    def of(self, values: Values, *, whole: bool) -> Array:
        """Numbers of those that an input may be; closed ends are drawn more often than what lies between."""
        chosen = self.uniform()
        if values.choices:
            picked: Array = np.array(values.choices)[np.floor(len(values.choices) * chosen).astype(int)]
            return picked
        if whole:
            low, high = values.whole
            first = low if np.isfinite(low) else min(high - _IDS + 1, -1.0)
            last = min(high, first + _IDS - 1) if high - first > _MANY else high
            near = np.floor(first + (last - first + 1) * chosen)
            far = np.minimum(first + np.floor(2 ** (_FAR_ID * self.uniform("size"))), high)
            return np.where(self.uniform("far") < _AT_AN_END, far, near) if last < high else near
        if np.isinf(values.low) and np.isinf(values.high):
            return self.normal()
        if np.isinf(values.low) or np.isinf(values.high):
            away = self.exponential(1.0) + 1e-3
            found = values.high - away if np.isinf(values.low) else values.low + away
        else:
            found = values.low + (values.high - values.low) * (1e-3 + 0.998 * chosen)
        end = self.uniform("end")
        found = np.where(values.low_closed & (end < _AT_AN_END), values.low, found)
        return np.where(values.high_closed & (end > 1 - _AT_AN_END), values.high, found)


Drawn: TypeAlias = Callable[[Draw], Array]


@dataclass(frozen=True)
class Regime:
    """What is drawn for each domain. `old` are log-probs of the old policy, from which other policies depart.

    `compared` has numbers by tensor: some of what is drawn for it is one of these, or next to one.
    """

    old: Drawn
    policy: Drawn
    nonnegative: Drawn
    probability: Drawn
    real: Drawn
    condition: Drawn
    given: Drawn
    compared: Mapping[str, Array] = field(default_factory=dict)

    def of(self, row: Quantity) -> Drawn | None:
        """What is drawn for a tensor; None for what gives a batch its form: the mask, and the rows of packed tokens."""
        usual, numbers = self._usual(row), self.compared.get(str(row.tensor))
        if usual is None or numbers is None:
            return usual
        return lambda draw: _with_compared(draw, usual(draw), numbers)

    def _usual(self, row: Quantity) -> Drawn | None:
        whole, values = row.domain is Domain.INTEGER, row.values
        if whole or values is not None:
            allowed = _ANY_ID if values is None else values
            return lambda draw: draw.of(allowed, whole=whole).astype(int if whole else float)
        known = {
            Domain.LOG_PROB: self.policy if row.name != "old" else lambda draw: draw.old,
            Domain.NONNEGATIVE: self.nonnegative,
            Domain.PROBABILITY: self.probability,
            Domain.REAL: self.real,
            Domain.CONDITION: self.condition,
            Domain.INPUT: self.given,
            Domain.INDEX: None
            if row.axis is Axis.TOKEN
            else lambda draw: np.floor(4 * draw.uniform()).astype(int),
        }
        return known.get(row.domain)


def _with_compared(draw: Draw, usual: Array, numbers: Array) -> Array:
    """What is drawn, some of it replaced by numbers that it is compared with, or a little more or less, if allowed."""
    row, whole = draw.row, draw.row.domain is Domain.INTEGER
    step = np.ones(len(numbers)) if whole else 0.01 * np.maximum(np.abs(numbers), 0.1)
    near = np.concatenate([numbers, numbers, numbers + step, numbers - step])
    fits = [(row.values is None or one in row.values) and (not whole or one == np.floor(one)) for one in near]
    near = near[np.array(fits)]
    if not len(near):
        return usual
    chosen = near[(len(near) * draw.uniform("near")).astype(int)].astype(usual.dtype)
    return np.where(draw.uniform("compared") < (_COMPARED if draw.shape else _COMPARED_ALONE), chosen, usual)


def on_policy(batch: Mapping[str, Array], tensors: Mapping[str, Quantity]) -> Arrays:
    """The batch with the policy being trained in the place of all others."""
    return {**batch, **{name: batch["logp"].copy() for name in other_policies(tensors)}}


def in_cells(batch: Mapping[str, Array], tensors: Mapping[str, Quantity]) -> Arrays:
    """The batch in which every value is in a cell of the spec's scopes: a negative id has no statistics to look at."""
    return {name: abs(value) if tensors[name].key else value for name, value in batch.items()}


def uniform(stream: str, shape: Shape, seed: int) -> Array:
    """Numbers of [0, 1) of a stream by name."""
    return np.random.default_rng([seed, crc32(stream.encode())]).random(shape)


def _realistic_policy(draw: Draw) -> Array:
    """Rows as far from the old policy as an update or a sampler leaves them: 3e-4, 0.05, 0.3 or 1 on average."""
    rows = draw.shape[0]
    order = np.argsort(uniform(f"{draw.row.name}/order", (rows,), draw.seed))
    scale = np.resize((3e-4, 0.05, 0.3, 1.0), rows)[order]
    apart = (scale * draw.normal().T).T
    return below_ceiling(draw.old + apart, draw.uniform("ceiling"))


def below_ceiling(logp: Array, uniform: Array) -> Array:
    """Log-probs, where they would be too near to 0 a little lower, and no two the same."""
    found: Array = np.where(logp > CEILING, CEILING * (1 + 29 * uniform), logp)
    return found


def _realistic_old(draw: Draw) -> Array:
    """Log-probs as a model has them, 15% of them of rare tokens."""
    rare = -6.5 - 4.5 * draw.uniform("rarity")
    return np.where(draw.uniform("rare") < 0.15, rare, -draw.exponential(1.2) - 0.01)


# As a training run has it.
REALISTIC = Regime(
    old=_realistic_old,
    policy=_realistic_policy,
    nonnegative=lambda draw: draw.exponential(0.8) + 0.02,
    probability=lambda draw: draw.between(0.05, 0.95),
    real=Draw.normal,
    condition=lambda draw: draw.uniform() < 0.3,
    given=lambda draw: draw.between(0.05, 0.95),
)


def drawn(
    regime: Regime,
    tensors: Mapping[str, Quantity],
    names: Iterable[str],
    tokens: Shape,
    rows: Shape,
    seed: int,
    one: Shape = (),
) -> Arrays:
    """The tensors of these names: of tokens in the one shape, of sequences in the other; numbers in the shape `one`."""
    shapes = {Axis.TOKEN: tokens, Axis.SEQUENCE: rows, Axis.SCALAR: one}
    old = regime.old(Draw(QUANTITIES["old"], tokens, seed, np.zeros(tokens)))
    batch = {}
    for name in names:
        row = tensors[name]
        draw = regime.of(row)
        if draw is not None:
            batch[name] = draw(Draw(row, shapes[row.axis], seed, old))
    return batch
