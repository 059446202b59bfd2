"""What trainers, and reports of models, put together from parts that others have by themselves.

Sources: prime-rl 559b447 `default_loss_fn`; DeepSeek-V3.2 arXiv:2512.02556 as TRL 1.16.0 has it; FIPO
arXiv:2603.19835 and its code 1493daf; CE-GPPO arXiv:2509.20712 and its code 10558fe; FlashREINFORCE as OpenRLHF
0.11.2 has it; decoupled PPO arXiv:2505.24298 as AReaL 4aef98d has it.
"""

import math

import numpy as np

from .clipped import dual_clipped, k3
from .corrections import of_tokens
from .dapo import REFERENCES as DAPO
from .dapo import surrogate
from .estimators import centred, counted, group_relative, mean, within_groups
from .factors import excluding, multiplied, muting
from .masks import off_policy
from .normalizers import centred_in_rollout
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
    tokens,
)

CLIP_HIGHER = {"eps_low": 0.2, "eps_high": 0.28}
EVEN = {"eps_low": 0.2, "eps_high": 0.2}


def divergent_and_anchored(token: Token, params: Params) -> tuple[float, float]:
    """prime-rl: -A r unless the probability has moved too far the way A pushes, and tau log(r)^2 in any case."""
    moved = math.exp(token.held) - math.exp(token.old)
    beyond = moved > params["d_high"] if token.advantage > 0 else moved < -params["d_low"]
    push = 0.0 if beyond else -token.advantage
    drift = bounded(token.logp - token.old)
    anchor_slope = 2 * params["tau"] * drift * slope(token.logp - token.old)
    return push * token.ratio + params["tau"] * drift**2, push * token.ratio_slope + anchor_slope


def idle(batch: Batch, _: Params, advantage: np.ndarray) -> np.ndarray:
    """Tokens without an advantage."""
    result = np.zeros(batch["mask"].shape, dtype=bool)
    for token in tokens(batch, advantage):
        result[token.row, token.column] = token.advantage == 0
    return result


