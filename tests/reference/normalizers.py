"""Advantages that are divided by something else than the group's spread, or set against something else.

Sources: MaxRL arXiv:2602.02710 and its code c0698eb; GDPO arXiv:2601.05242 and its trl-GDPO b080e63; Lite PPO
arXiv:2508.08221 as TRL 1.16.0 has it; W-REINFORCE arXiv:2506.01347 and its code a5d4e7c. All are PPO's clip on each
token, and a mean over tokens.
"""

from collections.abc import Sequence

import numpy as np

from .baselines import EPSILONS, clipped_with
from .estimators import centred, counted, mean, standardized, std, within_groups
from .reference import Estimate
from .tokens import Batch, Params, mean_of_tokens

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
    """GDPO: rewards standardised in their groups, their weighted sum standardised over all completions."""
    total = np.zeros(len(batch["mask"]))
    for name, weight in (("reward", "w_reward"), ("reward_format", "w_format")):
        own = {**batch, "reward": np.asarray(batch[name], dtype=np.float64)}
        total += params[weight] * within_groups(standardized)(own, params)
    result = np.zeros(len(total))
    rows = counted(batch)
    values = [float(total[row]) for row in rows]
    if rows and std(values):
        result[rows] = standardized(values, EPS)
    return result


def signed(batch: Batch, params: Params) -> np.ndarray:
    """W-REINFORCE: `positive` for a right completion, -1 for a wrong one."""
    result, correct = np.zeros(len(batch["mask"])), batch.get("correct", batch["reward"] > 0)
    for row in counted(batch):
        result[row] = params["positive"] if correct[row] else -1.0
    return result


def clipped_tokens(estimate: Estimate, *tries: Params, **defaults: float):
    return clipped_with(estimate, mean_of_tokens, *tries, **defaults)


REFERENCES = {
    "max_rl": clipped_tokens(within_groups(over_the_mean), EPSILONS),
    "gdpo": clipped_tokens(
        each_by_itself,
        {"w_reward": 0.5, "w_format": 2.0},
        {"w_reward": 0.0, "w_format": 1.0, **EPSILONS},
        w_reward=1,
        w_format=1,
    ),
    "lite_ppo": clipped_tokens(over_the_spread_of_all, EPSILONS),
    "nsr": clipped_tokens(signed, {"positive": 0.0}, {"positive": 1.0, **EPSILONS}, positive=0.1),
}
