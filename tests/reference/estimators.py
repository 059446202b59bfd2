"""Advantages from rewards. Rows without a trained token or without a reward count nowhere and get 0."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .tokens import Batch, Params


def counted(batch: Batch) -> list[int]:
    """The rows that take part: a trained token, in a prepared batch also a reward."""
    return [row for row in range(len(batch["mask"])) if batch["mask"][row].any()]


def groups(batch: Batch) -> Iterator[list[int]]:
    """The rows of each group that take part."""
    rows = counted(batch)
    for name in sorted({int(batch["group"][row]) for row in rows}):
        yield [row for row in rows if int(batch["group"][row]) == name]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def std(values: Sequence[float], ddof: int = 1) -> float:
    """Standard deviation; exactly 0 where all are equal or there are not enough."""
    if len(values) <= ddof or all(value == values[0] for value in values):
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - ddof))


Within = Callable[[Sequence[float]], Sequence[float]]
"""From the rewards of a group, two or more and not all equal, to their advantages."""


def within_groups(estimate: Within) -> Callable[[Batch, Params], np.ndarray]:
    """An estimator of each group by itself: a group of one, or of equal rewards, gets exactly 0."""

    def advantage(batch: Batch, _: Params) -> np.ndarray:
        result = np.zeros(len(batch["mask"]))
        for rows in groups(batch):
            rewards = [float(batch["reward"][row]) for row in rows]
            if any(reward != rewards[0] for reward in rewards):
                result[rows] = estimate(rewards)
        return result

    return advantage


def centred(rewards: Sequence[float]) -> list[float]:
    """R - mean: Dr. GRPO (arXiv:2503.20783) and others that do not divide by the spread."""
    centre = mean(rewards)
    return [reward - centre for reward in rewards]


def standardized(rewards: Sequence[float], eps: float = 1e-4, ddof: int = 1) -> list[float]:
    """(R - mean) / (std + eps): arXiv:2402.03300, with the unbiased std of TRL and verl and TRL's epsilon."""
    return [value / (std(rewards, ddof) + eps) for value in centred(rewards)]


group_relative = within_groups(standardized)
