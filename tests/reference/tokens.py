"""What the three objectives share: the bound of a log-ratio, advantages, and the two ways to average."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Batch = Mapping[str, np.ndarray]
Params = Mapping[str, float]

BOUND = 20.0
"""Largest log-ratio that is exponentiated; beyond it the value stays and the gradient is zero."""


def bounded(log_ratio: float) -> float:
    """The log-ratio, held within ±20 as MASPO-RL and verl hold it. NaN stays NaN."""
    if math.isnan(log_ratio):
        return log_ratio
    return min(max(log_ratio, -BOUND), BOUND)


def slope(log_ratio: float) -> float:
    """d bounded(x) / dx: 1 inside the bound, 0 outside."""
    return 1.0 if -BOUND <= log_ratio <= BOUND else 0.0


def trained(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Row and column of every trained token."""
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column]:
                yield row, column


def given_or(batch: Batch, estimate: Callable[..., np.ndarray]) -> np.ndarray:
    """The batch's own `advantage` if it brings one, else the estimate from `reward`, `group` and `mask`."""
    if "advantage" in batch:
        return batch["advantage"]
    return estimate(batch["reward"], batch["group"], batch["mask"])


def advantage_at(advantage: np.ndarray, row: int, column: int) -> float:
    """Advantage of one token, whether given for the sequence `[N]` or for the token `[N, T]`."""
    return float(advantage[row]) if advantage.ndim == 1 else float(advantage[row, column])


def group_relative(
    reward: Sequence[float], group: Sequence[int], mask: np.ndarray, *, eps: float = 1e-4
) -> np.ndarray:
    """(R - mean) / (std + eps) within a group, std with ddof 1: arXiv:2402.03300 as TRL and verl compute it.

    Rows without a trained token or with a NaN reward are not counted and get 0. A group of one, and a group
    whose rewards are all the same number, give exactly 0.
    """
    result = np.zeros(len(reward))
    for name in set(np.asarray(group).tolist()):
        rows = [
            row
            for row in range(len(reward))
            if int(group[row]) == name and mask[row].any() and not math.isnan(float(reward[row]))
        ]
        values = [float(reward[row]) for row in rows]
        if len(values) < 2 or all(value == values[0] for value in values):
            continue
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        for row in rows:
            result[row] = (float(reward[row]) - mean) / (math.sqrt(variance) + eps)
    return result


def mean_of_tokens(mask: np.ndarray) -> np.ndarray:
    """Weight of each token in a mean over all trained tokens of the window; zeros if there is none."""
    count = int(mask.sum())
    return mask.astype(np.float64) / count if count else np.zeros(mask.shape)


def mean_of_sequences(mask: np.ndarray) -> np.ndarray:
    """Weight of each token in a mean over a row's tokens, then over the rows that have a trained token."""
    weight = np.zeros(mask.shape)
    rows = [row for row in range(mask.shape[0]) if mask[row].any()]
    for row in rows:
        weight[row] = mask[row] / (int(mask[row].sum()) * len(rows))
    return weight
