"""A teacher's word, an expert's completions, the tokens so far, and counts that are kept, in the policy gradient.

Sources: Thinking Machines 2025, On-Policy Distillation; LUFFY arXiv:2504.14945 and its code 01f4ae0; M2PO
arXiv:2510.01161 as AReaL 4aef98d8d has it; Pass@k training arXiv:2508.10751; CTPO arXiv:2605.07331 and its code
acc4021; SPO arXiv:2509.13232 as verl-recipe 48ea0a7 has it.
"""

import math

import numpy as np

from .clipped import pessimistic
from .dapo import surrogate
from .estimators import counted, group_relative, groups, mean, std
from .factors import excluding, multiplied
from .recipes import EVEN, behaviour, twice_clipped
from .reference import Reference
from .tokens import (
    Batch,
    Params,
    Token,
    bounded,
    mean_of_sequences,
    mean_of_tokens,
    summed,
    sums_of_sequences,
    tokens,
    trained,
)


def of_teacher(batch: Batch, _: Params) -> np.ndarray:
    """log(teacher / rollout) of each token."""
    result = np.zeros(batch["mask"].shape)
    for at in trained(batch["mask"]):
        result[at] = bounded(float(batch["logp_teacher"][at]) - float(batch["logp_rollout"][at]))
    return result


def plain(token: Token, _: Params) -> tuple[float, float]:
    """-A r."""
    return -token.advantage * token.ratio, -token.advantage * token.ratio_slope


def without_experts(batch: Batch, _: Params) -> np.ndarray:
    """LUFFY: rewards minus the mean of the completions that the policy sampled; without one there is no advantage."""
    result = np.zeros(len(batch["mask"]))
    for rows in groups(batch):
        sampled = [float(batch["reward"][row]) for row in rows if not batch["expert"][row]]
        for row in rows if sampled else ():
            result[row] = batch["reward"][row] - mean(sampled)
    return result


