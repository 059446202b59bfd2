"""Functions of many elements: orders, choices, counts."""

from __future__ import annotations

import builtins
import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate, chain
from math import nan
from typing import Any

from numpy.arrays import asarray, broadcast_to, ndarray
from numpy.dtypes import dtype, float64, int64
from numpy.elementwise import maximum
from numpy.indexing import broadcast, spread


def any(value: Any, axis: int | None = None) -> ndarray:
    return asarray(value).any(axis)


def all(value: Any, axis: int | None = None) -> ndarray:
    return asarray(value).all(axis)


def max(value: Any, *more: Any, axis: int | None = None, initial: Any = None) -> Any:
    if isinstance(value, ndarray):
        return value.max(axis, initial)
    return builtins.max(value, *more)


def min(value: Any, *more: Any, axis: int | None = None, initial: Any = None) -> Any:
    if isinstance(value, ndarray):
        return value.min(axis, initial)
    return builtins.min(value, *more)


def argmax(value: Any, axis: int | None = None) -> ndarray:
    return asarray(value).argmax(axis)


def argmin(value: Any, axis: int | None = None) -> ndarray:
    return asarray(value).argmin(axis)


def count_nonzero(value: Any) -> int:
    return sum(map(bool, asarray(value).data))


def flatnonzero(value: Any) -> ndarray:
    found = [place for place, each in enumerate(asarray(value).data) if each]
    return ndarray(found, (len(found),), int64)


def extract(condition: Any, value: Any) -> ndarray:
    given = asarray(value)
    found = [each for kept, each in zip(asarray(condition).data, given.data, strict=True) if kept]
    return ndarray(found, (len(found),), given.dtype)


def _by_rows(
    value: ndarray, axis: int | None, function: Callable[[list[Any]], list[Any]], kind: dtype
) -> ndarray:
    """Each row along the last axis replaced; without an axis, everything in one row."""
    if axis is None:
        return ndarray(function(value.data), (value.size,), kind)
    axis %= value.ndim
    if axis == 0 and value.ndim == 2:
        return _by_rows(value.T, 1, function, kind).T
    rows, _ = value._along(axis)
    return ndarray(list(chain.from_iterable(map(function, rows))), value.shape, kind)


def cumsum(value: Any, axis: int | None = None) -> ndarray:
    given = asarray(value)
    held = given.dtype if given.dtype.kind == "f" else int64
    return _by_rows(given, axis, lambda row: held.cast(list(accumulate(row))), held)


ndarray.cumsum = cumsum
maximum.accumulate = lambda value, axis=0: _by_rows(
    value, axis, lambda row: list(accumulate(row, _nan_max)), value.dtype
)


def _nan_max(a: Any, b: Any) -> Any:
    return a if a > b or a != a else b


def argsort(value: Any, axis: int = -1, kind: str = "stable") -> ndarray:
    given = asarray(value)

    def order(row: list[Any]) -> list[int]:
        return sorted(range(len(row)), key=lambda place: (row[place] != row[place], row[place]))

    return _by_rows(given, axis, order, int64)


def take_along_axis(value: Any, places: Any, axis: int) -> ndarray:
    rows, _ = value._along(axis)
    chosen, _ = places._along(axis)
    return ndarray(
        [row[p] for row, here in zip(rows, chosen, strict=True) for p in here], places.shape, value.dtype
    )


def put_along_axis(target: ndarray, places: Any, values: Any, axis: int) -> None:
    width = target.shape[axis]
    given = broadcast_to(values, places.shape)
    for number, (place, value) in enumerate(zip(places.data, given.data, strict=True)):
        target.data[number // width * width + place] = target.dtype.type(value)


def bincount(places: Any, weights: Any = None, minlength: int = 0) -> ndarray:
    given = asarray(places).data
    size = builtins.max(int(minlength), builtins.max(given, default=-1) + 1)
    found: list[Any] = [0 if weights is None else 0.0] * size
    for place, weight in zip(
        given, [1] * len(given) if weights is None else asarray(weights).data, strict=True
    ):
        found[place] += weight
    return ndarray(found, (size,), int64 if weights is None else float64)


def unique(value: Any, axis: int | None = None, return_inverse: bool = False) -> Any:
    """The different elements, or columns if `axis` is 1, sorted; with where among them each is."""
    given = asarray(value)
    columns = list(zip(*(row for row in given._along(1)[0]), strict=True)) if axis == 1 else list(given.data)
    kept = sorted(set(columns))
    found = ndarray(kept, (len(kept),), given.dtype)
    if axis == 1:
        flat = [column[row] for row in range(given.shape[0]) for column in kept]
        found = ndarray(flat, (given.shape[0], len(kept)), given.dtype)
    if not return_inverse:
        return found
    place = {column: number for number, column in enumerate(kept)}
    return found, ndarray([place[column] for column in columns], (len(columns),), int64)


def searchsorted(ordered: Any, values: Any) -> ndarray:
    given = asarray(values)
    return ndarray([bisect_left(asarray(ordered).data, each) for each in given.data], given.shape, int64)


def quantile(value: Any, share: float) -> float:
    """By linear interpolation."""
    ordered = sorted(asarray(value).data)
    if builtins.any(each != each for each in ordered):
        return nan
    place = (len(ordered) - 1) * share
    low = builtins.min(math.floor(place), len(ordered) - 1)
    high, part = builtins.min(low + 1, len(ordered) - 1), place - low
    one, other = ordered[low], ordered[high]
    return other - (other - one) * (1 - part) if part >= 0.5 else one + (other - one) * part


def allclose(one: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    one, other = asarray(one), asarray(other)
    shape = broadcast(one.shape, other.shape)

    def close(a: float, b: float) -> bool:
        if a == b or (equal_nan and a != a and b != b):
            return True
        return math.isfinite(b) and builtins.abs(a - b) <= atol + rtol * builtins.abs(b)

    return builtins.all(
        map(close, spread(one.data, one.shape, shape), spread(other.data, other.shape, shape))
    )
