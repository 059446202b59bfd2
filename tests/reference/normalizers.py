"""Advantages that are divided by something else than the group's spread, or set against something else.

Sources: MaxRL arXiv:2602.02710 and its code c0698eb; GDPO arXiv:2601.05242 and its trl-GDPO b080e63; Lite PPO
arXiv:2508.08221 as TRL 1.16.0 has it; W-REINFORCE arXiv:2506.01347 and its code a5d4e7c; QAE arXiv:2509.22611 eq. 3;
ScaleRL arXiv:2510.13786 sec. 4; Magistral arXiv:2506.10910 sec. 2.1; Molt's code 2d62608; VAPO arXiv:2504.05118 as
NeMo-RL 7ea279ab has it; GRPO-LEAD arXiv:2504.09696 and its code 9344bef.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from .baselines import EPSILONS, clipped_with, generalized, whitened
from .dapo import overlong
from .estimators import centred, counted, groups, mean, standardized, std, within_groups
from .reference import Estimate
from .tokens import Batch, Params, mean_of_tokens, trained

EPS = 1e-4
"""What TRL adds to a standard deviation."""


def over_the_mean(rewards: Sequence[float]) -> list[float]:
    """(R - mean) / mean; 0 where the mean is not above 0."""
    rate = mean(rewards)
    return [value / rate if rate > 0 else 0.0 for value in centred(rewards)]


def of_rollout(batch: Batch, name: str = "reward") -> list[float]:
    """The rewards of all rows that take part."""
    return [float(batch[name][row]) for row in counted(batch)]


def over_the_spread_of_all(batch: Batch, params: Params) -> np.ndarray:
    """(R - the group's mean) / (std of all rewards + 1e-4)."""
    return within_groups(centred)(batch, params) / (std(of_rollout(batch)) + EPS)


def centred_in_rollout(batch: Batch, _: Params) -> np.ndarray:
    """R - mean of all rewards; exactly 0 where all are equal."""
    result, rewards = np.zeros(len(batch["mask"])), of_rollout(batch)
    if any(reward != rewards[0] for reward in rewards):
        result[counted(batch)] = centred(rewards)
    return result


def each_by_itself(batch: Batch, params: Params) -> np.ndarray:
    """GDPO: rewards standardised in their groups, their weighted sum over its spread of all completions + 1e-4.

    Each has mean 0 in every group, so the sum has mean 0 too.
    """
    total = np.zeros(len(batch["mask"]))
    for name, weight in (("reward", "w_reward"), ("reward_format", "w_format")):
        own = {**batch, "reward": np.asarray(batch[name], dtype=np.float64)}
        total += params[weight] * within_groups(standardized)(own, params)
    return over_the_spread(total, batch, EPS)


def over_the_spread_of_the_centred(batch: Batch, params: Params) -> np.ndarray:
    """ScaleRL: (R - the group's mean) over the unbiased spread of that, of all completions."""
    return over_the_spread(within_groups(centred)(batch, params), batch)


def over_the_spread_with_overlong(batch: Batch, params: Params) -> np.ndarray:
    """Magistral: the same of rewards with a share of the overlong punishment."""
    reward = np.array(batch["reward"], dtype=np.float64)
    for row in counted(batch):
        length = int(batch["mask"][row].sum())
        reward[row] += params["price"] * overlong(length, params["max_length"], params["cache"])
    return over_the_spread_of_the_centred({**batch, "reward": reward}, params)


def over_the_spread(advantage: np.ndarray, batch: Batch, eps: float = 0.0) -> np.ndarray:
    """Over the unbiased spread of the rows that take part, plus `eps`; 0 without a spread."""
    result, rows = np.zeros(len(advantage)), counted(batch)
    values = [float(advantage[row]) for row in rows]
    if std(values):
        result[rows] = np.array(values) / (std(values) + eps)
    return result


def whitened_tokens(batch: Batch, params: Params) -> np.ndarray:
    """Molt: R - the group's mean on each token, whitened over all tokens with the population's spread."""
    result, centred_ = np.zeros(batch["mask"].shape), within_groups(centred)(batch, params)
    places = list(trained(batch["mask"]))
    values = [float(centred_[row]) for row, _ in places]
    spread = std(values, ddof=0) if places else 0.0
    if spread:
        for at, value in zip(places, values, strict=True):
            result[at] = (value - mean(values)) / spread
    return result


def above_the_quantile(k: float, rewards: Sequence[float]) -> list[float]:
    """QAE: R less the smallest reward that a share `k` of the group does not exceed, over std + 1e-6."""
    size = len(rewards)
    baseline = min(x for x in rewards if sum(other <= x for other in rewards) / size >= k)
    return [(reward - baseline) / (std(rewards) + 1e-6) for reward in rewards]


def quantile_relative(batch: Batch, params: Params) -> np.ndarray:
    return within_groups(partial(above_the_quantile, params["k"]))(batch, params)


def length_adaptive(batch: Batch, params: Params) -> np.ndarray:
    """VAPO: GAE with lambda = 1 - 1 / max(alpha length, 1) of each completion, whitened over all tokens."""
    result = np.zeros(batch["mask"].shape)
    for row in counted(batch):
        own = 1 - 1 / max(params["alpha"] * int(batch["mask"][row].sum()), 1.0)
        alone = {**batch, "mask": np.zeros_like(batch["mask"])}
        alone["mask"][row] = batch["mask"][row]
        result += generalized(alone, {**params, "lambda": own})
    return whitened(result, batch["mask"])


def signed(batch: Batch, params: Params) -> np.ndarray:
    """W-REINFORCE: `positive` for a right completion, -1 for a wrong one."""
    result, correct = np.zeros(len(batch["mask"])), batch.get("correct", batch["reward"] > 0)
    for row in counted(batch):
        result[row] = params["positive"] if correct[row] else -1.0
    return result


def short_and_hard(batch: Batch, params: Params) -> np.ndarray:
    """GRPO-LEAD: right completions discounted by their length among the right ones, then weighed by difficulty.

    Lengths count where the three shortest of the group have a mean above `long`, or are not three.
    """
    result = np.zeros(len(batch["mask"]))
    for rows in groups(batch):
        rewards = [float(batch["reward"][row]) for row in rows]
        lengths = [int(batch["mask"][row].sum()) for row in rows]
        right = [place for place, reward in enumerate(rewards) if reward > 0]
        shortest = sorted(lengths)[:3]
        shaped = list(rewards)
        if right and (len(shortest) < 3 or sum(shortest) > 3 * params["long"]):
            among = [lengths[place] for place in right]
            spread = std(among) if len(among) > 1 else 1.0
            for place in right:
                z = (lengths[place] - mean(among)) / (spread + 1e-6)
                shaped[place] *= math.exp(-params["alpha"] * z)
        if all(value == shaped[0] for value in shaped):
            continue
        share = sum(value > 0 for value in shaped) / len(shaped)
        for row, signal in zip(rows, standardized(shaped, 1e-6), strict=True):
            result[row] = signal * falling(share if signal > 0 else 1 - share, params)
    return result


def falling(share: float, params: Params) -> float:
    """From about `high` where nothing is right to about `low` where everything is."""
    return params["low"] + (params["high"] - params["low"]) / (
        1 + math.exp(params["steep"] * (share - params["mid"]))
    )


def clipped_tokens(estimate: Estimate, *tries: Params, **defaults: float):
    return clipped_with(estimate, mean_of_tokens, *tries, **defaults)


REFERENCES = {
    "max_rl": clipped_tokens(within_groups(over_the_mean), EPSILONS),
    "gdpo": clipped_tokens(
        each_by_itself,
        {"w_reward": 0.5, "w_format": 2.0},
        {"w_reward": 1.0, "w_format": 0.0, **EPSILONS},
        w_reward=1,
        w_format=1,
    ),
    "lite_ppo": clipped_tokens(over_the_spread_of_all, EPSILONS),
    "grpo_lead": clipped_tokens(
        short_and_hard,
        {"alpha": 0.7, "long": 0.0, "steep": 3.0},
        {"alpha": 0.0, "long": 2.0, "low": 1.0, "high": 0.2, "mid": 0.1},
        {"alpha": 2.0, "long": 5.0, "steep": 0.0, **EPSILONS},
        alpha=0.05,
        long=4000,
        low=0.4,
        high=1.5,
        mid=0.75,
        steep=10,
    ),
    "nsr": clipped_tokens(signed, {"positive": 0.0}, {"positive": 1.0, **EPSILONS}, positive=0.1),
}
