"""Names of types that annotations use."""

from typing import Any

from numpy.arrays import ndarray

ArrayLike = Any


class NDArray:
    """`NDArray[x]` is the one array there is."""

    def __class_getitem__(cls, item: object) -> type:
        return ndarray
