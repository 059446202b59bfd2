"""Tokens and batches to try an objective on: every quantity at every size, each independent of the others.

The numbers are multiples of irrational ones, modulo 1: they fill a range evenly, are the same on every machine, and
need no generator.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.analysis.single_token import Numbers
from maspo_dsl.analysis.trial import graph_of, terms_of
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.terms import static_value, walk

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)

ALONE = 1500
"""How many tokens are tried alone."""
_GROUPS = np.repeat(np.arange(9), (4, 4, 4, 3, 3, 2, 2, 1, 1))
_COLUMNS = 10
# Log-ratios within, and magnitudes of the advantage within a factor of e to, of each batch.
_EXTENTS = ((1.0, 0.7), (21.0, 4.5), (0.5, 0.1), (1.0, 0.3), (0.7, 0.0), (3.0, 0.2), (8.0, 1.0))
_LONG = (1, 6, 36, 200, 1300, 8192)
_LONGEST = 65536
"""No completion that is tried is longer, whatever a parameter says."""

_OF_TOKENS = ("logp", "logp_ref", "logp_rollout", "entropy", "value")

Batch = dict[str, NDArray[Any]]


def tokens(objective: ResolvedObjective) -> Batch:
    """`ALONE` tokens, each tensor `[K]`: old probabilities down to e^-20, ratios beyond every bound, A up to 100."""
    return _drawn(objective, (ALONE,), (ALONE,), spread=21.0, size=4.5)


def batches(objective: ResolvedObjective) -> Iterator[Batch]:
    """Padded batches of 24 completions, with an advantage of their own, from near the old policy to far from it."""
    for number, (spread, size) in enumerate(_EXTENTS):
        start = 1000 * (number + 1)
        lengths = 1 + np.floor(uniform(9, _GROUPS.shape, start) * _COLUMNS)
        yield _batch(objective, _GROUPS, lengths, spread, size, start)


def long_completions(objective: ResolvedObjective) -> Iterator[Batch]:
    """One batch of completions of 1 to 8192 tokens, and as long as the spec's large numbers, or a little off."""
    values = sorted(value for value in constants(objective) if _LONG[1] < value <= _LONGEST)
    near = [length for value in values[-2:] for length in (value, value + 1, value - 1, 0.9 * value)]
    lengths = np.floor(np.array([*_LONG, *near], dtype=float))
    group = np.arange(len(lengths)) % 2
    nodes = graph_of(objective.parts).nodes
    read = {"logp", *(str(node.attribute("name")) for node in nodes if node.op == "input")}
    yield _batch(objective, group, lengths, spread=1.0, size=0.7, start=10_000, read=read)


def _batch(
    objective: ResolvedObjective,
    group: NDArray[np.int_],
    lengths: Numbers,
    spread: float,
    size: float,
    start: int,
    read: Collection[str] = _OF_TOKENS,
) -> Batch:
    rows = (len(group),)
    shape = (len(group), int(lengths.max()))
    reward = np.round(_between(-2, 2, uniform(8, rows, start)), 1)
    binary = group % 3 == 0
    reward[binary] = reward[binary] > 0
    reward[group == 4] = 1.0
    return {
        **_drawn(objective, shape, rows, spread, size, start, read),
        "reward": reward,
        "mask": np.arange(shape[1]) < lengths[:, None],
        "group": group,
    }


def _drawn(
    objective: ResolvedObjective,
    shape: tuple[int, ...],
    rows: tuple[int, ...],
    spread: float,
    size: float,
    start: int = 0,
    read: Collection[str] = _OF_TOKENS,
) -> Batch:
    """`read` are the tensors of tokens that are wanted: of a hundred thousand tokens, drawing them takes longest."""
    old = -np.exp(_between(-5, 3, uniform(0, shape, start)))
    magnitude = np.exp(_between(-size, size, uniform(5, rows, start)))
    of_tokens: dict[str, Callable[[], Numbers]] = {
        "logp": lambda: np.minimum(old + _centred(uniform(1, shape, start), spread), -1e-7),
        "logp_ref": lambda: np.minimum(old + _centred(uniform(2, shape, start), 5.0), -1e-7),
        "logp_rollout": lambda: np.minimum(old + _centred(uniform(3, shape, start), 3.0), -1e-7),
        "entropy": lambda: np.exp(_between(-7, 2.3, uniform(4, shape, start))),
        "value": lambda: _between(-2, 2, uniform(12, shape, start)),
    }
    return {
        "logp_old": old,
        **{name: drawn() for name, drawn in of_tokens.items() if name in read},
        "advantage": np.where(uniform(6, rows, start) < 0.5, -magnitude, magnitude),
        "reward": _between(-2, 2, uniform(8, rows, start)),
        "reward_greedy": _between(-1, 1, uniform(10, rows, start)),
        "truncated": uniform(11, rows, start) < 0.4,
        **_declared(objective, shape, rows, start),
    }


def constants(objective: ResolvedObjective) -> Numbers:
    """Sizes of the numbers that a spec says or that follow from its parameters, sorted, and 1."""
    found = {static_value(term) for term in walk(*terms_of(objective.parts))}
    return np.array(sorted({abs(value) for value in found if value} | {1.0}))


def _declared(
    objective: ResolvedObjective, shape: tuple[int, ...], rows: tuple[int, ...], start: int
) -> Batch:
    """What a spec declares with `input`: between 0 and 2."""
    return {
        name: 2 * uniform(13 + number % 7, shape if declared.axis.text == "token" else rows, start + number)
        for number, (name, declared) in enumerate(objective.flat.inputs.items())
    }


def uniform(stream: int, shape: tuple[int, ...], start: int) -> Numbers:
    """Numbers of [0, 1), evenly spread; streams are independent of each other."""
    places = start + 0.5 + np.arange(int(np.prod(shape)), dtype=float)
    return np.reshape(np.mod(places * np.sqrt(_PRIMES[stream]), 1.0), shape)


def _between(low: float, high: float, uniform: Numbers) -> Numbers:
    return low + (high - low) * uniform


def _centred(uniform: Numbers, spread: float) -> Numbers:
    """Within `spread` of 0; of a wide spread, most near it."""
    return spread * (2 * uniform - 1) ** (1 if spread <= 1 else 3)
