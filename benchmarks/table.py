"""Rows of what was measured, what it was measured against, and what was aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measurement and the one it is compared with, in seconds or bytes; `target` bounds their ratio."""

    what: str
    against: str
    measured: float
    compared: float
    target: float
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """How much of the other it takes."""
        return self.measured / self.compared

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.ratio <= self.target

    def markdown(self) -> str:
        """The row of a Markdown table."""
        verdict = "met" if self.met else "**not met**"
        numbers = f"{self._shown(self.measured)} | {self._shown(self.compared)}"
        return (
            f"| {self.what} | {self.against} | {numbers} | {self.ratio:.3f} | {self.target:g} | {verdict} |"
        )

    def _shown(self, value: float) -> str:
        if self.unit == "MB":
            return f"{value / 1e6:,.0f} MB"
        if self.unit != "s":
            return f"{value:g}{self.unit}"
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"


def markdown(rows: Sequence[Row]) -> str:
    """All rows as a Markdown table."""
    header = "| measured | against | took | the other | ratio | at most | |"
    return "\n".join([header, "| --- " * 7 + "|", *(row.markdown() for row in rows)])


def milliseconds(value: float) -> str:
    """Seconds as a cell of a table."""
    return f"{1e3 * value:,.0f} ms"
