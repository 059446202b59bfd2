"""Who gets how much of a reward: steps, tokens, players, the short ones; and experts and teachers beside the reward.

Sources: GiGPO arXiv:2505.10978 as ROLL 8eb27cc2 has it; optimal token baseline arXiv:2602.07078 as verl 0.9.1 has it;
GFPO arXiv:2508.09726; RAE arXiv:2506.24119 as SPIRAL a02d0ed and prime-rl 559b447 have it; AsymRE arXiv:2506.20520;
CFPO arXiv:2601.22801; CHORD arXiv:2508.11408 as ms-swift 3602360a5 has it; MOPD arXiv:2601.02780.
"""

import math
from collections.abc import Sequence

import numpy as np

from .dapo import surrogate
from .estimators import centred, counted, group_relative, groups, mean, standardized, std, within_groups
from .recipes import EVEN
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
)


def standing(values: Sequence[float], eps: float) -> list[float]:
    """(x - mean) / (std + eps); 0 where all are equal."""
    if all(value == values[0] for value in values):
        return [0.0] * len(values)
    return standardized(values, eps)


def by_episode_and_step(batch: Batch, params: Params) -> np.ndarray:
    """GiGPO: an episode among its group, and what came after a step among the group's steps from the same state."""
    result = np.zeros(len(batch["mask"]))
    for rows in groups(batch):
        cells = [("reward", 1.0, rows)]
        for state in {int(batch["anchor"][row]) for row in rows}:
            if state >= 0:
                alike = [row for row in rows if int(batch["anchor"][row]) == state]
                cells.append(("step_return", params["w_step"], alike))
        for name, weight, cell in cells:
            found = standing([float(batch[name][row]) for row in cell], 1e-6)
            for row, value in zip(cell, found, strict=True):
                result[row] += weight * value
    return result


def below_own_baseline(batch: Batch, _: Params) -> np.ndarray:
    """Optimal token baseline: rewards of those that are as long, weighed by 1 - 2p + sum of p^2 of the tokens so far.

    A place that one completion alone has reached has no baseline.
    """
    result = np.zeros(batch["mask"].shape)
    for rows in groups(batch):
        places: dict[int, list[tuple[int, int, float]]] = {}
        for row in rows:
            energy = 0.0
            for place, column in enumerate(np.flatnonzero(batch["mask"][row])):
                chance = math.exp(float(batch["logp_old"][row, column]))
                energy += 1 - 2 * chance + float(batch["collision_old"][row, column])
                places.setdefault(place, []).append((row, int(column), energy))
        most = max(float(batch["reward"][row]) for row in rows)
        for cell in places.values():
            total = max(math.fsum(energy for *_, energy in cell), 1e-8)
            lacking = math.fsum(energy * (float(batch["reward"][row]) - most) for row, _, energy in cell)
            for row, column, _energy in cell:
                own = float(batch["reward"][row])
                result[row, column] = own - most - lacking / total if len(cell) > 1 else own
    return result


def among_the_short(batch: Batch, params: Params) -> np.ndarray:
    """GFPO: the k shortest of a group among themselves; 0 for the others. Of equal ones the earlier is shorter."""
    result = np.zeros(len(batch["mask"]))
    for rows in groups(batch):
        short = sorted(rows, key=lambda row: int(batch["mask"][row].sum()))[: int(params["k"])]
        result[short] = standing([float(batch["reward"][row]) for row in short], 1e-4)
    return result


def above_usual(batch: Batch, _: Params) -> np.ndarray:
    """RAE: the reward minus what the player had on average before."""
    result, rows = np.zeros(len(batch["mask"])), counted(batch)
    result[rows] = [float(batch["reward"][row]) - float(batch["usual"][row]) for row in rows]
    return result


def with_these(batch: Batch, params: Params) -> dict[str, np.ndarray]:
    """RAE: as many steps of the running mean as a player had rewards, each to the mean of these."""
    usual = np.array(batch["usual"], dtype=float)
    for player in np.unique(batch["prompt_id"]):
        rewards = [float(batch["reward"][row]) for row in counted(batch) if batch["prompt_id"][row] == player]
        there = batch["prompt_id"] == player
        for _ in rewards:
            usual[there] = params["decay"] * usual[there] + (1 - params["decay"]) * mean(rewards)
    return {"usual": usual}


def above_a_low_baseline(batch: Batch, params: Params) -> np.ndarray:
    """AsymRE: R - (mean + delta)."""
    result = within_groups(centred)(batch, params)
    result[counted(batch)] -= params["delta"]
    return result


