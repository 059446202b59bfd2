"""Which numbers a parameter or an input may be: an interval, or a list, once its ends are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


def number_text(value: float) -> str:
    """The shortest text of a number: 20480, 0.3, 0.0003, inf."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


@dataclass(frozen=True)
class Values:
    """The numbers of an interval, its ends included where it is closed, or those of `choices`, if there are any."""

    low: float = -math.inf
    high: float = math.inf
    low_closed: bool = False
    high_closed: bool = False
    choices: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        if self.choices:
            return value in self.choices
        above = value >= self.low if self.low_closed else value > self.low
        return above and (value <= self.high if self.high_closed else value < self.high)

    def __str__(self) -> str:
        if self.choices:
            return "{" + ", ".join(map(number_text, self.choices)) + "}"
        opening, closing = "[" if self.low_closed else "(", "]" if self.high_closed else ")"
        return f"{opening}{number_text(self.low)}, {number_text(self.high)}{closing}"

    @property
    def typical(self) -> float:
        """One of them: the first of a list, else one near the middle, or near the end that there is."""
        if self.choices:
            return self.choices[0]
        if math.isinf(self.low) and math.isinf(self.high):
            return 0.0
        if math.isinf(self.low) or math.isinf(self.high):
            return self.high - 1 if math.isinf(self.low) else self.low + 1
        return (self.low + self.high) / 2

    @property
    def whole(self) -> tuple[float, float]:
        """The first and the last whole number, infinite where there is none; a list has those of its ends."""
        if self.choices:
            return min(self.choices), max(self.choices)
        first, last = self.low, self.high
        if math.isfinite(first):
            first = math.ceil(first) + (not self.low_closed and first == math.ceil(first))
        if math.isfinite(last):
            last = math.floor(last) - (not self.high_closed and last == math.floor(last))
        return first, last
