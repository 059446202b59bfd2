"""Objectives in REINFORCE's form, -w A log(policy) with a weight w that carries no gradient.

Sources: CISPO arXiv:2506.13585 with the absolute cap of TRL 1.16.0 and the two bounds of verl 0.9.1; DPPO
arXiv:2602.04879 as verl 0.9.1 has it, and with the sampler as behaviour policy as Stable-RL c6af1d1 has it;
GPG arXiv:2504.02546; DRO as verl 0.9.1 has it, with the advantage of Kimi-1.5 (arXiv:2501.12599 eq. 3), which is
of the same form; ASPO arXiv:2510.06062, Archer2.0 `compute_policy_loss_archer`.
"""

import math

import numpy as np

from .clipped import pessimistic, taken
from .estimators import centred, counted, group_relative, groups, within_groups
from .masks import quantile
from .reference import Reference
from .tokens import (
    Batch,
    Params,
    Token,
    bounded,
    mean_of_sequences,
    mean_of_tokens,
    slope,
    summed,
)


def score(token: Token, weight: float) -> tuple[float, float]:
    """-w A log(policy), and its slope -w A: the ratio's bound does not matter."""
    return -weight * token.advantage * token.logp, -weight * token.advantage


def capped_ratio(token: Token, params: Params) -> tuple[float, float]:
    return score(token, min(token.held_ratio, params["cap"]))


def clamped_ratio(token: Token, params: Params) -> tuple[float, float]:
    return score(token, min(max(token.held_ratio, 1 - params["eps_low"]), 1 + params["eps_high"]))


def alone(token: Token, _: Params) -> tuple[float, float]:
    return score(token, 1.0)


def anchored(token: Token, params: Params) -> tuple[float, float]:
    """-(A log(policy) - beta/2 log(policy / old)^2)."""
    value, derivative = score(token, 1.0)
    drift = bounded(token.logp - token.old)
    penalty_slope = params["beta"] * drift * slope(token.logp - token.old)
    return value + params["beta"] / 2 * drift**2, derivative + penalty_slope


def within_total_variation(token: Token, params: Params) -> tuple[float, float]:
    """0 once the probability has moved by more than `d` the way the advantage pushes."""
    moved = math.exp(token.held) - math.exp(token.old)
    beyond = moved > params["d_high"] if token.advantage > 0 else moved < -params["d_low"]
    return score(token, 0.0 if beyond else min(token.held_ratio, params["cap"]))


def binary_divergence(old: float, policy: float) -> float:
    """KL of two coins, from the logs of their probabilities: log-ratio within ±20, 1e-8 beside the other face."""
    p, q = math.exp(old), math.exp(policy)
    return p * bounded(old - policy) + (1 - p) * math.log((1 - p + 1e-8) / (1 - q + 1e-8))


def within_divergence(token: Token, params: Params) -> tuple[float, float]:
    """0 where the divergence is above `d` and the token has moved the way its advantage pushes."""
    up = token.advantage > 0
    away = token.held > token.old if up else token.held < token.old
    far = binary_divergence(token.old, token.held) > params["d_high" if up else "d_low"]
    return score(token, 0.0 if away and far else min(token.held_ratio, params["cap"]))


def over_informative(batch: Batch, _: Params) -> np.ndarray:
    """(R - mean) N / (N - M), where M completions are in groups without spread; GPG's paper, eq. 7."""
    spread = [
        rows for rows in groups(batch) if any(batch["reward"][r] != batch["reward"][rows[0]] for r in rows)
    ]
    informative = sum(len(rows) for rows in spread)
    scale = len(counted(batch)) / informative if informative else 1.0
    return scale * within_groups(centred)(batch, _)


def flipped(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """ASPO: for A >= 0 the ratio turned over, 1/r; a factor above `cap` is `cap` times log(policy)."""
    threshold = {
        row: quantile([float(value) for value in batch["entropy"][row][batch["mask"][row]]], params["q"])
        for row in counted(batch)
    }

    def term(token: Token, params: Params) -> tuple[float, float]:
        entropic = batch["entropy"][token.row, token.column] > threshold[token.row]
        eps = params["eps_high_entropy" if entropic else "eps_low_entropy"]
        if token.advantage < 0:
            factor = pessimistic(token.held_ratio, token.advantage, 1 - eps, 1 + eps)
            if factor > params["cap"]:
                return score(token, params["cap"])
            return taken(token, pessimistic(token.ratio, token.advantage, 1 - eps, 1 + eps))
        held = min(token.held_ratio, 1 + eps)
        if 1 / held > params["cap"]:
            return score(token, params["cap"])
        live, live_slope = min(token.ratio, 1 + eps), token.ratio_slope if token.ratio <= 1 + eps else 0.0
        return -token.advantage * live / held**2, -token.advantage * live_slope / held**2

    return summed(term, mean_of_tokens)(batch, params, advantage)


TOTAL_VARIATION = {"d_low": 0.15, "d_high": 0.15, "cap": 20.0}
DIVERGENCE = {"d_low": 0.05, "d_high": 0.05, "cap": 20.0}
DISTANCES = ({"d_low": 0.01, "d_high": 0.3, "cap": 1.0}, {"d_low": 0.3, "d_high": 0.01, "cap": 1e4})


REFERENCES = {
    "cispo": Reference(
        {"cap": 5.0}, group_relative, summed(capped_ratio, mean_of_tokens), tries=({"cap": 1.0}, {"cap": 1.4})
    ),
    "cispo_two_sided": Reference(
        {"eps_low": 0.2, "eps_high": 0.28},
        group_relative,
        summed(clamped_ratio, mean_of_tokens),
        tries=({"eps_low": 0.99, "eps_high": 5.0}, {"eps_low": 0.01, "eps_high": 0.01}),
    ),
    "gpg": Reference({}, within_groups(centred), summed(alone, mean_of_tokens)),
    "gpg_paper": Reference({}, over_informative, summed(alone, mean_of_sequences)),
    "dro": Reference(
        {"beta": 0.1},
        within_groups(centred),
        summed(anchored, mean_of_tokens),
        tries=({"beta": 0.0}, {"beta": 5.0}),
    ),
    "dppo_tv": Reference(
        TOTAL_VARIATION, group_relative, summed(within_total_variation, mean_of_tokens), tries=DISTANCES
    ),
    "dppo_kl": Reference(
        DIVERGENCE, group_relative, summed(within_divergence, mean_of_tokens), tries=DISTANCES
    ),
    "dppo_tv_paper": Reference(
        TOTAL_VARIATION,
        group_relative,
        summed(within_total_variation, mean_of_tokens, old="logp_rollout"),
        tries=DISTANCES,
    ),
    "dppo_kl_paper": Reference(
        DIVERGENCE,
        group_relative,
        summed(within_divergence, mean_of_tokens, old="logp_rollout"),
        tries=DISTANCES,
    ),
    "aspo": Reference(
        {"eps_low_entropy": 0.2, "eps_high_entropy": 0.4, "q": 0.8, "cap": 3.0},
        group_relative,
        flipped,
        tries=(
            {"q": 0.5, "cap": 1.3},
            {"eps_low_entropy": 0.9, "eps_high_entropy": 0.05, "q": 0.2, "cap": 50.0},
        ),
    ),
}
