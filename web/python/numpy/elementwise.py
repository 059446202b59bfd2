"""Functions of each element, or of pairs of elements; with them the operators of arrays."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from math import inf, nan
from typing import Any

from numpy.arrays import asarray, ndarray
from numpy.dtypes import as_dtype, bool_, common, dtype, float64
from numpy.indexing import broadcast, spread


@contextmanager
def errstate(**_: str) -> Iterator[None]:
    """Floating point never complains here."""
    yield


def _unary(
    fast: Callable[[Any], Any], careful: Callable[[Any], Any], kind: dtype | None
) -> Callable[[Any], Any]:
    """A function of each element; the careful one where the fast one raises."""

    def apply(value: Any) -> ndarray:
        given = asarray(value)
        try:
            found = list(map(fast, given.data))
        except (ValueError, OverflowError, ZeroDivisionError):
            found = list(map(careful, given.data))
        return ndarray(found, given.shape, kind or given.dtype)

    return apply


def _limits(function: Callable[[float], float], at_end: Callable[[float], float]) -> Callable[[float], float]:
    """A function that has a value where Python raises."""

    def careful(value: float) -> float:
        try:
            return function(value)
        except (ValueError, OverflowError):
            return at_end(value)

    return careful


def _of_log(zero: float) -> Callable[[float], float]:
    return lambda x: -inf if x == zero else nan


exp = _unary(math.exp, _limits(math.exp, lambda x: inf), float64)
log = _unary(math.log, _limits(math.log, _of_log(0.0)), float64)
log1p = _unary(math.log1p, _limits(math.log1p, _of_log(-1.0)), float64)
sqrt = _unary(math.sqrt, _limits(math.sqrt, lambda x: nan), float64)
tanh = _unary(math.tanh, math.tanh, float64)
arctan = _unary(math.atan, math.atan, float64)
cos = _unary(math.cos, _limits(math.cos, lambda x: nan), float64)
_abs_of = _unary(operator.abs, operator.abs, None)
isnan = _unary(lambda x: x != x, operator.not_, bool_)
isinf = _unary(math.isinf, math.isinf, bool_)
isfinite = _unary(math.isfinite, math.isfinite, bool_)
logical_not = _unary(operator.not_, operator.not_, bool_)
_negative_of = _unary(operator.neg, operator.neg, None)
_sign_of = _unary(lambda x: x if x != x else type(x)((x > 0) - (x < 0)), operator.neg, None)
_floor = _unary(lambda x: float(math.floor(x)), _limits(lambda x: float(math.floor(x)), lambda x: x), float64)
_ceil = _unary(lambda x: float(math.ceil(x)), _limits(lambda x: float(math.ceil(x)), lambda x: x), float64)


def abs(value: Any) -> ndarray:
    return _abs_of(value)


def negative(value: Any) -> ndarray:
    return _negative_of(value)


def sign(value: Any) -> ndarray:
    return _sign_of(value)


def floor(value: Any) -> ndarray:
    return _floor(value)


def ceil(value: Any) -> ndarray:
    return _ceil(value)


def round(value: Any, digits: int = 0) -> ndarray:
    given, scale = asarray(value), 10.0**digits
    rounded = (
        float(builtins.round(each * scale)) / scale if math.isfinite(each) else each for each in given.data
    )
    return ndarray(list(rounded), given.shape, float64)


def _binary(
    fast: Callable[[Any, Any], Any],
    careful: Callable[[Any, Any], Any] | None = None,
    kind: dtype | None = None,
) -> Callable[[Any, Any], ndarray]:
    """A function of pairs of elements; the careful one where the fast one raises."""

    def apply(one: Any, other: Any) -> ndarray:
        one, other = asarray(one), asarray(other)
        if one.shape == other.shape:
            shape, left, right = one.shape, one.data, other.data
        elif not other.shape:
            shape, left, right = one.shape, one.data, repeat(other.data[0], one.size)
        elif not one.shape:
            shape, left, right = other.shape, repeat(one.data[0], other.size), other.data
        else:
            shape = broadcast(one.shape, other.shape)
            left, right = spread(one.data, one.shape, shape), spread(other.data, other.shape, shape)
        held = kind or common(one.dtype, other.dtype)
        if careful is None:
            return ndarray(list(map(fast, left, right)), shape, held)
        try:
            return ndarray(list(map(fast, left, right)), shape, held)
        except (ValueError, OverflowError, ZeroDivisionError):
            left, right = spread(one.data, one.shape, shape), spread(other.data, other.shape, shape)
            return ndarray(list(map(careful, left, right)), shape, held)

    return apply


def _divided(a: float, b: float) -> float:
    try:
        return a / b
    except ZeroDivisionError:
        return nan if a == 0 or a != a else math.copysign(inf, a) * math.copysign(1.0, b)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return -inf if a < 0 and b % 2 == 1 else inf
    except ValueError:
        if a == 0:
            return math.copysign(inf, a) if b % 2 == 1 else inf
        return nan


def _larger_exponential(a: float, b: float) -> float:
    if a == b:
        return a + math.log(2.0)
    return builtins.max(a, b) + math.log1p(math.exp(-builtins.abs(a - b))) if a - b == a - b else nan


_add, _mul = _binary(operator.add), _binary(operator.mul)
_or, _and = _binary(operator.or_, kind=bool_), _binary(operator.and_, kind=bool_)
subtract = _binary(operator.sub)
divide = _binary(operator.truediv, _divided, float64)
power = _binary(math.pow, _power, float64)
floor_divide = _binary(operator.floordiv)
remainder = _binary(operator.mod)
minimum = _binary(lambda a, b: a if a < b or a != a else b)
maximum = _binary(lambda a, b: a if a > b or a != a else b)
logaddexp = _binary(_larger_exponential, kind=float64)
less, less_equal = _binary(operator.lt, kind=bool_), _binary(operator.le, kind=bool_)
greater, greater_equal = _binary(operator.gt, kind=bool_), _binary(operator.ge, kind=bool_)
equal, not_equal = _binary(operator.eq, kind=bool_), _binary(operator.ne, kind=bool_)
logical_and = _binary(lambda a, b: bool(a and b), kind=bool_)
logical_or = _binary(lambda a, b: bool(a or b), kind=bool_)


def add(one: Any, other: Any) -> ndarray:
    one, other = asarray(one), asarray(other)
    return _or(one, other) if one.dtype is bool_ and other.dtype is bool_ else _add(one, other)


def multiply(one: Any, other: Any) -> ndarray:
    one, other = asarray(one), asarray(other)
    return _and(one, other) if one.dtype is bool_ and other.dtype is bool_ else _mul(one, other)


def _bits(fast: Callable[[Any, Any], Any]) -> Callable[[Any, Any], ndarray]:
    return _binary(fast)


_METHODS: dict[str, Callable[[Any, Any], ndarray]] = {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "truediv": divide,
    "pow": power,
    "floordiv": floor_divide,
    "mod": remainder,
    "and": _bits(operator.and_),
    "or": _bits(operator.or_),
    "xor": _bits(operator.xor),
    "rshift": _bits(operator.rshift),
    "lshift": _bits(operator.lshift),
}


def _in_place(function: Callable[[Any, Any], ndarray]) -> Callable[[ndarray, Any], ndarray]:
    def apply(self: ndarray, other: Any) -> ndarray:
        self.data = self.dtype.cast(function(self, other).data)
        return self

    return apply


for _name, _unary_function in {"neg": negative, "abs": abs}.items():
    setattr(ndarray, f"__{_name}__", lambda self, f=_unary_function: f(self))
ndarray.__invert__ = lambda self: (
    logical_not(self) if self.dtype is bool_ else ndarray([~v for v in self.data], self.shape, self.dtype)
)
for _name, _function in _METHODS.items():
    setattr(ndarray, f"__{_name}__", lambda self, other, f=_function: f(self, other))
    setattr(ndarray, f"__r{_name}__", lambda self, other, f=_function: f(other, self))
    setattr(ndarray, f"__i{_name}__", _in_place(_function))
for _name, _function in {
    "lt": less,
    "le": less_equal,
    "gt": greater,
    "ge": greater_equal,
    "eq": equal,
    "ne": not_equal,
}.items():
    setattr(ndarray, f"__{_name}__", lambda self, other, f=_function: f(self, other))


def where(condition: Any, then: Any, otherwise: Any) -> ndarray:
    condition, then, otherwise = asarray(condition), asarray(then), asarray(otherwise)
    shape = broadcast(condition.shape, then.shape, otherwise.shape)
    held = common(then.dtype, otherwise.dtype)
    choices = (
        spread(part.data, part.shape, shape)
        for part in (condition, then.astype(held, False), otherwise.astype(held, False))
    )
    return ndarray([a if c else b for c, a, b in zip(*choices, strict=True)], shape, held)


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> ndarray:
    found = asarray(default)
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        found = where(condition, choice, found)
    return found


def clip(value: Any, low: Any, high: Any) -> ndarray:
    return minimum(maximum(value, low), high)


def vectorize(function: Callable[..., Any], otypes: Sequence[Any] = (float64,)) -> Callable[..., ndarray]:
    """A function of numbers for arrays."""

    def apply(*arguments: Any) -> ndarray:
        given = [asarray(argument) for argument in arguments]
        shape = broadcast(*(one.shape for one in given))
        columns = (spread(one.data, one.shape, shape) for one in given)
        held = as_dtype(otypes[0])
        return ndarray(held.cast(list(map(function, *columns))), shape, held)

    return apply
