"""GRPO: arXiv:2402.03300 eq. 3. Mean over a sequence's tokens, then over sequences; KL (k3) in the loss.

Parameters: `eps_low` 0.2, `eps_high` 0.2, `kl` 0.04.
"""

import numpy as np

from .clipped import k3, k3_slope, surrogate, surrogate_slope
from .tokens import Batch, Params, advantage_at, given_or, group_relative, mean_of_sequences, trained

DEFAULTS = {"eps_low": 0.2, "eps_high": 0.2, "kl": 0.04}

advantage = group_relative


def loss(batch: Batch, params: Params | None = None) -> float:
    """The window's loss, minimised."""
    setting = {**DEFAULTS, **(params or {})}
    weight, advantages = mean_of_sequences(batch["mask"]), given_or(batch, advantage)
    total = 0.0
    for row, column in trained(batch["mask"]):
        logp, old = float(batch["logp"][row, column]), float(batch["logp_old"][row, column])
        a = advantage_at(advantages, row, column)
        term = surrogate(logp, old, a, setting["eps_low"], setting["eps_high"])
        if setting["kl"]:
            term += setting["kl"] * k3(logp, float(batch["logp_ref"][row, column]))
        total += weight[row, column] * term
    return total


def dloss_dlogp(batch: Batch, params: Params | None = None) -> np.ndarray:
    """d loss / d logp `[N, T]`; 0 at tokens that are not trained."""
    setting = {**DEFAULTS, **(params or {})}
    weight, advantages = mean_of_sequences(batch["mask"]), given_or(batch, advantage)
    gradient = np.zeros(batch["mask"].shape)
    for row, column in trained(batch["mask"]):
        logp, old = float(batch["logp"][row, column]), float(batch["logp_old"][row, column])
        a = advantage_at(advantages, row, column)
        term = surrogate_slope(logp, old, a, setting["eps_low"], setting["eps_high"])
        if setting["kl"]:
            term += setting["kl"] * k3_slope(logp, float(batch["logp_ref"][row, column]))
        gradient[row, column] = weight[row, column] * term
    return gradient
