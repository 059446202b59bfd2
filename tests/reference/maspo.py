"""MASPO: arXiv:2602.17550, with the clamps of MASPO-RL 22b4681 `compute_policy_loss`.

A Gaussian gate, computed on the detached ratio, multiplies the ratio on the two sides where the policy has
moved towards the advantage; elsewhere the ratio stands alone, without a dual clip. The authors' code
averages over the tokens of a micro-batch; here, as in the spec, over those of the optimizer window.
"""

import math

from .estimators import group_relative
from .reference import Reference
from .tokens import Params, Token, mean_of_tokens, summed

SIGMA_HIGH, RISK_LOW, RISK_HIGH = 10.0, 0.1, 10.0


def width(old: float, a: float, params: Params) -> float:
    """sigma of the gate: mass-adaptive in log old, times the risk factor of the advantage."""
    base = params["sigma_base"]
    mass = base * math.exp(min(-params["alpha"] * old, 700))
    factor = 1 + params["beta_pos"] * a if a > 0 else 1 / (1 - params["beta_neg"] * a)
    return min(max(mass, base), SIGMA_HIGH) * min(max(factor, RISK_LOW), RISK_HIGH)


def moving_away(ratio: float, a: float) -> bool:
    """A > 0 and r > 1, or A < 0 and r < 1: the token has already moved the way its advantage pushes."""
    return (a > 0 and ratio > 1) or (a < 0 and ratio < 1)


def gaussian(ratio: float, sigma: float) -> float:
    """exp(-(r - 1)^2 / (2 sigma^2))."""
    return math.exp(-((ratio - 1) ** 2) / (2 * sigma**2))


def gated(token: Token, params: Params) -> tuple[float, float]:
    """-A w r with the gate w held, and its slope -A w r."""
    a, ratio = token.advantage, token.held_ratio
    gate = gaussian(ratio, width(token.old, a, params)) if moving_away(ratio, a) else 1.0
    return -a * gate * token.ratio, -a * gate * token.ratio_slope


REFERENCES = {
    "maspo": Reference(
        {"sigma_base": 1.0, "alpha": 0.3, "beta_pos": 0.03, "beta_neg": 0.03},
        group_relative,
        summed(gated, mean_of_tokens),
        tries=(
            {"alpha": 0.5, "sigma_base": 2.0},
            {"alpha": 0.0, "beta_pos": 0.5, "beta_neg": 0.7},
            {"alpha": 1.0, "sigma_base": 0.3, "beta_pos": 0.0, "beta_neg": 0.2},
        ),
    )
}
