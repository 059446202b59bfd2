"""Objectives that gate the ratio smoothly.

Sources: SAPO arXiv:2511.20347 as TRL 1.16.0 has it; VESPO arXiv:2602.10693 as TRL 1.16.0 and the authors have
it; TOPR arXiv:2503.14286 eq. 8; MASPO arXiv:2602.17550 as its README writes it. The exponential gate is this
project's own; MASPO with all of DAPO is a composition.
"""

import math

import numpy as np

from .dapo import estimate, keep
from .estimators import counted, group_relative
from .factors import multiplied
from .maspo import REFERENCES as MASPO
from .maspo import gated, gaussian, moving_away
from .reference import Reference
from .scores import alone
from .tokens import (
    Batch,
    Params,
    Token,
    bounded,
    mean_of_sequences,
    mean_of_tokens,
    summed,
    sums_of_sequences,
)


def sigmoid_gated(token: Token, params: Params) -> tuple[float, float]:
    """-A 4/tau sigmoid(tau (r - 1)), and -A 4 sigmoid (1 - sigmoid) r."""
    tau = params["tau_pos" if token.advantage > 0 else "tau_neg"]
    fall = math.exp(-tau * (token.ratio - 1))
    value = 4 / tau / (1 + fall)
    return -token.advantage * value, -token.advantage * 4 * fall / (1 + fall) ** 2 * token.ratio_slope


def exponentially_gated(token: Token, params: Params) -> tuple[float, float]:
    """-A w r with w = exp(-rate times the distance from the interval [1 - eps_low, 1 + eps_high])."""
    ratio = token.held_ratio
    beyond = max(0.0, ratio - 1 - params["eps_high"]) + max(0.0, 1 - params["eps_low"] - ratio)
    gate = math.exp(-params["rate"] * beyond)
    return -token.advantage * gate * token.ratio, -token.advantage * gate * token.ratio_slope


def gated_without_clamps(token: Token, params: Params) -> tuple[float, float]:
    """MASPO's gate with sigma = sigma_base / old^alpha, times 1 + beta A, or over 1 - beta A."""
    a, ratio = token.advantage, token.held_ratio
    risk = 1 + params["beta_pos"] * a if a > 0 else 1 / (1 - params["beta_neg"] * a)
    sigma = params["sigma_base"] * math.exp(-params["alpha"] * token.old) * risk
    gate = gaussian(ratio, sigma) if moving_away(ratio, a) else 1.0
    return -a * gate * token.ratio, -a * gate * token.ratio_slope


def log_products(batch: Batch) -> dict[int, float]:
    """log of the product of policy / old over each completion, without gradient."""
    return {
        row: math.fsum(
            bounded(float(batch["held"][row, column]) - float(batch["logp_old"][row, column]))
            for column in np.flatnonzero(batch["mask"][row])
        )
        for row in counted(batch)
    }


def gamma_kernel(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """W^k exp(lambda (1 - W)) of the completion's product W, its log within [log 1e-8, 20]."""
    result = np.ones(batch["mask"].shape)
    for row, log_product in log_products(batch).items():
        log_weight = min(max(log_product, math.log(1e-8)), 20.0)
        for column in np.flatnonzero(batch["mask"][row]):
            a = advantage[row] if advantage.ndim == 1 else advantage[row, column]
            side = "pos" if a >= 0 else "neg"
            k, rate = params[f"k_{side}"], params[f"lambda_{side}"]
            result[row, column] = math.exp(k * log_weight + rate * (1 - math.exp(log_weight)))
    return result


def tapered(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """1 for good completions, and the completion's product up to `cap` for bad ones."""
    result = np.ones(batch["mask"].shape)
    for row, log_product in log_products(batch).items():
        weight = min(math.exp(bounded(log_product)), params["cap"])
        bad = advantage[row] < 0
        result[row] = np.where(bad, weight, 1.0)
    return result


def reward(batch: Batch, _: Params) -> np.ndarray:
    """The reward itself; 0 in rows that take no part."""
    result = np.zeros(len(batch["mask"]))
    for row in counted(batch):
        result[row] = batch["reward"][row]
    return result


LENGTHS = {"max_length": 20480.0, "cache": 4096.0}

REFERENCES = {
    "sapo": Reference(
        {"tau_pos": 1.0, "tau_neg": 1.05},
        group_relative,
        summed(sigmoid_gated, mean_of_sequences),
        tries=({"tau_pos": 0.1, "tau_neg": 4.0}, {"tau_pos": 6.0, "tau_neg": 0.5}),
    ),
    "soft_exponential": Reference(
        {"eps_low": 0.2, "eps_high": 0.2, "rate": 1.0},
        group_relative,
        summed(exponentially_gated, mean_of_tokens),
        tries=({"rate": 5.0, "eps_low": 0.05}, {"rate": 0.1, "eps_high": 0.6}),
    ),
    "vespo": Reference(
        {"k_pos": 2.0, "lambda_pos": 3.0, "k_neg": 3.0, "lambda_neg": 2.0},
        group_relative,
        multiplied(alone, mean_of_tokens, gamma_kernel),
        tries=(
            {"k_pos": 0.05, "lambda_pos": 0.01, "k_neg": 0.02, "lambda_neg": 0.03},
            {"k_pos": 1.0, "lambda_pos": 0.5, "k_neg": 0.5, "lambda_neg": 1.0},
        ),
    ),
    "topr": Reference(
        {"cap": 1.0},
        reward,
        multiplied(alone, sums_of_sequences, tapered),
        tries=({"cap": 0.3}, {"cap": 20.0}),
    ),
    "maspo_paper": Reference(
        MASPO["maspo"].defaults,
        group_relative,
        summed(gated_without_clamps, mean_of_tokens),
        tries=MASPO["maspo"].tries,
    ),
    "maspo_dapo": Reference(
        {**MASPO["maspo"].defaults, **LENGTHS},
        estimate,
        summed(gated, mean_of_tokens),
        tries=({"max_length": 6, "cache": 3}, {"alpha": 0.7, "beta_neg": 0.5}),
        keep=keep,
    ),
}
