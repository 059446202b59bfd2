"""Elementwise operations of the oracle: value and derivative of each, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
_erf = np.vectorize(math.erf, otypes=[np.float64])

VALUES: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "erf": _erf,
    "atan": np.arctan,
    "min": np.minimum,
    "max": np.maximum,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "select": np.where,
    "detach": lambda x: x,
    "expand": lambda x: x[:, None],
}

# Derivative of each operation with respect to each argument, given the arguments and the value.
SLOPES: dict[str, Callable[..., tuple[ArrayLike, ...]]] = {
    "add": lambda v, a, b: (1.0, 1.0),
    "sub": lambda v, a, b: (1.0, -1.0),
    "mul": lambda v, a, b: (b, a),
    "div": lambda v, a, b: (1 / b, -v / b),
    "pow": lambda v, a, b: (b * a ** (b - 1), v * np.log(a)),
    "neg": lambda v, a: (-1.0,),
    "exp": lambda v, a: (v,),
    "log": lambda v, a: (1 / a,),
    "sqrt": lambda v, a: (0.5 / v,),
    "abs": lambda v, a: (np.sign(a),),
    "sigmoid": lambda v, a: (v * (1 - v),),
    "tanh": lambda v, a: (1 - v * v,),
    "erf": lambda v, a: (2 / math.sqrt(math.pi) * np.exp(-a * a),),
    "atan": lambda v, a: (1 / (1 + a * a),),
}
