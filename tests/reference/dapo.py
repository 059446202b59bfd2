"""DAPO: arXiv:2503.14476 eqs. 8 to 13. Clip-higher, a mean over the window's tokens, overlong reward, no KL."""

import numpy as np

from .clipped import clipped
from .estimators import counted, group_relative, groups
from .reference import Reference
from .tokens import Batch, Params, Token, mean_of_tokens, summed


def overlong(length: float, max_length: float, cache: float) -> float:
    """Soft overlong punishment, eq. 13: 0, then falling over the last `cache` tokens, never below -1."""
    if length <= max_length - cache:
        return 0.0
    if length <= max_length:
        return (max_length - cache - length) / cache
    return -1.0


def estimate(batch: Batch, params: Params) -> np.ndarray:
    """Of the reward with the overlong punishment of each row's trained length added."""
    reward = np.array(batch["reward"], dtype=np.float64)
    for row in counted(batch):
        reward[row] += overlong(int(batch["mask"][row].sum()), params["max_length"], params["cache"])
    return group_relative({**batch, "reward": reward}, params)


def keep(batch: Batch, _: Params) -> np.ndarray:
    """Dynamic sampling, eq. 11: the rows `[N]` whose group has both a right and a wrong completion.

    Right is what the batch's `correct` says, else a reward above 0.
    """
    result, correct = np.zeros(len(batch["mask"]), dtype=bool), batch.get("correct", batch["reward"] > 0)
    for rows in groups(batch):
        right = [bool(correct[row]) for row in rows]
        result[rows] = any(right) and not all(right)
    return result


def surrogate(token: Token, params: Params) -> tuple[float, float]:
    """PPO's clip with its own epsilon on each side."""
    return clipped(token, 1 - params["eps_low"], 1 + params["eps_high"])


REFERENCES = {
    "dapo": Reference(
        {"eps_low": 0.2, "eps_high": 0.28, "max_length": 20480, "cache": 4096},
        estimate,
        summed(surrogate, mean_of_tokens),
        tries=({"eps_low": 0.1, "eps_high": 0.5}, {"max_length": 6, "cache": 3}),
        keep=keep,
    )
}
