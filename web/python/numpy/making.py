"""Functions that make arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from numpy.arrays import asarray, broadcast_to, ndarray, shape_of
from numpy.dtypes import common, float64, of_values
from numpy.indexing import spread


def array(value: Any, dtype: Any = None, copy: bool = True) -> ndarray:
    return asarray(value, dtype).copy()


ascontiguousarray = asarray


def full(shape: Any, value: Any, dtype: Any = None) -> ndarray:
    given, sizes = asarray(value, dtype), shape_of(shape)
    return ndarray(list(spread(given.data, given.shape, sizes)), sizes, given.dtype)


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> ndarray:
    return full(shape, 1, dtype)


empty = zeros


def ones_like(value: Any, dtype: Any = None) -> ndarray:
    given = asarray(value)
    return ones(given.shape, dtype or given.dtype)


def zeros_like(value: Any, dtype: Any = None) -> ndarray:
    given = asarray(value)
    return zeros(given.shape, dtype or given.dtype)


def empty_like(value: Any, dtype: Any = None) -> ndarray:
    return zeros_like(value, dtype)


def arange(start: Any, stop: Any = None, step: Any = 1) -> ndarray:
    start, stop = (0, start) if stop is None else (start, stop)
    start, stop, step = (each.item() if isinstance(each, ndarray) else each for each in (start, stop, step))
    count = max(math.ceil((stop - start) / step), 0)
    values = [start + place * step for place in range(count)]
    return ndarray(values, (count,), of_values([start, step]))


def linspace(start: float, stop: float, count: int = 50) -> ndarray:
    step = (float(stop) - float(start)) / (count - 1)
    return ndarray([*(place * step + start for place in range(count - 1)), float(stop)], (count,), float64)


def concatenate(parts: Iterable[Any], axis: int = 0) -> ndarray:
    given = [asarray(part) for part in parts]
    held = common(*(part.dtype for part in given))
    flat = held.cast([each for part in given for each in part.data])
    return ndarray(flat, (sum(part.shape[0] for part in given), *given[0].shape[1:]), held)


def stack(parts: Sequence[Any], axis: int = 0) -> ndarray:
    return asarray(list(parts))


class _Rows:
    def __getitem__(self, parts: Any) -> ndarray:
        return concatenate([ravel(part) for part in (parts if isinstance(parts, tuple) else (parts,))])


r_ = _Rows()


def ravel(value: Any) -> ndarray:
    return asarray(value).ravel()


def repeat(value: Any, counts: Any) -> ndarray:
    given, times = asarray(value), asarray(counts)
    spreaded = spread(times.data, times.shape, (given.size,))
    found = [each for each, count in zip(given.data, spreaded, strict=True) for _ in range(count)]
    return ndarray(found, (len(found),), given.dtype)


def resize(value: Any, shape: Any) -> ndarray:
    given, sizes = asarray(value), shape_of(shape)
    count = prod(sizes)
    return ndarray((given.data * (count // max(given.size, 1) + 1))[:count], sizes, given.dtype)


def meshgrid(*axes: Any, indexing: str = "ij") -> list[ndarray]:
    given = [asarray(axis) for axis in axes]
    shape = tuple(axis.size for axis in given)
    places = range(len(shape))
    return [
        broadcast_to(axis.reshape(*(axis.size if here == place else 1 for here in places)), shape)
        for place, axis in enumerate(given)
    ]
