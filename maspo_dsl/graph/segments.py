"""Cells of a scope in the oracle: which cell each value is in, and the values of each cell as a row of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.semantics.operations import Array

Index = NDArray[np.int_]


@dataclass(frozen=True, eq=False)
class Segments:
    """`index` says for each value, in the values' shape, which of `count` cells it is in.

    `owner` says of each element of a result, `[N, T]`, `[N]` or 0-d, which cell's value it is.
    """

    index: Index
    count: int
    owner: Index

    @cached_property
    def _layout(self) -> tuple[Index, Index, int] | None:
        """Row and column of each value in the matrix, and how wide that is; None where the values are it already."""
        cell = self.index.ravel()
        sizes = np.bincount(cell, minlength=self.count)
        width = int(sizes.max(initial=0))
        if cell.size == self.count * width and bool((cell[1:] >= cell[:-1]).all()):
            return None
        order = np.argsort(cell, kind="stable")
        column = np.empty_like(cell)
        column[order] = np.arange(cell.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return cell, column, width

    def rows(self, values: Array) -> Array:
        """Values as a matrix `[C, W]` with a cell in each row, in their order; the rest of a row is 0."""
        # numpy takes its time even where there is nothing to repeat.
        same = values.shape == self.index.shape
        whole = (values if same else np.broadcast_to(values, self.index.shape)).ravel()
        if self._layout is None:
            return whole.reshape(self.count, whole.size // max(self.count, 1))
        cell, column, width = self._layout
        matrix = np.zeros((self.count, width), dtype=whole.dtype)
        matrix[cell, column] = whole
        return matrix

    def values(self, matrix: Array) -> Array:
        """What a matrix has for each value, in the values' shape."""
        if self._layout is None:
            return matrix.reshape(self.index.shape)
        cell, column, _ = self._layout
        return np.asarray(matrix[cell, column].reshape(self.index.shape))

    def of_cells(self, result: Array) -> Array:
        """One number for everything, or one for each cell of those of a result's elements."""
        if result.ndim == 0:
            return result
        found = np.zeros(self.count, dtype=result.dtype)
        found[self.owner] = np.broadcast_to(result, self.owner.shape)
        return found

    def received(self, adjoint: Array) -> Array:
        """What each cell gets back: all that the result's elements that are its value get together."""
        whole = np.broadcast_to(adjoint, self.owner.shape)
        return np.asarray(np.bincount(self.owner.ravel(), whole.ravel(), self.count))
