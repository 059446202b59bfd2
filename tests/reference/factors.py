"""Factors on the policy term of each token (weights, and 0 where it is muted), and tokens left out altogether."""

from collections.abc import Callable

import numpy as np

from .reference import Evaluate
from .tokens import Batch, Params, Term, Token, Weigh, summed

Factor = Callable[[Batch, Params, np.ndarray], np.ndarray]
"""From a prepared batch, the parameters and the advantages to the factor `[N, T]` of each token's term."""

Where = Callable[[Batch, Params, np.ndarray], np.ndarray]
"""From a prepared batch, the parameters and the advantages to a condition `[N, T]`."""


def multiplied(term: Term, weigh: Weigh, factor: Factor) -> Evaluate:
    """A weighted sum of one term a token, each multiplied by a factor without gradient; all tokens count."""

    def evaluate(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
        factors = factor(batch, params, advantage)

        def scaled(token: Token, setting: Params) -> tuple[float, float]:
            value, slope = term(token, setting)
            return factors[token.row, token.column] * value, factors[token.row, token.column] * slope

        return summed(scaled, weigh)(batch, params, advantage)

    return evaluate


def muting(muted: Where) -> Factor:
    """0 where the condition holds, 1 elsewhere: the token gives nothing, and still counts."""
    return lambda batch, params, advantage: 1.0 - muted(batch, params, advantage)


def excluding(evaluate: Evaluate, excluded: Where) -> Evaluate:
    """Without the tokens for which the condition, made of all of them, holds: they leave the denominators too."""

    def remaining(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
        mask = batch["mask"] & ~excluded(batch, params, advantage)
        return evaluate({**batch, "mask": mask}, params, advantage)

    return remaining