def likelihood(token: Token, _: Params) -> tuple[float, float]:
    """-A log(policy)."""
    return -token.advantage * token.logp, -token.advantage


def parabola(token: Token, params: Params) -> tuple[float, float]:
    """CFPO: -A r + |A| (r - 1)^2 / (2 eps)."""
    away, size = token.ratio - 1, abs(token.advantage) / params["eps"]
    value = -token.advantage * token.ratio + size * away**2 / 2
    return value, (-token.advantage + size * away) * token.ratio_slope


def among_sampled(batch: Batch, _: Params) -> np.ndarray:
    """CHORD: rewards against mean and spread of what the policy sampled; 0 where that has no spread."""
    result = np.zeros(len(batch["mask"]))
    for rows in groups(batch):
        sampled = [float(batch["reward"][row]) for row in rows if not batch["expert"][row]]
        spread = std(sampled) if sampled else 0.0
        if spread:
            result[rows] = [(float(batch["reward"][row]) - mean(sampled)) / (spread + 1e-4) for row in rows]
    return result


def of_experts(batch: Batch, _: Params) -> np.ndarray:
    return np.repeat(batch["expert"][:, None], batch["mask"].shape[1], axis=1)


def mixed(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """CHORD: (1 - mu) of the clip on sampled tokens, mu of -p (1 - p) log(policy) on the experts'."""
    expert, mu = of_experts(batch, params), params["mu"]
    loss, gradient = summed(surrogate, mean_of_tokens)(
        {**batch, "mask": batch["mask"] & ~expert}, params, advantage
    )
    loss, gradient = (1 - mu) * loss, (1 - mu) * gradient
    theirs = {**batch, "mask": batch["mask"] & expert}
    count = int(theirs["mask"].sum())
    for token in tokens(theirs, advantage):
        chance = math.exp(token.held)
        phi = mu * chance * (1 - chance) / count
        loss -= phi * token.logp
        gradient[token.row, token.column] = -phi
    return loss, gradient


def taught(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """MOPD: -w (alpha A + log(teacher / policy)) log(policy); w, 0 outside the band, has no gradient."""

    def term(token: Token, setting: Params) -> tuple[float, float]:
        at = token.row, token.column
        weight = math.exp(bounded(token.held - token.old))
        if not setting["low"] <= weight <= setting["high"]:
            return 0.0, 0.0
        gap = bounded(token.held - float(batch["logp_teacher"][at]))
        push = weight * (gap - setting["alpha"] * token.advantage)
        return push * token.logp, push

    return summed(term, mean_of_sequences, old="logp_rollout")(batch, params, advantage)


REFERENCES = {
    "gigpo": Reference(
        {**EVEN, "w_step": 1},
        by_episode_and_step,
        summed(surrogate, mean_of_tokens),
        tries=({"w_step": 0.0}, {"w_step": 2.5, "eps_high": 0.5}),
    ),
    "optimal_token_baseline": Reference(
        {**EVEN}, below_own_baseline, summed(surrogate, mean_of_tokens), tries=({"eps_low": 0.4},)
    ),
    "gfpo": Reference(
        {**EVEN, "k": 8},
        among_the_short,
        summed(surrogate, mean_of_tokens),
        tries=({"k": 2}, {"k": 3, "eps_high": 0.5}),
    ),
    "rae": Reference(
        {**EVEN, "decay": 0.95},
        above_usual,
        summed(surrogate, mean_of_tokens),
        tries=({"decay": 0.5},),
        memory=with_these,
        starts={"usual": 0.0},
    ),
    "asymre": Reference(
        {"delta": -0.1},
        above_a_low_baseline,
        summed(likelihood, sums_of_sequences),
        tries=({"delta": 0.0}, {"delta": 0.7}),
    ),
    "cfpo": Reference(
        {"eps": 0.2}, group_relative, summed(parabola, mean_of_sequences), tries=({"eps": 1.5}, {"eps": 0.03})
    ),
    "chord": Reference(
        {**EVEN, "mu": 0.1},
        among_sampled,
        mixed,
        left_out=of_experts,
        tries=({"mu": 0.0}, {"mu": 0.9}, {"mu": 0.6, "eps_high": 0.5}),
    ),
    "mopd": Reference(
        {"alpha": 1, "low": 0.5, "high": 5},
        group_relative,
        taught,
        tries=({"alpha": 0.0}, {"alpha": 2.0, "low": 0.9, "high": 1.3}, {"low": 0.0, "high": 1e9}),
    ),
}