def shaped(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """LUFFY: -A p / (p + shape) of an expert's tokens, -A r of the others, over a constant length."""

    def term(token: Token, setting: Params) -> tuple[float, float]:
        if not batch["expert"][token.row]:
            return plain(token, setting)
        p, shape = math.exp(token.logp), setting["shape"]
        return -token.advantage * p / (p + shape), -token.advantage * p * shape / (p + shape) ** 2

    loss, gradient = summed(term, sums_of_sequences)(batch, params, advantage)
    return loss / params["max_length"], gradient / params["max_length"]


def far_from_sampler(batch: Batch, params: Params, _: np.ndarray | None = None) -> np.ndarray:
    """M2PO: the largest log(old / rollout)^2, until the mean of the others is below tau; one token stays."""
    squares = {
        at: bounded(float(batch["logp_old"][at]) - float(batch["logp_rollout"][at])) ** 2
        for at in trained(batch["mask"])
    }
    result, rest = np.zeros(batch["mask"].shape, dtype=bool), list(squares)
    while len(rest) > 1 and not mean([squares[at] for at in rest]) < params["tau"]:
        largest = max(rest, key=lambda at: squares[at])
        result[largest] = True
        rest.remove(largest)
    return result


def of_sets(batch: Batch, params: Params) -> np.ndarray:
    """Pass@k training: what sets of k completions of a group are worth, standardized; by counts of wrong ones."""
    result, k = np.zeros(len(batch["mask"])), int(params["k"])
    correct = batch.get("correct", batch["reward"] > 0)
    for rows in groups(batch):
        wrong = [row for row in rows if not correct[row]]
        if len(rows) < k:
            continue
        missed = math.comb(len(wrong), k) / math.comb(len(rows), k)
        if not 0 < missed < 1:
            continue
        spread = math.sqrt(missed * (1 - missed))
        for row in rows:
            beside = (
                math.comb(len(wrong) - 1, k - 1) / math.comb(len(rows) - 1, k - 1) if row in wrong else 0.0
            )
            result[row] = (missed - beside) / spread
    return result


def so_far(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """CTPO: the product of the ratios up to a token, the slope of the token's own; bounds grow with its position."""
    sums: dict[int, float] = {}
    places: dict[int, int] = {}
    weight, gradient, total = mean_of_tokens(batch["mask"], params), np.zeros(batch["mask"].shape), 0.0
    for token in tokens(batch, advantage):
        at, row = (token.row, token.column), token.row
        sums[row] = sums.get(row, 0.0) + bounded(token.held - token.old)
        places[row] = places.get(row, 0) + 1
        width, a = places[row] ** params["power"], token.advantage
        ratio = math.exp(sums[row]) * math.exp(token.logp - token.held)
        low, high = math.exp(-params["eps_low"] * width), math.exp(params["eps_high"] * width)
        factor = pessimistic(ratio, a, low, high)
        factor = min(factor, math.exp(params["cap"] * width)) if a < 0 else factor
        total -= weight[at] * a * factor
        gradient[at] = -weight[at] * a * ratio if factor == ratio else 0.0
    return total, gradient


def surprise(batch: Batch, _: Params) -> np.ndarray:
    """SPO: the reward minus the pass rate that was kept, standardized over the rollout."""
    result, rows = np.zeros(len(batch["mask"])), counted(batch)
    if not rows:
        return result
    rates = [float(batch["right"][row]) / float(batch["right"][row] + batch["wrong"][row]) for row in rows]
    values = [float(batch["reward"][row]) - rate for row, rate in zip(rows, rates, strict=True)]
    spread = std(values)
    if spread:
        result[rows] = [(value - mean(values)) / (spread + 1e-8) for value in values]
    return result


def of_prompts(batch: Batch, params: Params) -> dict[str, np.ndarray]:
    """SPO: discounted sums of a prompt's mean reward, and of what that lacks of 1."""
    found = {name: np.array(batch[name], dtype=float) for name in ("right", "wrong")}
    for prompt in np.unique(batch["prompt_id"]):
        rewards = [float(batch["reward"][row]) for row in counted(batch) if batch["prompt_id"][row] == prompt]
        for name, share in (("right", mean(rewards)), ("wrong", 1 - mean(rewards))) if rewards else ():
            there = batch["prompt_id"] == prompt
            found[name][there] = params["rho"] * found[name][there] + share
    return found


REFERENCES = {
    "opd": Reference({}, of_teacher, summed(plain, mean_of_tokens, old="logp_rollout"), reads_reward=False),
    "luffy": Reference(
        {"shape": 0.1, "max_length": 8192},
        without_experts,
        shaped,
        tries=({"shape": 3.0, "max_length": 5.0}, {"shape": 1e-3, "max_length": 1.0}),
    ),
    "m2po": Reference(
        {**EVEN, "cap": 5, "tau": 0.04},
        group_relative,
        excluding(multiplied(surrogate, mean_of_tokens, behaviour), far_from_sampler),
        left_out=far_from_sampler,
        tries=({"tau": 1e-6, "cap": 1.3}, {"tau": 0.005, "eps_high": 1.0}, {"tau": 1e4}),
    ),
    "passk_training": Reference(
        {**EVEN, "k": 4},
        of_sets,
        summed(surrogate, mean_of_sequences),
        tries=({"k": 1}, {"k": 2}, {"k": 3, "eps_low": 0.6}),
    ),
    "ctpo": Reference(
        {"eps_low": 0.025, "eps_high": 0.05, "cap": 0.05, "power": 0.5},
        group_relative,
        so_far,
        tries=(
            {"eps_low": 0.3, "eps_high": 0.4, "cap": 0.9, "power": 1.0},
            {"eps_low": 0.5, "eps_high": 0.2, "cap": 0.7, "power": 0.0},
        ),
    ),
    "spo": Reference(
        {"eps_low": 0.2, "eps_high": 0.28, "cap": 10, "rho": 0.875},
        surprise,
        summed(twice_clipped, mean_of_tokens),
        tries=({"cap": 1.4, "eps_low": 0.5},),
        memory=of_prompts,
        starts={"right": 0.5, "wrong": 0.5},
    ),
}
