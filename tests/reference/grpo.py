"""GRPO: arXiv:2402.03300 eq. 3. Mean over a sequence's tokens, then over sequences; KL (k3) in the loss."""

import numpy as np

from .clipped import clipped, k3
from .estimators import group_relative
from .reference import Reference
from .tokens import Batch, Params, mean_of_sequences, tokens


def evaluate(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """The clipped surrogate plus `kl` times k3 to the reference, which is not read where `kl` is 0."""
    weight, gradient, total = mean_of_sequences(batch["mask"], params), np.zeros(batch["mask"].shape), 0.0
    for token in tokens(batch, advantage):
        at = token.row, token.column
        value, slope = clipped(token, 1 - params["eps_low"], 1 + params["eps_high"])
        if params["kl"]:
            divergence, divergence_slope = k3(token.logp, float(batch["logp_ref"][at]))
            value, slope = value + params["kl"] * divergence, slope + params["kl"] * divergence_slope
        total += weight[at] * value
        gradient[at] = weight[at] * slope
    return total, gradient


REFERENCES = {
    "grpo": Reference(
        {"eps_low": 0.2, "eps_high": 0.2, "kl": 0.04},
        group_relative,
        evaluate,
        tries=({"kl": 0.0}, {"kl": 1.5, "eps_low": 0.3, "eps_high": 0.1}),
    )
}