def masked_with_reverse_kl(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """DeepSeek-V3.2: PPO's clip where the sequence mask leaves it, and kl r k3 of every token."""
    muted = off_policy(batch, params, advantage)

    def term(token: Token, setting: Params) -> tuple[float, float]:
        at = token.row, token.column
        value, derivative = (0.0, 0.0) if muted[at] else surrogate(token, setting)
        if setting["kl"]:
            divergence, divergence_slope = k3(token.logp, float(batch["logp_ref"][at]))
            value += setting["kl"] * token.ratio * divergence
            derivative += setting["kl"] * (token.ratio_slope * divergence + token.ratio * divergence_slope)
        return value, derivative

    return summed(term, mean_of_sequences)(batch, params, advantage)


def influence(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """FIPO: exp of the discounted log-ratios from a token on, within [1, 1 + width]; 1 for far bad tokens."""
    discount, result, following = 2 ** (-1 / params["half"]), np.ones(batch["mask"].shape), {}
    for token in reversed(list(tokens(batch, advantage))):
        log_ratio = bounded(token.held - token.old)
        own = log_ratio if math.exp(log_ratio) <= params["cap"] else 0.0
        total = following[token.row] = own + discount * following.get(token.row, 0.0)
        if not (token.advantage < 0 and token.held_ratio > params["safe"]):
            result[token.row, token.column] = math.exp(min(max(total, 0.0), math.log(1 + params["width"])))
    return result


def astray(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """FIPO: completions with two bad tokens, or more, whose ratio is above the cap."""
    count = np.zeros(len(batch["mask"]), dtype=int)
    for token in tokens(batch, advantage):
        count[token.row] += token.advantage < 0 and token.held_ratio > params["cap"]
    return np.repeat((count > 1)[:, None], batch["mask"].shape[1], axis=1)


def twice_clipped(token: Token, params: Params) -> tuple[float, float]:
    """PPO's clip, and for A < 0 never above -cap A."""
    return dual_clipped(token, 1 - params["eps_low"], 1 + params["eps_high"], params["cap"])


def gradient_preserving(token: Token, params: Params) -> tuple[float, float]:
    """CE-GPPO: beyond the clip a share of the bound, times policy / sg(policy)."""
    low, high = 1 - params["eps_low"], 1 + params["eps_high"]
    if token.advantage < 0 and token.held_ratio < low:
        size = params["beta_low"] * low * math.exp(token.logp - token.held)
        return -token.advantage * size, -token.advantage * size
    if token.advantage > 0 and token.held_ratio > high:
        size = params["beta_high"] * high * math.exp(token.logp - token.held)
        return -token.advantage * size, -token.advantage * size
    if token.advantage < 0 and token.ratio > params["cap"]:
        return -token.advantage * params["cap"], 0.0
    return -token.advantage * token.ratio, -token.advantage * token.ratio_slope


def coins(p: float, q: float) -> float:
    """KL of two coins whose probabilities are held within [1e-6, 1 - 1e-6]."""
    p, q = (min(max(x, 1e-6), 1 - 1e-6) for x in (p, q))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def drifted(batch: Batch, params: Params, _: np.ndarray) -> np.ndarray:
    """FlashREINFORCE: completions whose tokens' mean KL of the sampler from the old policy is above `delta`."""
    result = np.zeros(batch["mask"].shape, dtype=bool)
    for row in counted(batch):
        columns = np.flatnonzero(batch["mask"][row])
        distance = mean(
            [
                coins(math.exp(batch["logp_rollout"][row, c]), math.exp(batch["logp_old"][row, c]))
                for c in columns
            ]
        )
        result[row] = distance > params["delta"]
    return result


def corrected_unless_drifted(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    return of_tokens(batch) * muting(drifted)(batch, params, advantage)


def behaviour(batch: Batch, params: Params, _: np.ndarray) -> np.ndarray:
    """Decoupled PPO as AReaL has it: old / rollout of a token, and 0 above the cap."""
    weight = of_tokens(batch)
    return np.where(weight <= params["cap"], weight, 0.0)


LENGTHS = {"max_length": 6, "cache": 3}

REFERENCES = {
    "prime_default": Reference(
        {"d_low": 0.2, "d_high": 0.2, "tau": 1e-3},
        within_groups(centred),
        excluding(summed(divergent_and_anchored, mean_of_tokens, old="logp_rollout"), idle),
        tries=({"d_low": 0.01, "d_high": 0.3, "tau": 0.0}, {"d_low": 0.3, "d_high": 0.01, "tau": 2.0}),
    ),
    "deepseek_v32": Reference(
        {**EVEN, "delta": 0.5, "kl": 1e-3},
        group_relative,
        masked_with_reverse_kl,
        tries=({"delta": 0.1, "eps_low": 0.5, "kl": 1.5}, {"kl": 0.0}),
    ),
    "fipo": Reference(
        {**DAPO["dapo"].defaults, "half": 32, "width": 0.2, "cap": 10, "safe": 10},
        DAPO["dapo"].estimate,
        excluding(multiplied(twice_clipped, mean_of_tokens, influence), astray),
        tries=({"half": 0.7, "width": 3.0, "cap": 1.6, "safe": 0.4}, {"half": 500, **LENGTHS}),
        keep=DAPO["dapo"].keep,
    ),
    "ce_gppo": Reference(
        {**EVEN, "beta_low": 0.75, "beta_high": 1, "cap": 10},
        group_relative,
        summed(gradient_preserving, mean_of_tokens),
        tries=({"beta_low": 0.0, "beta_high": 0.0}, {"beta_low": 0.3, "beta_high": 2.0, "cap": 1.4}),
        keep=DAPO["dapo"].keep,
    ),
    "flash_reinforce": Reference(
        {**EVEN, "delta": 3e-3},
        centred_in_rollout,
        multiplied(surrogate, mean_of_sequences, corrected_unless_drifted),
        tries=({"delta": 3e-5}, {"delta": 0.5, "eps_low": 0.6}),
    ),
    "decoupled_ppo": Reference(
        {**EVEN, "cap": 5},
        group_relative,
        multiplied(surrogate, mean_of_tokens, behaviour),
        tries=({"cap": 1.0}, {"cap": 1.3, "eps_high": 1.0}),
    ),
}
