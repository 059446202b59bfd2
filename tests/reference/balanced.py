"""BAPO: clip bounds searched until good completions weigh enough.

Sources: WooooDyy/BAPO 7287044 `recipe/bapo/policy_loss.py`, and arXiv:2510.18927 alg. 1.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .clipped import clipped, dual_clipped
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


class Sides(NamedTuple):
    """(ratio, |A|, old) of the tokens of good completions, and of bad ones."""

    good: list[tuple[float, float, float]]
    bad: list[tuple[float, float, float]]


def sides(among: Iterable[Token]) -> Sides:
    found = Sides([], [])
    for token in among:
        if token.advantage:
            side = found.good if token.advantage > 0 else found.bad
            side.append((token.held_ratio, abs(token.advantage), math.exp(token.old)))
    return found


def code_bounds(found: Sides, params: Params) -> Bounds:
    """Good gains, clipped r |A|, over bad ones reach the target: the lower bound is raised first, then the upper."""

    def enough(low: float, high: float) -> bool:
        good = math.fsum(min(ratio, high) * a for ratio, a, _ in found.good)
        bad = math.fsum(max(ratio, low) * a for ratio, a, _ in found.bad)
        return not found.bad or good / (bad + 1e-8) >= params["target"]

    def candidates() -> Iterator[Bounds]:
        for low in stepped(params["low_start"], params["low_max"], params["low_step"]):
            yield low, params["high_start"]
        for high in stepped(params["high_start"], params["high_max"], params["high_step"]):
            yield params["low_max"], high

    return searched(candidates(), enough)


def paper_bounds(found: Sides, params: Params) -> Bounds:
    """Good gains reach a share of all, each weighed by `old`: the upper bound is raised first."""

    def enough(low: float, high: float) -> bool:
        good = math.fsum(old * min(ratio, high) * a for ratio, a, old in found.good)
        bad = math.fsum(old * max(ratio, low) * a for ratio, a, old in found.bad)
        return good >= params["share"] * (good + bad)

    def candidates() -> Iterator[Bounds]:
        for high in stepped(params["high_start"], params["high_max"], params["high_step"]):
            yield params["low_start"], high
        for low in stepped(params["low_start"], params["low_max"], params["low_step"]):
            yield low, params["high_max"]

    return searched(candidates(), enough)


def balanced(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    """The code: a dual clip at `cap` besides."""
    low, high = code_bounds(sides(tokens(batch, advantage)), params)
    term = summed(lambda token, _: dual_clipped(token, low, high, params["cap"]), mean_of_tokens)
    return term(batch, params, advantage)


def balanced_as_in_the_paper(batch: Batch, params: Params, advantage: np.ndarray) -> tuple[float, np.ndarray]:
    low, high = paper_bounds(sides(tokens(batch, advantage)), params)
    return summed(lambda token, _: clipped(token, low, high), mean_of_tokens)(batch, params, advantage)


BOUNDS = {"low_start": 0.6, "low_max": 0.9, "high_start": 1.2, "high_max": 3.0, "high_step": 0.05}

# The first settings of each are such that the search ends midway in some batches of the same number.
REFERENCES = {
    "bapo": Reference(
        {**BOUNDS, "low_step": 0.05, "target": 1.0, "cap": 3.0},
        group_relative,
        balanced,
        tries=(
            {"target": 0.36, "low_start": 0.8, "low_max": 0.95, "high_max": 2.0},
            {"target": 0.6, "low_step": 0.07, "high_step": 0.04},
            {"target": 1e3, "cap": 1.1},
        ),
    ),
    "bapo_paper": Reference(
        {**BOUNDS, "low_step": 0.02, "share": 0.4},
        group_relative,
        balanced_as_in_the_paper,
        tries=({"share": 0.345}, {"share": 0.445, "high_step": 0.07}, {"share": 0.99}, {"share": 0.01}),
    ),
}
