"""MASPO: arXiv:2602.17550, with the clamps of MASPO-RL 22b4681 `compute_policy_loss`.

A Gaussian gate, computed on the detached ratio, multiplies the ratio on the two sides where the policy has
moved towards the advantage; elsewhere the ratio stands alone, without a dual clip. The authors' code
averages over the tokens of a micro-batch; here, as in the spec, over those of the optimizer window.

Parameters: `sigma_base` 1, `alpha` 0.3, `beta_pos` 0.03, `beta_neg` 0.03.
"""

import math

import numpy as np

from .tokens import (
    Batch,
    Params,
    advantage_at,
    bounded,
    given_or,
    group_relative,
    mean_of_tokens,
    slope,
    trained,
)

DEFAULTS = {"sigma_base": 1.0, "alpha": 0.3, "beta_pos": 0.03, "beta_neg": 0.03}
SIGMA_HIGH, RISK_LOW, RISK_HIGH = 10.0, 0.1, 10.0

advantage = group_relative


def width(old: float, a: float, setting: Params) -> float:
    """sigma of the gate: mass-adaptive in log old, times the risk factor of the advantage."""
    base = setting["sigma_base"]
    mass = base * math.exp(min(-setting["alpha"] * old, 700))
    factor = 1 + setting["beta_pos"] * a if a > 0 else 1 / (1 - setting["beta_neg"] * a)
    return min(max(mass, base), SIGMA_HIGH) * min(max(factor, RISK_LOW), RISK_HIGH)


def gate(ratio: float, old: float, a: float, setting: Params) -> float:
    """exp(-(r - 1)^2 / (2 sigma^2)) where A > 0 and r > 1, or A < 0 and r < 1; otherwise 1."""
    if not ((a > 0 and ratio > 1) or (a < 0 and ratio < 1)):
        return 1.0
    return math.exp(-((ratio - 1) ** 2) / (2 * width(old, a, setting) ** 2))


def gates(batch: Batch, params: Params | None = None) -> np.ndarray:
    """The gate of every trained token `[N, T]`; 1 elsewhere."""
    setting, advantages = {**DEFAULTS, **(params or {})}, given_or(batch, advantage)
    result = np.ones(batch["mask"].shape)
    for row, column in trained(batch["mask"]):
        old = float(batch["logp_old"][row, column])
        ratio = math.exp(bounded(float(batch["logp"][row, column]) - old))
        result[row, column] = gate(ratio, old, advantage_at(advantages, row, column), setting)
    return result


def loss(batch: Batch, params: Params | None = None) -> float:
    """The window's loss, minimised."""
    return loss_with(batch, gates(batch, params))


def loss_with(batch: Batch, fixed: np.ndarray) -> float:
    """The loss with the gates `[N, T]` given: the function that `dloss_dlogp` differentiates."""
    weight, advantages = mean_of_tokens(batch["mask"]), given_or(batch, advantage)
    total = 0.0
    for row, column in trained(batch["mask"]):
        ratio = math.exp(bounded(float(batch["logp"][row, column]) - float(batch["logp_old"][row, column])))
        total -= weight[row, column] * advantage_at(advantages, row, column) * fixed[row, column] * ratio
    return total


def dloss_dlogp(batch: Batch, params: Params | None = None) -> np.ndarray:
    """d loss / d logp `[N, T]`: -A w r with the gate w held fixed; 0 at tokens that are not trained."""
    weight, advantages = mean_of_tokens(batch["mask"]), given_or(batch, advantage)
    fixed = gates(batch, params)
    gradient = np.zeros(batch["mask"].shape)
    for row, column in trained(batch["mask"]):
        log_ratio = float(batch["logp"][row, column]) - float(batch["logp_old"][row, column])
        term = -advantage_at(advantages, row, column) * fixed[row, column] * math.exp(bounded(log_ratio))
        gradient[row, column] = weight[row, column] * term * slope(log_ratio)
    return gradient
