"""What trainers, and reports of models, put together from parts that others have by themselves.

Sources: prime-rl 559b447 `default_loss_fn`; DeepSeek-V3.2 arXiv:2512.02556 as TRL 1.16.0 has it; FIPO
arXiv:2603.19835 and its code 1493daf; CE-GPPO arXiv:2509.20712 and its code 10558fe; FlashREINFORCE as OpenRLHF
0.11.2 has it; decoupled PPO arXiv:2505.24298 as AReaL 4aef98d has it; Molt's code 2d62608; Olmo 3 as open-instruct
e6c3044 has it; Magistral arXiv:2506.10910; ScaleRL arXiv:2510.13786; RIPO arXiv:2607.10169; VAPO arXiv:2504.05118;
PSPO arXiv:2509.21282.
"""

import math

import numpy as np

from .clipped import clipped, dual_clipped, k3
from .corrections import geometric_means, of_tokens, truncated
from .dapo import REFERENCES as DAPO
from .dapo import surrogate
from .estimators import centred, counted, group_relative, groups, mean, within_groups
from .factors import excluding, multiplied, muting
from .masks import off_policy
from .normalizers import (
    centred_in_rollout,
    length_adaptive,
    over_the_spread_of_the_centred,
    over_the_spread_with_overlong,
    quantile_relative,
    whitened_tokens,
)
from .reference import Evaluate, Reference
from .scores import capped_ratio
from .tokens import (
    Batch,
    Params,
    Term,
    Token,
    bounded,
    mean_of_sequences,
    mean_of_tokens,
    slope,
    summed,
    tokens,
    trained,
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


def mean_of_groups(batch: Batch) -> np.ndarray:
    """Weight of each token in a mean over a group's tokens, then over the groups that have one."""
    weight, found = np.zeros(batch["mask"].shape), list(groups(batch))
    for rows in found:
        count = int(batch["mask"][rows].sum())
        weight[rows] = batch["mask"][rows] / count / len(found)
    return weight


def by_prompt(term: Term, old: str = "logp_old") -> Evaluate:
    """A mean of a term over each group's tokens, then over groups."""

    def evaluate(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
        weight = mean_of_groups(batch)
        return summed(term, lambda *_: weight, old)(batch, params, advantage)

    return evaluate


def isometric(token: Token, params: Params) -> tuple[float, float]:
    """RIPO: PPO's clip with offsets sqrt(delta / old)."""
    rarity = math.exp(-token.old / 2)
    low, high = (math.sqrt(params[name]) * rarity for name in ("delta_low", "delta_high"))
    return clipped(token, 1 - low, 1 + high)


def smoothed(token: Token, params: Params) -> tuple[float, float]:
    """PSPO: -A ((1 - alpha) r + alpha)."""
    share = 1 - params["alpha"]
    value = -token.advantage * (share * token.ratio + params["alpha"])
    return value, -token.advantage * share * token.ratio_slope


def agreeing(batch: Batch, params: Params, advantage: np.ndarray) -> np.ndarray:
    """Molt: old / rollout of a token where the completion's geometric mean is within the band, else 0."""
    geometric = geometric_means(batch)
    inside = (params["low"] <= geometric) & (geometric <= params["high"])
    return np.where(inside, of_tokens(batch), 0.0)


def molt(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """Clip and dual clip, weighed where sampler and policy agree, and kl / 2 log(policy / reference)^2."""
    factors = agreeing(batch, params, advantage)

    def term(token: Token, setting: Params) -> tuple[float, float]:
        at = token.row, token.column
        value, derivative = twice_clipped(token, setting)
        value, derivative = factors[at] * value, factors[at] * derivative
        if setting["kl"]:
            apart = token.logp - float(batch["logp_ref"][at])
            value += setting["kl"] / 2 * bounded(apart) ** 2
            derivative += setting["kl"] * bounded(apart) * slope(apart)
        return value, derivative

    return summed(term, mean_of_tokens)(batch, params, advantage)


def keep_within_a_percent(batch: Batch, _: Params) -> np.ndarray:
    """Molt: the rows of groups of which between 1 and 99 percent are right."""
    result, correct = np.zeros(len(batch["mask"]), dtype=bool), batch.get("correct", batch["reward"] > 0)
    for rows in groups(batch):
        result[rows] = 0.01 < mean([float(correct[row]) for row in rows]) < 0.99
    return result


def with_likelihood(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """VAPO: the clip, a mean over tokens, and mu times the mean of -log(policy) over tokens of right completions."""
    loss, gradient = summed(surrogate, mean_of_tokens)(batch, params, advantage)
    correct = batch["correct"] if "correct" in batch else batch["reward"] > 0
    right = batch["mask"] & np.asarray(correct, dtype=bool)[:, None]
    count = max(int(right.sum()), 1)
    for at in trained(right):
        loss -= params["mu"] * float(batch["logp"][at]) / count
        gradient[at] -= params["mu"] / count
    return loss, gradient


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
    "molt": Reference(
        {"eps_low": 0.2, "eps_high": 0.27, "cap": 10, "low": 0.99, "high": 1.01, "kl": 1e-3},
        whitened_tokens,
        molt,
        tries=(
            {"low": 0.9, "high": 1.2, "kl": 1.5, "cap": 1.3},
            {"low": 0.0, "high": 1.0, "kl": 0.0, "eps_high": 0.5},
        ),
        keep=keep_within_a_percent,
    ),
    "olmo3": Reference(
        {"eps_low": 0.2, "eps_high": 0.272, "cap": 2},
        within_groups(centred),
        multiplied(surrogate, mean_of_tokens, truncated(of_tokens)),
        tries=({"cap": 1.02}, {"eps_low": 0.6, "eps_high": 2.0}),
        keep=DAPO["dapo"].keep,
    ),
    "magistral": Reference(
        {**DAPO["dapo"].defaults, "price": 0.1},
        over_the_spread_with_overlong,
        by_prompt(surrogate),
        tries=({"price": 2.0, **LENGTHS}, {"price": 0.0, "eps_high": 0.5, **LENGTHS}),
        keep=DAPO["dapo"].keep,
    ),
    "ripo": Reference(
        {"delta_low": 0.05, "delta_high": 0.05},
        group_relative,
        summed(isometric, mean_of_tokens),
        tries=({"delta_low": 1e-4, "delta_high": 1e-4}, {"delta_low": 0.002, "delta_high": 0.5}),
    ),
    "vapo": Reference(
        {"eps_low": 0.2, "eps_high": 0.28, "gamma": 1, "alpha": 0.05, "mu": 0.1},
        length_adaptive,
        with_likelihood,
        tries=({"alpha": 0.7, "gamma": 0.9, "mu": 0.0}, {"alpha": 100.0, "mu": 3.0, "eps_low": 0.5}),
    ),
    "scale_rl": Reference(
        {"cap": 5},
        over_the_spread_of_the_centred,
        by_prompt(capped_ratio, "logp_rollout"),
        tries=({"cap": 1.0}, {"cap": 1.05}),
        keep=DAPO["dapo"].keep,
    ),
    "qae": Reference(
        {"eps_low": 0.2, "eps_high": 0.28, "k": 0.4},
        quantile_relative,
        summed(surrogate, mean_of_tokens),
        tries=({"k": 0.0}, {"k": 1.0, "eps_high": 0.5}, {"k": 0.75}),
        keep=DAPO["dapo"].keep,
    ),
    "pspo": Reference(
        {"alpha": 0.1},
        group_relative,
        summed(smoothed, mean_of_sequences),
        tries=({"alpha": 0.0}, {"alpha": 0.9}),
    ),
}
