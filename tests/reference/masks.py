"""Objectives that mask tokens by entropy, probability or covariance, or add to a loss by them.

Sources: STAPO arXiv:2602.15620; off-policy sequence mask arXiv:2512.02556 as TRL 1.16.0 has it; top-entropy
tokens arXiv:2506.01939; Clip-Cov and KL-Cov arXiv:2505.22617 as verl 0.9.1 has them; entropy in the
advantage arXiv:2506.14758.
"""

import math
import struct
from collections.abc import Sequence

import numpy as np

from .dapo import REFERENCES as DAPO
from .dapo import surrogate
from .estimators import group_relative, mean
from .factors import excluding, multiplied, muting
from .reference import Reference
from .tokens import Batch, Params, Token, bounded, mean_of_sequences, mean_of_tokens, slope, summed, tokens


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, interpolated linearly between neighbours."""
    ordered, place = sorted(values), q * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def where(batch: Batch, chosen: Sequence[Token]) -> np.ndarray:
    """True `[N, T]` at these tokens."""
    result = np.zeros(batch["mask"].shape, dtype=bool)
    for token in chosen:
        result[token.row, token.column] = True
    return result


def entropies(batch: Batch, chosen: Sequence[Token]) -> list[float]:
    return [float(batch["entropy"][token.row, token.column]) for token in chosen]


def improbable(batch: Batch, params: Params, advantage: np.ndarray) -> list[Token]:
    """Tokens of good completions to which the policy gives less than `tau_p`."""
    return [
        token
        for token in tokens(batch, advantage)
        if token.advantage > 0 and math.exp(token.held) < params["tau_p"]
    ]


def spurious(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """STAPO's tokens: good, improbable, and of an entropy below the quantile of such tokens."""
    among = improbable(batch, params, advantage)
    if not among:
        return where(batch, [])
    threshold = quantile(entropies(batch, among), params["q"])
    return where(batch, [t for t in among if batch["entropy"][t.row, t.column] < threshold])


