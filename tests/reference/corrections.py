"""DAPO corrected for a sampler that is not quite the old policy, and VCPO for one that lags behind.

Sources: truncated and masked importance weights as verl 0.9.1, TRL 1.16.0 and NeMo-RL have them (IcePop is
the masked one of a token); VCPO arXiv:2602.17616 and its code at mit-han-lab/vcpo c7f030f.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from .dapo import REFERENCES as DAPO
from .dapo import surrogate
from .estimators import counted, mean, standardized, within_groups
from .factors import Factor, Where, excluding, multiplied
from .reference import Evaluate, Reference
from .tokens import Batch, Params, Token, bounded, mean_of_sequences, mean_of_tokens, summed

Weights = Callable[[Batch], np.ndarray]
"""From a prepared batch to old / rollout of each token `[N, T]`: its own, or the same for a whole completion."""


def log_ratios(batch: Batch, row: int) -> list[float]:
    """log(old / rollout) of the trained tokens of a row."""
    columns = np.flatnonzero(batch["mask"][row])
    return [bounded(float(batch["logp_old"][row, c]) - float(batch["logp_rollout"][row, c])) for c in columns]


def of_tokens(batch: Batch) -> np.ndarray:
    """Each token's own weight."""
    result = np.ones(batch["mask"].shape)
    for row in counted(batch):
        result[row, batch["mask"][row]] = [math.exp(log_ratio) for log_ratio in log_ratios(batch, row)]
    return result


def product(batch: Batch, row: int) -> float:
    """The product of the weights of a completion's tokens, within exp(±20)."""
    return math.exp(bounded(math.fsum(log_ratios(batch, row))))


def products(batch: Batch) -> np.ndarray:
    """The product over the completion."""
    result = np.ones(batch["mask"].shape)
    for row in counted(batch):
        result[row] = product(batch, row)
    return result


def geometric_means(batch: Batch) -> np.ndarray:
    """The geometric mean over the completion."""
    result = np.ones(batch["mask"].shape)
    for row in counted(batch):
        result[row] = math.exp(mean(log_ratios(batch, row)))
    return result


def inside(weight: np.ndarray, params: Params) -> np.ndarray:
    return (params["low"] < weight) & (weight < params["high"])


def truncated(weights: Weights) -> Factor:
    """The weight, at most `cap`."""
    return lambda batch, params, _: np.minimum(weights(batch), params["cap"])


def masked(weights: Weights) -> Factor:
    """The weight itself, and 0 where it is not between `low` and `high`."""

    def factor(batch: Batch, params: Params, _: np.ndarray) -> np.ndarray:
        weight = weights(batch)
        return np.where(inside(weight, params), weight, 0.0)

    return factor


def rejected(weights: Weights) -> Where:
    """Where the weight is not between `low` and `high`."""
    return lambda batch, params, _: ~inside(weights(batch), params)


def corrected(evaluate: Evaluate, *tries: Params, **defaults: float) -> Reference:
    """DAPO's reward, advantage and dynamic sampling with this loss; `defaults` are further parameters."""
    dapo = DAPO["dapo"]
    return Reference({**dapo.defaults, **defaults}, dapo.estimate, evaluate, tries, keep=dapo.keep)


def weighted(factor: Factor) -> Evaluate:
    return multiplied(surrogate, mean_of_tokens, factor)


def rejecting(weights: Weights) -> Evaluate:
    return excluding(summed(surrogate, mean_of_tokens), rejected(weights))


def unclipped(token: Token, _: Params) -> tuple[float, float]:
    """-A r."""
    return -token.advantage * token.ratio, -token.advantage * token.ratio_slope


def step(batch: Batch, params: Params) -> float:
    """VCPO's scale of the learning rate: the root of the share of completions that the weights leave effective."""
    weights = [product(batch, row) for row in counted(batch)]
    effective = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    return min(1.0, effective / len(weights) / params["ess_base"]) ** 0.5


NARROW, WIDE = {"low": 0.98, "high": 1.01}, {"low": 0.7, "high": 1.6}
LENGTHS = {"max_length": 6, "cache": 3}

REFERENCES = {
    "tis": corrected(weighted(truncated(of_tokens)), {"cap": 1.02, **LENGTHS}, cap=2),
    "tis_geometric": corrected(weighted(truncated(geometric_means)), {"cap": 1.01}, cap=2),
    "tis_product": corrected(weighted(truncated(products)), {"cap": 1.1}, cap=2),
    "mis": corrected(weighted(masked(of_tokens)), NARROW, low=0.5, high=5),
    "mis_geometric": corrected(weighted(masked(geometric_means)), NARROW, low=0.999, high=1.002),
    "mis_product": corrected(weighted(masked(products)), WIDE, low=0, high=3),
    "rejection": corrected(rejecting(of_tokens), {**NARROW, **LENGTHS}, low=0.5, high=2),
    "rejection_geometric": corrected(rejecting(geometric_means), NARROW, low=0.999, high=1.002),
    "rejection_product": corrected(rejecting(products), WIDE, low=0.5, high=2),
    "vcpo": Reference(
        {"cap": 8, "ess_base": 1},
        within_groups(partial(standardized, eps=1e-8, ddof=0)),
        multiplied(unclipped, mean_of_sequences, truncated(products)),
        tries=({"cap": 1.1, "ess_base": 0.55},),
        step=step,
    ),
}
