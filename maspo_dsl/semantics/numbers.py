"""Operations on plain numbers, by the rules of floating point: what has no value is NaN, what is too large infinite."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

ARITHMETIC: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": lambda a, b: a / b if b else a * math.inf,
    "pow": lambda a, b: a**b,
    "neg": operator.neg,
    "exp": math.exp,
    "log": lambda a: math.log(a) if a else -math.inf,
    "sqrt": math.sqrt,
    "abs": abs,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "tanh": math.tanh,
    "erf": math.erf,
    "atan": math.atan,
    "min": min,
    "max": max,
}

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


def computed(op: str, numbers: Sequence[float]) -> float:
    """The value of an operation of `ARITHMETIC`."""
    try:
        value = ARITHMETIC[op](*numbers)
    except OverflowError:
        return math.inf
    except (ArithmeticError, ValueError):
        return math.nan
    return value if isinstance(value, (int, float)) else math.nan