def spurious_in_window(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """As the paper's first versions have it: the quantile is that of all tokens of the window."""
    everything = list(tokens(batch, advantage))
    if not everything:
        return where(batch, [])
    threshold = quantile(entropies(batch, everything), params["q"])
    among = improbable(batch, params, advantage)
    return where(batch, [t for t in among if batch["entropy"][t.row, t.column] < threshold])


def certain(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """Tokens outside the `share` of the highest entropy in the window."""
    everything = list(tokens(batch, advantage))
    if not everything:
        return where(batch, [])
    threshold = quantile(entropies(batch, everything), 1 - params["share"])
    return where(batch, [t for t in everything if batch["entropy"][t.row, t.column] < threshold])


def off_policy(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """Tokens of A < 0 in completions that have become less likely: mean of log(old / policy) above `delta`."""
    everything = list(tokens(batch, advantage))
    drift = {
        row: mean([bounded(token.old - token.held) for token in everything if token.row == row])
        for row in {token.row for token in everything}
    }
    return where(batch, [t for t in everything if t.advantage < 0 and drift[t.row] > params["delta"]])


def covariances(among: Sequence[Token]) -> list[float]:
    """(A - mean A) (log policy - mean log policy) of each token, means over the tokens."""
    advantage, logp = mean([token.advantage for token in among]), mean([token.held for token in among])
    return [(token.advantage - advantage) * (token.held - logp) for token in among]


def count_of(share: float, count: int) -> int:
    """How many tokens a share of them is: rounded down, at least one."""
    return max(int(share * count), 1)


def draw(old: float, seed: int = 0) -> int:
    """Where a token stands in a seeded draw: two rounds of a 32-bit mixer over the float32 bits of log(old)."""
    (bits,) = struct.unpack("<I", struct.pack("<f", old))
    mixed = (bits + 0x9E3779B9 * (seed + 1)) % 2**32
    for _ in range(2):
        mixed = (mixed ^ (mixed >> 16)) * 0x045D9F3B % 2**32
    return mixed ^ (mixed >> 16)


def covarying(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """Clip-Cov: a drawn share of the tokens of a high covariance that the clip leaves alone."""
    everything = list(tokens(batch, advantage))
    if not everything:
        return where(batch, [])
    candidates = [
        token
        for token, covariance in zip(everything, covariances(everything), strict=True)
        if params["cov_low"] < covariance < params["cov_high"]
        and not (token.advantage > 0 and token.held_ratio > 1 + params["eps_high"])
        and not (token.advantage < 0 and token.held_ratio < 1 - params["eps_low"])
    ]
    candidates.sort(key=lambda token: draw(token.old))
    return where(batch, candidates[: count_of(params["share"], len(everything))])


def most_covarying(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """KL-Cov: the share of tokens of the highest covariance; of equal ones the earlier."""
    everything = list(tokens(batch, advantage))
    if not everything:
        return where(batch, [])
    covariance = covariances(everything)
    order = sorted(range(len(everything)), key=lambda place: (-covariance[place], place))
    return where(batch, [everything[place] for place in order[: count_of(params["share"], len(everything))]])


def kl_cov(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """-A r without a clip, and `beta` |log r| of the chosen tokens; the mean over tokens of both."""
    chosen = most_covarying(batch, params, advantage)

    def term(token: Token, setting: Params) -> tuple[float, float]:
        value, derivative = -token.advantage * token.ratio, -token.advantage * token.ratio_slope
        if chosen[token.row, token.column]:
            log_ratio = token.logp - token.old
            sign = float(np.sign(log_ratio))
            value += setting["beta"] * abs(bounded(log_ratio))
            derivative += setting["beta"] * sign * slope(log_ratio)
        return value, derivative

    return summed(term, mean_of_tokens)(batch, params, advantage)


def lifted(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """A' / A where A' = A + min(alpha H, |A| / kappa), which has the sign of A; 1 where A is 0."""
    result = np.ones(batch["mask"].shape)
    for token in tokens(batch, advantage):
        a, entropy = token.advantage, float(batch["entropy"][token.row, token.column])
        if a != 0:
            result[token.row, token.column] = (
                a + min(params["alpha"] * entropy, abs(a) / params["kappa"])
            ) / a
    return result


CLIP_HIGHER = {"eps_low": 0.2, "eps_high": 0.28}
EVEN = {"eps_low": 0.2, "eps_high": 0.2}

REFERENCES = {
    "stapo": Reference(
        {**CLIP_HIGHER, "tau_p": 0.002, "q": 0.75},
        group_relative,
        excluding(summed(surrogate, mean_of_tokens), spurious),
        tries=({"tau_p": 0.3}, {"tau_p": 0.8, "q": 0.3, "eps_low": 0.4}),
    ),
    "stapo_v1": Reference(
        {**CLIP_HIGHER, "tau_p": 0.002, "q": 0.8},
        group_relative,
        excluding(summed(surrogate, mean_of_tokens), spurious_in_window),
        tries=({"tau_p": 0.6, "q": 0.4},),
    ),
    "grpo_opsm": Reference(
        {**EVEN, "delta": 0.5},
        group_relative,
        multiplied(surrogate, mean_of_sequences, muting(off_policy)),
        tries=({"delta": 0.1, "eps_low": 0.5},),
    ),
    "top_entropy": Reference(
        {**DAPO["dapo"].defaults, "share": 0.2},
        DAPO["dapo"].estimate,
        multiplied(surrogate, mean_of_tokens, muting(certain)),
        tries=({"share": 0.5, "max_length": 6, "cache": 3},),
        keep=DAPO["dapo"].keep,
    ),
    "clip_cov": Reference(
        {**EVEN, "share": 2e-4, "cov_low": 1, "cov_high": 5},
        group_relative,
        multiplied(surrogate, mean_of_tokens, muting(covarying)),
        tries=({"share": 0.2}, {"share": 0.1, "cov_low": 0.1, "cov_high": 2}),
    ),
    "kl_cov": Reference(
        {"share": 2e-4, "beta": 0.1},
        group_relative,
        kl_cov,
        tries=({"share": 0.2, "beta": 1.0},),
    ),
    "entropy_advantage": Reference(
        {**EVEN, "alpha": 0.4, "kappa": 2},
        group_relative,
        multiplied(surrogate, mean_of_sequences, lifted),
        tries=({"alpha": 3.0, "kappa": 1.1},),
    ),
}
