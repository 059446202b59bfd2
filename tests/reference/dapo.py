"""DAPO: arXiv:2503.14476 eqs. 8 to 13. Clip-higher, a mean over the window's tokens, overlong reward, no KL.

Parameters: `eps_low` 0.2, `eps_high` 0.28, `max_length` 20480 and `cache` 4096 (both in tokens).
"""

from collections.abc import Sequence

import numpy as np

from .clipped import surrogate, surrogate_slope
from .tokens import Batch, Params, advantage_at, given_or, group_relative, mean_of_tokens, trained

DEFAULTS = {"eps_low": 0.2, "eps_high": 0.28, "max_length": 20480, "cache": 4096}

advantage = group_relative


def overlong(length: float, max_length: float, cache: float) -> float:
    """Soft overlong punishment, eq. 13: 0, then falling over the last `cache` tokens, never below -1."""
    if length <= max_length - cache:
        return 0.0
    if length <= max_length:
        return (max_length - cache - length) / cache
    return -1.0


def keep(correct: Sequence[float], group: Sequence[int]) -> np.ndarray:
    """Dynamic sampling, eq. 11: the rows `[N]` whose group has both a right and a wrong answer."""
    result = np.zeros(len(correct), dtype=bool)
    for row in range(len(correct)):
        answers = [bool(correct[other]) for other in range(len(correct)) if group[other] == group[row]]
        result[row] = any(answers) and not all(answers)
    return result


def shaped(batch: Batch, params: Params | None = None) -> np.ndarray:
    """The reward `[N]` with the overlong punishment of each row's trained length added."""
    setting = {**DEFAULTS, **(params or {})}
    punishment = [
        overlong(int(batch["mask"][row].sum()), setting["max_length"], setting["cache"])
        for row in range(len(batch["reward"]))
    ]
    return batch["reward"] + np.array(punishment)


def loss(batch: Batch, params: Params | None = None) -> float:
    """The window's loss, minimised."""
    setting = {**DEFAULTS, **(params or {})}
    weight, advantages = mean_of_tokens(batch["mask"]), _advantage(batch, params)
    total = 0.0
    for row, column in trained(batch["mask"]):
        logp, old = float(batch["logp"][row, column]), float(batch["logp_old"][row, column])
        a = advantage_at(advantages, row, column)
        total += weight[row, column] * surrogate(logp, old, a, setting["eps_low"], setting["eps_high"])
    return total


def dloss_dlogp(batch: Batch, params: Params | None = None) -> np.ndarray:
    """d loss / d logp `[N, T]`; 0 at tokens that are not trained."""
    setting = {**DEFAULTS, **(params or {})}
    weight, advantages = mean_of_tokens(batch["mask"]), _advantage(batch, params)
    gradient = np.zeros(batch["mask"].shape)
    for row, column in trained(batch["mask"]):
        logp, old = float(batch["logp"][row, column]), float(batch["logp_old"][row, column])
        a = advantage_at(advantages, row, column)
        term = surrogate_slope(logp, old, a, setting["eps_low"], setting["eps_high"])
        gradient[row, column] = weight[row, column] * term
    return gradient


def _advantage(batch: Batch, params: Params | None) -> np.ndarray:
    return given_or(batch, lambda _, group, mask: advantage(shaped(batch, params), group, mask))
