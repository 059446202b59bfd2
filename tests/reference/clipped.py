"""PPO's clipped surrogate of one token (arXiv:1707.06347 eq. 7), and its derivative by hand."""

import math

from .tokens import bounded, slope


def surrogate(logp: float, old: float, advantage: float, eps_low: float, eps_high: float) -> float:
    """-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A), to be minimised."""
    ratio = math.exp(bounded(logp - old))
    clipped = min(max(ratio, 1 - eps_low), 1 + eps_high)
    return -min(ratio * advantage, clipped * advantage)


def surrogate_slope(logp: float, old: float, advantage: float, eps_low: float, eps_high: float) -> float:
    """d surrogate / d logp = -A r; 0 where the clipped branch is the smaller or the log-ratio is bounded."""
    ratio = math.exp(bounded(logp - old))
    if advantage > 0 and ratio > 1 + eps_high:
        return 0.0
    if advantage < 0 and ratio < 1 - eps_low:
        return 0.0
    return -advantage * ratio * slope(logp - old)


def k3(logp: float, reference: float) -> float:
    """Schulman's k3 of KL(policy, reference) at the sampled token: q/p - log(q/p) - 1."""
    log_ratio = bounded(reference - logp)
    return math.exp(log_ratio) - log_ratio - 1


def k3_slope(logp: float, reference: float) -> float:
    """d k3 / d logp = 1 - q/p; 0 where the log-ratio is bounded."""
    return (1 - math.exp(bounded(reference - logp))) * slope(reference - logp)
