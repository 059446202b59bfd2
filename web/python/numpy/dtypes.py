"""What an array can hold: conditions, whole numbers, numbers."""

from __future__ import annotations

import struct
from itertools import chain
from typing import Any


class dtype:
    """A kind of element. Compares equal to the Python type that holds it."""

    def __init__(self, name: str, kind: str, python: type, code: str = "") -> None:
        self.name, self.kind, self.type, self.code = name, kind, python, code

    def __eq__(self, other: object) -> bool:
        return self is other or (other is self.type and self in (bool_, int64, float64))

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"dtype('{self.name}')"

    def cast(self, values: list[Any]) -> list[Any]:
        """Values as this kind has them, cut to its bits."""
        held = list(map(self.type, values))
        if self is float32:
            return [struct.unpack("f", struct.pack("f", value))[0] for value in held]
        return held

    def __call__(self, value: Any = 0) -> Any:
        from numpy.arrays import asarray

        return asarray(value, dtype=self)


bool_ = dtype("bool", "b", bool)
int32 = dtype("int32", "i", int, "i")
int64 = dtype("int64", "i", int, "q")
float32 = dtype("float32", "f", float, "f")
float64 = dtype("float64", "f", float, "d")
int_ = int64
_OF_PYTHON = {bool: bool_, int: int64, float: float64}
_RANK = {bool_: 0, int32: 1, int64: 2, float32: 3, float64: 4}


def as_dtype(given: Any) -> dtype:
    """The dtype of a Python type, or itself."""
    return given if isinstance(given, dtype) else _OF_PYTHON[given]


def common(*kinds: dtype) -> dtype:
    """The kind that holds values of all of these."""
    return max(kinds, key=_RANK.__getitem__)


def of_values(values: list[Any]) -> dtype:
    """The kind that holds some Python values; nothing is numbers."""
    types = set(map(type, values))
    if not types or float in types:
        return float64
    return int64 if int in types else bool_


def reinterpreted(values: list[Any], old: dtype, new: dtype) -> list[Any]:
    """The same bits as another kind of the same size."""
    return list(
        chain.from_iterable(struct.iter_unpack(new.code, struct.pack(f"{len(values)}{old.code}", *values)))
    )
