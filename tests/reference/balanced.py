"""BAPO: clip bounds searched until good answers weigh enough.

Sources: WooooDyy/BAPO 7287044 `recipe/bapo/policy_loss.py`, and arXiv:2510.18927 alg. 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .clipped import clipped, dual_clipped, pessimistic
from .estimators import group_relative
from .reference import Reference
from .tokens import Batch, Params, Token, mean_of_tokens, summed, tokens


def stepped(start: float, stop: float, step: float) -> Iterator[float]:
    """start, start + step, … and last stop."""
    while start < stop:
        yield start
        start += step
    yield stop


Bounds = tuple[float, float]


def searched(candidates: Iterator[Bounds], enough: Callable[[float, float], bool]) -> Bounds:
    """The first pair of bounds that is enough, else the last."""
    for low, high in candidates:
        if enough(low, high):
            break
    return low, high


def gains(among: Sequence[Token], low: float, high: float) -> tuple[list[float], list[float]]:
    """The clipped r |A| of the tokens of good answers, and of bad ones."""
    good = [pessimistic(t.held_ratio, 1, low, high) * t.advantage for t in among if t.advantage > 0]
    bad = [pessimistic(t.held_ratio, -1, low, high) * -t.advantage for t in among if t.advantage < 0]
    return good, bad


def code_bounds(among: Sequence[Token], params: Params) -> Bounds:
    """Good gains over bad ones reach the target: the lower bound is raised first, then the upper."""

    def enough(low: float, high: float) -> bool:
        good, bad = gains(among, low, high)
        return not bad or math.fsum(good) / (math.fsum(bad) + 1e-8) >= params["target"]

    def candidates() -> Iterator[Bounds]:
        for low in stepped(params["low_start"], params["low_max"], params["low_step"]):
            yield low, params["high_start"]
        for high in stepped(params["high_start"], params["high_max"], params["high_step"]):
            yield params["low_max"], high

    return searched(candidates(), enough)


def paper_bounds(among: Sequence[Token], params: Params) -> Bounds:
    """Good gains reach a share of all, each weighed by `old`: the upper bound is raised first."""
    good_old = [math.exp(t.old) for t in among if t.advantage > 0]
    bad_old = [math.exp(t.old) for t in among if t.advantage < 0]

    def enough(low: float, high: float) -> bool:
        good, bad = gains(among, low, high)
        for_good = math.fsum(p * gain for p, gain in zip(good_old, good, strict=True))
        for_bad = math.fsum(p * gain for p, gain in zip(bad_old, bad, strict=True))
        return for_good >= params["share"] * (for_good + for_bad)

    def candidates() -> Iterator[Bounds]:
        for high in stepped(params["high_start"], params["high_max"], params["high_step"]):
            yield params["low_start"], high
        for low in stepped(params["low_start"], params["low_max"], params["low_step"]):
            yield low, params["high_max"]

    return searched(candidates(), enough)


def balanced(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """The code: a dual clip at `cap` besides."""
    low, high = code_bounds(list(tokens(batch, advantage)), params)
    term = summed(lambda token, _: dual_clipped(token, low, high, params["cap"]), mean_of_tokens)
    return term(batch, params, advantage)


def balanced_as_in_the_paper(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    low, high = paper_bounds(list(tokens(batch, advantage)), params)
    return summed(lambda token, _: clipped(token, low, high), mean_of_tokens)(batch, params, advantage)


BOUNDS = {"low_start": 0.6, "low_max": 0.9, "high_start": 1.2, "high_max": 3.0, "high_step": 0.05}

REFERENCES = {
    "bapo": Reference(
        {**BOUNDS, "low_step": 0.05, "target": 1.0, "cap": 3.0},
        group_relative,
        balanced,
        tries=(
            {"target": 0.5, "low_start": 0.8, "low_max": 0.95, "high_max": 2.0},
            {"target": 1.6, "low_step": 0.07, "high_step": 0.3},
            {"target": 1e3, "cap": 1.1},
        ),
    ),
    "bapo_paper": Reference(
        {**BOUNDS, "low_step": 0.02, "share": 0.4},
        group_relative,
        balanced_as_in_the_paper,
        tries=({"share": 0.55, "high_step": 0.07}, {"share": 0.99}, {"share": 0.01}),
    ),
}
