"""Statistics of a few seeds: means, intervals of paired differences, and what may be concluded from them.

Interquartile mean and probability of improvement are those of Agarwal et al. 2021, Deep Reinforcement Learning at
the Edge of the Statistical Precipice (arXiv:2108.13264).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

LEVEL = 0.95
# Up to so many resamples are all made; beyond, so many are drawn.
EXHAUSTIVE = 50_000
# With fewer pairs there is no interval: the resamples of two differences say nothing that the two do not.
FEWEST_PAIRS = 3
_DRAWN = 10_000


# 97.5 % quantiles of Student's t for 1, 2, … degrees of freedom; beyond the table the last one is close enough.
_T: tuple[float, ...] = (
    *(
        12.706,
        4.303,
        3.182,
        2.776,
        2.571,
        2.447,
        2.365,
        2.306,
        2.262,
        2.228,
        2.201,
        2.179,
        2.160,
        2.145,
        2.131,
    ),
    *(
        2.120,
        2.110,
        2.101,
        2.093,
        2.086,
        2.080,
        2.074,
        2.069,
        2.064,
        2.060,
        2.056,
        2.052,
        2.048,
        2.045,
        2.042,
    ),
)


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its bootstrap interval; without enough pairs `low` and `high` are None.

    `margin` is half the width of Student's interval, `p_value` that of his two-sided test. The bootstrap of a few
    seeds knows no value outside of them and is far too narrow, so a difference is called one only if both intervals
    leave out 0.
    """

    mean: float
    low: float | None
    high: float | None
    margin: float
    pairs: int
    p_value: float

    @property
    def verdict(self) -> str:
        """What the intervals support."""
        if self.low is None or self.high is None:
            return f"{'one pair' if self.pairs == 1 else 'two pairs'}: nothing can be said"
        if self.low > 0 and self.mean > self.margin:
            return "higher"
        return "lower" if self.high < 0 and self.mean < -self.margin else "no difference shown"


def paired_difference(ours: Sequence[float], base: Sequence[float]) -> Difference:
    """Ours minus base, seed by seed, with the percentile bootstrap over seeds.

    With few seeds every resample is made, so the interval is the same each time; with more, a fixed seed draws.
    """
    differences = np.asarray(ours, dtype=float) - np.asarray(base, dtype=float)
    mean, count = float(differences.mean()), len(differences)
    if count < FEWEST_PAIRS:
        return Difference(mean, None, None, float("inf"), count, 1.0)
    if count**count <= EXHAUSTIVE:
        index = np.array(list(product(range(count), repeat=count)))
    else:
        index = np.random.default_rng(0).integers(0, count, size=(_DRAWN, count))
    means = differences[index].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    error = float(differences.std(ddof=1)) / count**0.5
    margin = _T[min(count - 1, len(_T)) - 1] * error
    p_value = two_sided_p(mean / error, count - 1) if error else float(mean == 0)
    return Difference(mean, float(low), float(high), margin, count, p_value)


def two_sided_p(t: float, freedom: int) -> float:
    """The chance of a Student variable at least as far from 0 as t.

    Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    odd = freedom % 2
    power = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += power
        power *= math.cos(angle) ** 2 * k / (k + 1)
    inside = math.sin(angle) * total
    return max(0.0, 1 - (2 / math.pi * (angle + inside) if odd else inside))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several hypotheses are rejected so that the chance of one wrong rejection stays below 1 - LEVEL.

    Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        if p_values[place] > (1 - LEVEL) / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: a quarter of the values is cut from either end, rounded down."""
    ordered = np.sort(np.asarray(values, dtype=float))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def probability_of_improvement(ours: Sequence[float], base: Sequence[float]) -> float:
    """The chance that a run of ours is above a run of the base, ties counting half."""
    x, y = np.asarray(ours, dtype=float)[:, None], np.asarray(base, dtype=float)[None, :]
    return float(((x > y) + 0.5 * (x == y)).mean())
