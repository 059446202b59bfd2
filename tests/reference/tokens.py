"""What the references share: tokens one by one, the bound of a log-ratio, and the ways to average."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Token:
    """One trained token: log-probs under the policy (`held` without gradient) and the old policy, and A."""

    row: int
    column: int
    logp: float
    held: float
    old: float
    advantage: float

    @property
    def ratio(self) -> float:
        """policy / old."""
        return math.exp(bounded(self.logp - self.old))

    @property
    def held_ratio(self) -> float:
        """policy / old without gradient."""
        return math.exp(bounded(self.held - self.old))

    @property
    def ratio_slope(self) -> float:
        """d ratio / d logp: the ratio itself, 0 outside the bound."""
        return self.ratio * slope(self.logp - self.old)


def trained(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Row and column of every trained token."""
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column]:
                yield row, column


def tokens(batch: Batch, advantage: np.ndarray, old: str = "logp_old") -> Iterator[Token]:
    """Every trained token of a prepared batch; `old` names the tensor of the policy it is compared with."""
    for row, column in trained(batch["mask"]):
        yield Token(
            row,
            column,
            float(batch["logp"][row, column]),
            float(batch["held"][row, column]),
            float(batch[old][row, column]),
            float(advantage[row] if advantage.ndim == 1 else advantage[row, column]),
        )


Weigh = Callable[[np.ndarray, Params], np.ndarray]
"""From the mask `[N, T]` to the weight `[N, T]` of each token's loss in the loss of the window."""

Term = Callable[[Token, Params], tuple[float, float]]
"""The loss of one token and its slope in `logp`."""


def summed(
    term: Term, weigh: Weigh, old: str = "logp_old"
) -> Callable[[Batch, Params, np.ndarray], tuple[float, np.ndarray]]:
    """The `evaluate` of a reference whose loss is a weighted sum of one term a token."""

    def evaluate(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
        weight, gradient, total = weigh(batch["mask"], params), np.zeros(batch["mask"].shape), 0.0
        for token in tokens(batch, advantage, old):
            value, derivative = term(token, params)
            total += weight[token.row, token.column] * value
            gradient[token.row, token.column] = weight[token.row, token.column] * derivative
        return total, gradient

    return evaluate


def mean_of_tokens(mask: np.ndarray, _: Params) -> np.ndarray:
    """Weight of each token in a mean over all trained tokens of the window; zeros if there is none."""
    count = int(mask.sum())
    return mask.astype(np.float64) / count if count else np.zeros(mask.shape)


def mean_of_sequences(mask: np.ndarray, _: Params) -> np.ndarray:
    """Weight of each token in a mean over a row's tokens, then over the rows that have a trained token."""
    weight = sums_of_sequences(mask, _)
    for row in range(len(mask)):
        weight[row] /= max(int(mask[row].sum()), 1)
    return weight


def sums_of_sequences(mask: np.ndarray, _: Params) -> np.ndarray:
    """Weight of each token in a sum over a row's tokens, then a mean over the rows that have a trained token."""
    rows = int(mask.any(axis=1).sum())
    return mask.astype(np.float64) / max(rows, 1)
