"""The array: a flat list with a shape, its parts, and what reduces it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from itertools import chain
from math import prod
from typing import Any

from numpy.dtypes import as_dtype, bool_, common, dtype, float64, int64, reinterpreted
from numpy.indexing import broadcast, positions, spread, strides


class ndarray:
    """Values in the order of their places, and a shape."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, data: list[Any], shape: tuple[int, ...], kind: dtype) -> None:
        self.data, self.shape, self.dtype = data, shape, kind

    def __class_getitem__(cls, item: object) -> type:
        return cls

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def T(self) -> ndarray:
        if self.ndim < 2:
            return self
        rows, columns = self.shape
        return ndarray(
            list(chain.from_iterable(self.data[c::columns] for c in range(columns))),
            (columns, rows),
            self.dtype,
        )

    @property
    def flat(self) -> list[Any]:
        return self.data

    def astype(self, kind: Any, copy: bool = True) -> ndarray:
        kind = as_dtype(kind)
        return ndarray(list(self.data) if kind is self.dtype else kind.cast(self.data), self.shape, kind)

    def view(self, kind: dtype) -> ndarray:
        return ndarray(reinterpreted(self.data, self.dtype, kind), self.shape, kind)

    def copy(self) -> ndarray:
        return ndarray(list(self.data), self.shape, self.dtype)

    def ravel(self) -> ndarray:
        return ndarray(self.data, (len(self.data),), self.dtype)

    flatten = ravel

    def reshape(self, *shape: Any) -> ndarray:
        sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else list(shape)
        if -1 in sizes:
            known = prod(size for size in sizes if size != -1)
            sizes[sizes.index(-1)] = len(self.data) // known if known else 0
        if prod(sizes) != len(self.data):
            raise ValueError(f"{len(self.data)} values have no shape {tuple(sizes)}")
        return ndarray(self.data, tuple(sizes), self.dtype)

    def item(self) -> Any:
        if len(self.data) != 1:
            raise ValueError("only one value can be an item")
        return self.data[0]

    def tolist(self) -> Any:
        if not self.shape:
            return self.data[0]
        return [part.tolist() if isinstance(part, ndarray) else part for part in self]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single number has no length")
        return self.shape[0]

    def __iter__(self) -> Any:
        if self.ndim == 1:
            return iter(self.data)
        return (self[row] for row in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        places, shape = positions(self.shape, index)
        data = self.data
        found = [data[place] for place in places]
        single = not shape and not isinstance(index, ndarray)
        return found[0] if single else ndarray(found, shape, self.dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        places, shape = positions(self.shape, index)
        given = asarray(value)
        for place, each in zip(places, self.dtype.cast(spread(given.data, given.shape, shape)), strict=True):
            self.data[place] = each

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def __format__(self, text: str) -> str:
        return format(self.item(), text) if not self.shape else str(self)

    def __hash__(self) -> int:
        return hash(self.item())

    def __repr__(self) -> str:
        return f"array({self.tolist()!r})"

    # ---- reductions

    def _along(self, axis: int | None, keepdims: bool = False) -> tuple[list[list[Any]], tuple[int, ...]]:
        """What is reduced together, and the shape of the results."""
        if axis is None:
            return [self.data], (1,) * self.ndim if keepdims else ()
        axis %= self.ndim
        size, step = self.shape[axis], strides(self.shape)[axis]
        outer, kept = prod(self.shape[:axis]), 1 if keepdims else None
        shape = tuple(
            size if place != axis else 1 for place, size in enumerate(self.shape) if place != axis or kept
        )
        if step == 1:
            return [self.data[start * size : (start + 1) * size] for start in range(outer)], shape
        whole = size * step
        starts = (block * whole + inner for block in range(outer) for inner in range(step))
        return [self.data[start : start + whole - step + 1 : step] if size else [] for start in starts], shape

    def _reduced(
        self, function: Callable[[list[Any]], Any], axis: int | None, kind: dtype, keepdims: bool = False
    ) -> Any:
        cells, shape = self._along(axis, keepdims)
        return ndarray([function(cell) for cell in cells], shape, kind)

    def sum(self, axis: int | None = None, keepdims: bool = False) -> ndarray:
        if self.dtype.kind == "f":
            return self._reduced(_total, axis, float64, keepdims)
        return self._reduced(sum, axis, int64, keepdims)

    def mean(self, axis: int | None = None, keepdims: bool = False) -> ndarray:
        return self._reduced(
            lambda cell: _total(cell) / len(cell) if cell else math.nan, axis, float64, keepdims
        )

    def any(self, axis: int | None = None) -> ndarray:
        return self._reduced(lambda cell: any(cell), axis, bool_)

    def all(self, axis: int | None = None) -> ndarray:
        return self._reduced(lambda cell: all(cell), axis, bool_)

    def max(self, axis: int | None = None, initial: Any = None, keepdims: bool = False) -> ndarray:
        return self._reduced(lambda cell: _extreme(cell, initial, operator.gt), axis, self.dtype, keepdims)

    def min(self, axis: int | None = None, initial: Any = None, keepdims: bool = False) -> ndarray:
        return self._reduced(lambda cell: _extreme(cell, initial, operator.lt), axis, self.dtype, keepdims)

    def argmax(self, axis: int | None = None) -> ndarray:
        return self._reduced(lambda cell: _first_extreme(cell, max), axis, int64)

    def argmin(self, axis: int | None = None) -> ndarray:
        return self._reduced(lambda cell: _first_extreme(cell, min), axis, int64)


def _total(values: list[float]) -> float:
    return sum(values, 0.0)


def _extreme(values: list[Any], initial: Any, better: Callable[[Any, Any], bool]) -> Any:
    if initial is None and not values:
        raise ValueError("nothing has no largest value")
    found = values[0] if initial is None else initial
    for value in values:
        if better(value, found) or value != value:
            found = value
            if value != value:
                break
    return found


def _first_extreme(values: list[Any], choose: Callable[..., Any]) -> int:
    for place, value in enumerate(values):
        if value != value:
            return place
    return values.index(choose(values))


def asarray(value: Any, dtype: Any = None) -> ndarray:
    """An array of what may be one already, a number, or lists of such."""
    kind = None if dtype is None else as_dtype(dtype)
    if isinstance(value, ndarray):
        return value if kind is None or kind is value.dtype else value.astype(kind)
    if isinstance(value, bool | int | float):
        held = kind or as_dtype(type(value) if type(value) in (bool, int, float) else float)
        return ndarray(held.cast([value]), (), held)
    parts = [asarray(part) for part in value]
    shape = (len(parts), *(parts[0].shape if parts else ()))
    if len({part.shape for part in parts}) > 1:
        raise ValueError("lists of different lengths are no array")
    flat = [each for part in parts for each in part.data]
    held = kind or (common(*(part.dtype for part in parts)) if parts else float64)
    return ndarray(held.cast(flat), shape, held)


def shape_of(given: Any) -> tuple[int, ...]:
    return (
        (int(given),)
        if isinstance(given, int) or (isinstance(given, ndarray) and not given.shape)
        else tuple(map(int, given))
    )


def broadcast_to(value: Any, shape: Any) -> ndarray:
    given, sizes = asarray(value), shape_of(shape)
    if broadcast(given.shape, sizes) != sizes:
        raise ValueError(f"{given.shape} does not become {sizes}")
    return ndarray(spread(given.data, given.shape, sizes), sizes, given.dtype)
