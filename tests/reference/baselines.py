"""Objectives that differ in how they judge a completion: all are PPO's clip on each token.

Sources: RLOO arXiv:2402.14740; ReMax arXiv:2310.10505; OPO arXiv:2505.23585; REINFORCE++ arXiv:2501.03262;
pass@k arXiv:2503.19595; GAE arXiv:1506.02438; leave-one-out mean and spread as NeMo-RL has them by default.
"""

from collections.abc import Sequence

import numpy as np

from .dapo import surrogate
from .estimators import centred, counted, groups, mean, std, within_groups
from .reference import Estimate, Reference
from .tokens import Batch, Params, Weigh, bounded, mean_of_sequences, mean_of_tokens, summed, trained

EPS_OF_WHITENING = 1e-8
EPS_OF_PASS_AT_K = 1e-6


def others(rewards: Sequence[float], place: int) -> list[float]:
    return [*rewards[:place], *rewards[place + 1 :]]


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """R minus the mean of the others."""
    return [reward - mean(others(rewards, place)) for place, reward in enumerate(rewards)]


def leave_one_out_scaled(rewards: Sequence[float]) -> list[float]:
    """R minus the mean of the others, over the others' spread; undivided where they are all equal."""
    spreads = [std(others(rewards, place)) for place in range(len(rewards))]
    return [value / (spread or 1.0) for value, spread in zip(leave_one_out(rewards), spreads, strict=True)]


def only_the_best(rewards: Sequence[float]) -> list[float]:
    """Pass@k: the largest reward minus the second largest, over the spread; 0 for all others, and for ties."""
    best, second = sorted(rewards, reverse=True)[:2]
    lead = (best - second) / (std(rewards) + EPS_OF_PASS_AT_K)
    return [lead if reward == best else 0.0 for reward in rewards]


def greedy(batch: Batch, _: Params) -> np.ndarray:
    """ReMax: the reward minus that of the greedy completion to the same prompt."""
    result = np.zeros(len(batch["mask"]))
    for row in counted(batch):
        result[row] = float(batch["reward"][row]) - float(batch["reward_greedy"][row])
    return result


def length_weighted(batch: Batch, _: Params) -> np.ndarray:
    """OPO: the reward minus the mean of the group's rewards, each weighted by its completion's trained tokens."""
    result = np.zeros(len(batch["mask"]))
    for rows in groups(batch):
        rewards = [float(batch["reward"][row]) for row in rows]
        if all(reward == rewards[0] for reward in rewards):
            continue
        lengths = [int(batch["mask"][row].sum()) for row in rows]
        baseline = sum(n * reward for n, reward in zip(lengths, rewards, strict=True)) / sum(lengths)
        result[rows] = [reward - baseline for reward in rewards]
    return result


def whitened(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(x - mean) / (std + 1e-8) over the trained tokens, the std unbiased; 0 for one token and for equal ones."""
    everything = [float(values[at]) for at in trained(mask)]
    result, spread = np.zeros(mask.shape), std(everything)
    if spread:
        centre = mean(everything)
        for at in trained(mask):
            result[at] = (float(values[at]) - centre) / (spread + EPS_OF_WHITENING)
    return result


def columns_of(batch: Batch, row: int) -> list[int]:
    """The trained tokens of a row from the last to the first."""
    return [column for column in reversed(range(batch["mask"].shape[1])) if batch["mask"][row, column]]


def generalized(batch: Batch, params: Params) -> np.ndarray:
    """GAE before it is whitened: sums of TD errors, from the last trained token of each completion back."""
    result = np.zeros(batch["mask"].shape)
    for row in counted(batch):
        reward, next_value, advantage = float(batch["reward"][row]), 0.0, 0.0
        for column in columns_of(batch, row):
            value = float(batch["value"][row, column])
            error = reward + params["gamma"] * next_value - value
            advantage = error + params["gamma"] * params["lambda"] * advantage
            result[row, column] = advantage
            reward, next_value = 0.0, value
    return result


def returns(batch: Batch, params: Params) -> np.ndarray:
    """REINFORCE++ before it is whitened: the discounted sum of what is left of a completion's token rewards.

    A token's reward is -kl log(old / reference), and at the last trained token the completion's reward besides.
    """
    result = np.zeros(batch["mask"].shape)
    for row in counted(batch):
        reward, total = float(batch["reward"][row]), 0.0
        for column in columns_of(batch, row):
            if params["kl"]:
                log_ratio = float(batch["logp_old"][row, column]) - float(batch["logp_ref"][row, column])
                reward -= params["kl"] * bounded(log_ratio)
            total = reward + params["gamma"] * total
            result[row, column], reward = total, 0.0
    return result


def centred_per_token(batch: Batch, params: Params) -> np.ndarray:
    """R minus its group's mean, on each token of the completion."""
    return np.repeat(within_groups(centred)(batch, params)[:, None], batch["mask"].shape[1], axis=1)


def whitening(estimate: Estimate) -> Estimate:
    """The estimates of all trained tokens of the rollout, whitened."""
    return lambda batch, params: whitened(estimate(batch, params), batch["mask"])


def clipped_with(estimate: Estimate, weigh: Weigh, *tries: Params, **defaults: float) -> Reference:
    """PPO's clip at 0.2 on both sides with this estimator; `defaults` are further parameters."""
    return Reference({"eps_low": 0.2, "eps_high": 0.2, **defaults}, estimate, summed(surrogate, weigh), tries)


EPSILONS = {"eps_low": 0.1, "eps_high": 0.4}

REFERENCES = {
    "rloo": clipped_with(within_groups(leave_one_out), mean_of_sequences, EPSILONS),
    "remax": clipped_with(greedy, mean_of_sequences, EPSILONS),
    "opo": clipped_with(length_weighted, mean_of_sequences, EPSILONS),
    "grpo_passk": clipped_with(within_groups(only_the_best), mean_of_sequences, EPSILONS),
    "grpo_leave_one_out": clipped_with(within_groups(leave_one_out_scaled), mean_of_sequences, EPSILONS),
    "reinforce_plus_plus_baseline": clipped_with(whitening(centred_per_token), mean_of_sequences, EPSILONS),
    "reinforce_plus_plus": clipped_with(
        whitening(returns),
        mean_of_tokens,
        {"kl": 0.0, "gamma": 0.9},
        {"kl": 0.7, "gamma": 0.5, **EPSILONS},
        kl=0.01,
        gamma=1,
    ),
    "ppo": clipped_with(
        whitening(generalized),
        mean_of_tokens,
        {"gamma": 0.9, "lambda": 0.5},
        {"gamma": 1.0, "lambda": 0.0, **EPSILONS},
        gamma=1,
        **{"lambda": 1},
    ),
}
