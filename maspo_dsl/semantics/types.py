"""Types of the language: an axis, a kind, and whether gradient flows."""

from __future__ import annotations

from enum import Enum, IntEnum


class Axis(IntEnum):
    """How many values there are; a coarser axis broadcasts to a finer one, going back is a reduction.

    Of a group, or of other cells of whole sequences, each sequence carries the value; of cells of tokens each token.
    """

    SCALAR = 0
    GROUP = 1
    SEQUENCE = 2
    CELL = 3
    TOKEN = 4

    @property
    def word(self) -> str:
        """The axis by its name."""
        return self.name.lower()

    @property
    def one_value(self) -> str:
        """What there is one of, as error messages say it."""
        return "one number for everything" if self is Axis.SCALAR else f"one value a {self.word}"


class Kind(Enum):
    """What a value means; it decides how the compiler computes with it."""

    REAL = "real"
    BOOL = "bool"
    PROB = "probability"
    LOG_PROB = "log-prob"
    RATIO = "ratio"
    LOG_RATIO = "log-ratio"

    @property
    def word(self) -> str:
        """The kind as error messages say it."""
        return {"real": "a number", "bool": "a condition"}.get(self.value, f"a {self.value}")


LOGARITHMIC = frozenset({Kind.LOG_PROB, Kind.LOG_RATIO})
