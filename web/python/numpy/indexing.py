"""Where in an array an index points: flat positions, and the shape of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

Shape = tuple[int, ...]


def strides(shape: Shape) -> list[int]:
    """How far apart in the flat list neighbours along each axis are."""
    found, step = [], 1
    for size in reversed(shape):
        found.append(step)
        step *= size
    return found[::-1]


def broadcast(*shapes: Shape) -> Shape:
    """The shape of several together."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise ValueError(f"shapes {shapes} do not go together")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def spread(values: list[Any], shape: Shape, target: Shape) -> list[Any]:
    """A flat list repeated along the axes that a wider shape has."""
    if shape == target:
        return values
    if len(values) == 1:
        return values * prod(target)
    rank = len(target)
    padded = (1,) * (rank - len(shape)) + shape
    if padded[1:] == target[1:]:
        return values * target[0]
    if all(size == 1 for size in padded[1:]) and padded[0] == target[0]:
        width = prod(target[1:])
        return [value for value in values for _ in range(width)]
    steps = [0 if size == 1 else step for size, step in zip(padded, strides(padded), strict=True)]
    return [
        values[place]
        for place in _positions(
            [range(0, n * s, s) if s else [0] * n for n, s in zip(target, steps, strict=True)]
        )
    ]


def _positions(axes: Sequence[Sequence[int]]) -> list[int]:
    """Sums of one offset an axis, the last axis fastest."""
    found = [0]
    for offsets in axes:
        found = [start + offset for start in found for offset in offsets]
    return found


def positions(shape: Shape, index: Any) -> tuple[list[int], Shape]:
    """Flat positions that an index takes, in order, and the shape of the result."""
    parts = _completed(shape, index if isinstance(index, tuple) else (index,))
    steps = strides(shape)
    axes: list[Sequence[int]] = []
    result: list[int] = []
    together: list[tuple[int, Any]] = []
    place_of_together, axis = None, 0
    arrays = any(_is_array(part) for part in parts)
    for part in parts:
        if part is None:
            result.append(1)
            continue
        step, size = steps[axis], shape[axis]
        axis += 1
        if isinstance(part, slice):
            taken = range(*part.indices(size))
            axes.append([place * step for place in taken])
            result.append(len(taken))
        elif arrays:
            if place_of_together is None:
                place_of_together = (len(axes), len(result))
            together.append((axis - 1, part))
        else:
            axes.append([_inside(int(part), size) * step])
    if not together:
        return _positions(axes), tuple(result)
    assert place_of_together is not None
    wide = broadcast(*(part.shape if _is_array(part) else () for _, part in together))
    offsets = [0] * prod(wide)
    for which, part in together:
        values = spread(part.data, part.shape, wide) if _is_array(part) else [int(part)] * prod(wide)
        offsets = [
            offset + _inside(int(value), shape[which]) * steps[which]
            for offset, value in zip(offsets, values, strict=True)
        ]
    before, shown = place_of_together
    axes.insert(before, offsets)
    return _positions(axes), (*result[:shown], *wide, *result[shown:])


def _is_array(part: Any) -> bool:
    return hasattr(part, "data") and hasattr(part, "shape")


def _inside(place: int, size: int) -> int:
    if not -size <= place < size:
        raise IndexError(f"{place} is not within {size}")
    return place % size


def _completed(shape: Shape, parts: tuple[Any, ...]) -> list[Any]:
    """Conditions as whole numbers, `...` and what is left out as whole axes."""
    from numpy.arrays import asarray

    found: list[Any] = []
    for part in parts:
        array = asarray(part) if isinstance(part, list) or _is_array(part) else None
        if array is None or (array.ndim == 0 and array.dtype.kind != "b"):
            found.append(part if array is None else array.data[0])
        elif array.dtype.kind == "b":
            found += _where_true(array)
        else:
            found.append(array)
    missing = len(shape) - sum(part is not None and part is not Ellipsis for part in found)
    whole = [slice(None)] * missing
    place = next((number for number, part in enumerate(found) if part is Ellipsis), None)
    return [*found, *whole] if place is None else [*found[:place], *whole, *found[place + 1 :]]


def _where_true(array: Any) -> list[Any]:
    from numpy.arrays import asarray

    places = [
        where for where, value in zip(product(*map(range, array.shape)), array.data, strict=True) if value
    ]
    return [asarray([where[axis] for where in places], dtype=int) for axis in range(array.ndim)]
