"""The law of the cost of head and loss, and a model of it from two rates of the machine.

For M tokens, states of H and a vocabulary of V, the three matrix products are 6 M H V multiplications and additions,
and two passes go over the logits: the maximum; exponentials and their sum. Room for the logits of a chunk is made once
a call: the system clears it page by page when it is first written to, unless an earlier call left it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.head import Problem, Size
from benchmarks.measure import seconds
from maspo_dsl.emit.template.head import room_for_logits

PASSES = 2


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second.

    `operations` of matrix products; `logits` read and written in place; logits written to `fresh` memory.
    """

    operations: float
    logits: float
    fresh: float

    def products(self, size: Size) -> float:
        """Seconds that the three products of a size take."""
        return operations(size) / self.operations

    def head(self, size: Size) -> float:
        """Seconds that head and loss of a size take."""
        passes = PASSES * size.tokens * size.vocabulary / self.logits
        return self.products(size) + passes + room(size) / self.fresh

    @property
    def text(self) -> str:
        """The rates in words."""
        return (
            f"the three products at {self.operations / 1e9:,.0f} billion operations a second, {PASSES} passes at "
            f"{self.logits / 1e9:.2f} billion logits a second, room for those of a chunk at "
            f"{self.fresh / 1e9:.2f} billion a second"
        )


def operations(size: Size) -> float:
    """Multiplications and additions of the three products of a size."""
    return 6.0 * size.tokens * size.hidden * size.vocabulary


def room(size: Size) -> int:
    """Logits of a chunk of a size."""
    return min(size.tokens * size.vocabulary, room_for_logits(torch.device("cpu")) // 4)


def measured_rates(size: Size, *, turns: int) -> Rates:
    """The rates of this machine: of the products of a size, of a pass over a chunk of its logits, of room for them."""
    count = room(size)
    logits = torch.ones(count)
    took = seconds(
        {
            "products": Problem(size).by_products(),
            "pass": lambda: logits.add_(1.0),
            "fresh": lambda: torch.ones(count),
        },
        turns=turns,
        warm_up=1,
    )
    return Rates(operations(size) / took["products"], count / took["pass"], count / took["fresh"])


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
