"""Objectives that bound the ratio of a token, each with bounds of its own.

Sources: TRL 1.16.0 `_compute_loss` (two_sided_clip, bnpo, dr_grpo); Dr. GRPO arXiv:2503.20783; dual clip
arXiv:1912.09729 as verl 0.9.1 has it; DCPO arXiv:2509.02333 and lime-RL/DCPO `get_clip_low_high`; DGPO
arXiv:2603.14389 and DGPO-RL `compute_policy_loss`.
"""

import math

import numpy as np

from .clipped import clipped, dual_clipped, pessimistic, taken
from .dapo import REFERENCES as DAPO
from .dapo import estimate, keep, surrogate
from .estimators import centred, group_relative, within_groups
from .reference import Reference
from .tokens import Params, Token, mean_of_sequences, mean_of_tokens, summed, sums_of_sequences


def dual(token: Token, params: Params) -> tuple[float, float]:
    return dual_clipped(token, 1 - params["eps_low"], 1 + params["eps_high"], params["cap"])


def two_sided(token: Token, params: Params) -> tuple[float, float]:
    """INTELLECT-2's upper bound `delta`, on the branch that PPO leaves unclipped: for either sign of A."""
    a, ratio = token.advantage, token.ratio
    capped, clamped = (
        min(ratio, params["delta"]),
        min(max(ratio, 1 - params["eps_low"]), 1 + params["eps_high"]),
    )
    return taken(token, min(capped, clamped) if a > 0 else max(capped, clamped))


def over_length(mask: np.ndarray, params: Params) -> np.ndarray:
    """Dr. GRPO: a sum over the completion divided by a constant, and a mean over the completions."""
    return sums_of_sequences(mask, params) / params["max_length"]


def adaptive_bounds(old: float, params: Params) -> tuple[float, float]:
    """Where |(r - 1) r| old reaches epsilon: DCPO's bounds of the ratio, which widen as `old` falls."""
    probability = math.exp(old)
    low = 0.5 + 0.5 * math.sqrt(max(1 - 4 * params["eps_low"] / probability, 0))
    return low, 0.5 + 0.5 * math.sqrt(1 + 4 * params["eps_high"] / probability)


def adaptive(token: Token, params: Params) -> tuple[float, float]:
    """As the code has it: the upper bound at most `cap`, itself at least 10, and a dual clip at `cap`."""
    low, high = adaptive_bounds(token.old, params)
    return dual_clipped(token, low, min(high, max(params["cap"], 10)), params["cap"])


def adaptive_alone(token: Token, params: Params) -> tuple[float, float]:
    """As the paper has it."""
    return clipped(token, *adaptive_bounds(token.old, params))


def decayed(token: Token, params: Params) -> tuple[float, float]:
    """DGPO: beyond a bound the gradient is weighed by a power of how far beyond, continuous at the bound."""
    a, ratio, low, high = token.advantage, token.held_ratio, 1 - params["eps_low"], 1 + params["eps_high"]
    weight = 1.0
    if pessimistic(ratio, a, low, high) != ratio:
        weight = (high / ratio) ** (1 / params["m"]) if a > 0 else (ratio / low) ** params["n"]
    return -a * weight * token.ratio, -a * weight * token.ratio_slope


CLIP = {"eps_low": 0.2, "eps_high": 0.2}
WIDTHS = ({"eps_low": 0.05, "eps_high": 0.6}, {"eps_low": 0.99, "eps_high": 5.0})

REFERENCES = {
    "group_ppo": Reference(CLIP, group_relative, summed(surrogate, mean_of_sequences), tries=WIDTHS),
    "bnpo": Reference(CLIP, group_relative, summed(surrogate, mean_of_tokens), tries=WIDTHS),
    "ppo_dual_clip": Reference(
        {**DAPO["dapo"].defaults, "cap": 3.0},
        estimate,
        summed(dual, mean_of_tokens),
        tries=({"cap": 1.01, "eps_high": 0.5}, {"cap": 1.8, "max_length": 6, "cache": 3}),
        keep=keep,
    ),
    "two_sided_clip": Reference(
        {**CLIP, "delta": 1.5},
        group_relative,
        summed(two_sided, mean_of_sequences),
        tries=({"delta": 1.1, "eps_high": 0.1}, {"delta": 4.0, "eps_low": 0.6, "eps_high": 0.1}),
    ),
    "dr_grpo": Reference(
        {**CLIP, "max_length": 4096.0},
        within_groups(centred),
        summed(surrogate, over_length),
        tries=({"max_length": 7.0}, {"max_length": 1.0, "eps_high": 0.5}),
    ),
    "dcpo": Reference(
        {"eps_low": 0.16, "eps_high": 0.2, "cap": 10.0},
        group_relative,
        summed(adaptive, mean_of_tokens),
        tries=({"cap": 1.5, "eps_low": 0.01, "eps_high": 3.0}, {"cap": 30.0, "eps_high": 9.0}),
    ),
    "dcpo_paper": Reference(
        {"eps_low": 0.16, "eps_high": 0.2},
        group_relative,
        summed(adaptive_alone, sums_of_sequences),
        tries=({"eps_low": 0.01, "eps_high": 0.02}, {"eps_low": 2.0, "eps_high": 9.0}),
    ),
    "dgpo": Reference(
        {**CLIP, "n": 1.0, "m": 2.0},
        group_relative,
        summed(decayed, mean_of_tokens),
        tries=({"n": 3.0, "m": 0.5, "eps_low": 0.05}, {"n": 0.1, "m": 10.0, "eps_high": 0.02}),
    ),
}
