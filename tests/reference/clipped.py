"""PPO's clipped surrogate of one token (arXiv:1707.06347 eq. 7), and Schulman's k3; each with its slope."""

import math

from .tokens import Token, bounded, slope


def clipped(token: Token, low: float, high: float) -> tuple[float, float]:
    """-min(r A, clamp(r, low, high) A), and -A r: 0 where the clamped branch is the smaller."""
    a, ratio = token.advantage, token.ratio
    value = -min(ratio * a, min(max(ratio, low), high) * a)
    if (a > 0 and ratio > high) or (a < 0 and ratio < low):
        return value, 0.0
    return value, -a * token.ratio_slope


def k3(logp: float, reference: float) -> tuple[float, float]:
    """q/p - log(q/p) - 1, an estimate of KL(policy, reference), and 1 - q/p: 0 outside the bound."""
    log_ratio = bounded(reference - logp)
    quotient = math.exp(log_ratio)
    return quotient - log_ratio - 1, (1 - quotient) * slope(reference - logp)
