"""Objectives whose ratio is that of a whole completion.

Sources: GSPO arXiv:2507.18071 (and its token form as verl 0.9.1 has it); GMPO arXiv:2507.20673 as verl 0.9.1
has it; LUSPO as TRL 1.16.0 has it.
"""

import math
from collections.abc import Iterator

import numpy as np

from .clipped import pessimistic
from .estimators import group_relative
from .reference import Evaluate, Reference
from .tokens import (
    Batch,
    Params,
    Token,
    Weigh,
    bounded,
    mean_of_sequences,
    slope,
    sums_of_sequences,
    tokens,
)


def completions(batch: Batch, advantage: np.ndarray) -> Iterator[list[Token]]:
    """The trained tokens of each completion that has one."""
    rows: dict[int, list[Token]] = {}
    for token in tokens(batch, advantage):
        rows.setdefault(token.row, []).append(token)
    yield from rows.values()


def geometric_mean(completion: list[Token]) -> float:
    """(policy / old of the completion)^(1 / length)."""
    return math.exp(math.fsum(bounded(token.logp - token.old) for token in completion) / len(completion))


def clipped_completion(weigh: Weigh) -> Evaluate:
    """PPO's clip of the geometric mean s: each token's share of ds / dlogp is s over the length."""

    def evaluate(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
        low, high = 1 - params["eps_low"], 1 + params["eps_high"]
        weight, gradient, total = weigh(batch["mask"], params), np.zeros(batch["mask"].shape), 0.0
        for completion in completions(batch, advantage):
            ratio, slope_in_ratio = geometric_mean(completion), 0.0
            for token in completion:
                factor = pessimistic(ratio, token.advantage, low, high)
                term = -weight[token.row, token.column] * token.advantage
                total += term * factor
                slope_in_ratio += term if factor == ratio else 0.0
            for token in completion:
                share = ratio / len(completion) * slope(token.logp - token.old)
                gradient[token.row, token.column] = slope_in_ratio * share
        return total, gradient

    return evaluate


def straight_through(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """GSPO-token: the value of the completion's ratio, and the slope of the token's own policy / sg(policy)."""
    low, high = 1 - params["eps_low"], 1 + params["eps_high"]
    weight, gradient, total = mean_of_sequences(batch["mask"], params), np.zeros(batch["mask"].shape), 0.0
    held = {**batch, "logp": batch["held"]}
    ratios = {completion[0].row: geometric_mean(completion) for completion in completions(held, advantage)}
    for token in tokens(batch, advantage):
        ratio = ratios[token.row] * math.exp(token.logp - token.held)
        factor = pessimistic(ratio, token.advantage, low, high)
        term = -weight[token.row, token.column] * token.advantage
        total += term * factor
        gradient[token.row, token.column] = term * ratio if factor == ratio else 0.0
    return total, gradient


def geometric_clip(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """GMPO: each log-ratio held within [-eps_low, eps_high] pessimistically, then the geometric mean."""
    weight, gradient, total = mean_of_sequences(batch["mask"], params), np.zeros(batch["mask"].shape), 0.0
    for completion in completions(batch, advantage):
        log_ratios = [bounded(token.logp - token.old) for token in completion]
        held = [
            pessimistic(log_ratio, token.advantage, -params["eps_low"], params["eps_high"])
            for token, log_ratio in zip(completion, log_ratios, strict=True)
        ]
        ratio = math.exp(math.fsum(held) / len(completion))
        loss = -ratio * math.fsum(weight[token.row, token.column] * token.advantage for token in completion)
        total += loss
        for token, log_ratio, kept in zip(completion, log_ratios, held, strict=True):
            live = slope(token.logp - token.old) if kept == log_ratio else 0.0
            gradient[token.row, token.column] = loss * live / len(completion)
    return total, gradient


BATCH_SPREAD = ({"eps_low": 0.1, "eps_high": 0.15}, {"eps_low": 0.9, "eps_high": 3.0})

REFERENCES = {
    "gspo": Reference(
        {"eps_low": 3e-4, "eps_high": 4e-4},
        group_relative,
        clipped_completion(mean_of_sequences),
        tries=BATCH_SPREAD,
    ),
    "gspo_token": Reference(
        {"eps_low": 3e-4, "eps_high": 4e-4}, group_relative, straight_through, tries=BATCH_SPREAD
    ),
    "luspo": Reference(
        {"eps_low": 2e-3, "eps_high": 2.5e-3},
        group_relative,
        clipped_completion(sums_of_sequences),
        tries=BATCH_SPREAD,
    ),
    "gmpo": Reference(
        {"eps_low": 0.4, "eps_high": 0.4},
        group_relative,
        geometric_clip,
        tries=({"eps_low": 0.05, "eps_high": 0.9}, {"eps_low": 3.0, "eps_high": 0.01}),
    ),
}
