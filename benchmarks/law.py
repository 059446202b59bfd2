"""The law of the cost of head and loss, and a model of it from two rates of the machine.

For M tokens, states of H and a vocabulary of V, the three matrix products are 6 M H V multiplications and additions,
and what else is of the size of the logits are two passes over them: the maximum; exponentials and their sum.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.head import Problem, Size
from benchmarks.measure import seconds

PASSES = 2


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second: operations of matrix products, and logits read and written in place."""

    operations: float
    logits: float

    def products(self, size: Size) -> float:
        """Seconds that the three products of a size take."""
        return operations(size) / self.operations

    def head(self, size: Size) -> float:
        """Seconds that head and loss of a size take."""
        return self.products(size) + PASSES * size.tokens * size.words / self.logits

    @property
    def text(self) -> str:
        """The rates in words."""
        return (
            f"the three products at {self.operations / 1e9:,.0f} billion operations a second, and "
            f"{PASSES} passes at {self.logits / 1e9:.2f} billion logits a second"
        )


def operations(size: Size) -> float:
    """Multiplications and additions of the three products of a size."""
    return 6.0 * size.tokens * size.hidden * size.words


def measured_rates(size: Size, *, turns: int) -> Rates:
    """The rates of this machine: of the products of a size, and of one pass over as many logits."""
    logits = torch.ones(size.tokens * size.words)
    took = seconds(
        {"products": Problem(size).by_products(), "pass": lambda: logits.add_(1.0)}, turns=turns, warm_up=1
    )
    return Rates(operations(size) / took["products"], len(logits) / took["pass"])


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The power of the size with which time grows: the slope in log-log by least squares, over the larger half.

    Sizes grow; at least two are needed.
    """
    half = max(2, math.ceil(len(sizes) / 2))
    logs = [[math.log(value) for value in values[-half:]] for values in (sizes, times)]
    return statistics.linear_regression(*logs).slope


def largest_miss(measured: Sequence[float], predicted: Sequence[float]) -> float:
    """By what share of the measured time a prediction is off where it is off most; positive if it is too short."""
    misses = [(real - said) / real for real, said in zip(measured, predicted, strict=True)]
    return max(misses, key=abs)
