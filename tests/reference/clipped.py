"""PPO's clipped surrogate of one token (arXiv:1707.06347 eq. 7), and Schulman's k3; each with its slope."""

import math

from .tokens import Token, bounded, slope


def pessimistic(ratio: float, a: float, low: float, high: float) -> float:
    """min(r A, clamp(r, low, high) A) as a factor of A: the ratio held from above or below, alone where A is 0."""
    if a == 0:
        return ratio
    return min(ratio, high) if a > 0 else max(ratio, low)


def taken(token: Token, factor: float) -> tuple[float, float]:
    """-A times a factor that is the ratio or a bound in its place: a bound has no slope."""
    slope_of_factor = token.ratio_slope if factor == token.ratio else 0.0
    return -token.advantage * factor, -token.advantage * slope_of_factor


def clipped(token: Token, low: float, high: float) -> tuple[float, float]:
    """-min(r A, clamp(r, low, high) A), and -A r: 0 where the clamped branch is the smaller."""
    return taken(token, pessimistic(token.ratio, token.advantage, low, high))


def dual_clipped(token: Token, low: float, high: float, cap: float) -> tuple[float, float]:
    """The same, and for A < 0 never above -cap A (arXiv:1912.09729 eq. 5)."""
    factor = pessimistic(token.ratio, token.advantage, low, high)
    return taken(token, min(factor, cap) if token.advantage < 0 else factor)


def k3(logp: float, reference: float) -> tuple[float, float]:
    """q/p - log(q/p) - 1, an estimate of KL(policy, reference), and 1 - q/p: 0 outside the bound."""
    log_ratio = bounded(reference - logp)
    quotient = math.exp(log_ratio)
    return quotient - log_ratio - 1, (1 - quotient) * slope(reference - logp)
