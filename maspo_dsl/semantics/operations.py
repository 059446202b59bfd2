"""Elementwise operations, one row each: its word, value and derivatives, how torch and people write it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Partials: TypeAlias = Callable[..., Sequence[ArrayLike]]

ATOM, POWER, UNARY, PRODUCT, SUM, AND, OR, COMPARISON = 100, 90, 80, 70, 60, 50, 40, 30
"""How tightly the parts of a Python expression hold together."""


@dataclass(frozen=True)
class Operation:
    """Everything that is known of an operation on the elements of its arguments, which share an axis.

    `value` computes it in float64. `partials` gives its derivative with respect to each argument, from the value and
    the arguments; None where there is none. `torch` is the function, or the operator if `precedence` is not that of a
    call. `meaning` is that of the word a spec calls it by, empty for an operator. `folds`: a value of numbers alone is
    a number. `slow`: it takes a processor many times as long as a product. `hazard` is the argument whose value of 0
    makes derivatives infinite. `local` names its value in generated files. `latex` and `plain` say how a call is
    written where that is not its word before brackets, like the notation of a `def` whose parameter is `x`.
    """

    name: str
    arity: int
    value: Callable[..., Array]
    partials: Partials | None
    torch: str
    precedence: int = ATOM
    meaning: str = ""
    condition: bool = False
    folds: bool = True
    slow: bool = False
    hazard: int | None = None
    local: str = "value"
    latex: str = ""
    plain: str = ""

    def number(self, *arguments: float) -> float:
        """The value of numbers, by the rules of floating point: NaN where there is none, infinite where too large."""
        with np.errstate(all="ignore"):
            return float(self.value(*map(np.float64, arguments)))


def _function(
    name: str, value: Callable[..., Array], partials: Partials, meaning: str, **more: Any
) -> Operation:
    return Operation(name, 1, value, partials, f"torch.{name}", meaning=meaning, **more)


def _comparison(name: str, symbol: str, value: Callable[..., Array]) -> Operation:
    return Operation(name, 2, value, None, symbol, COMPARISON, condition=True, local="condition")


def _ways(n: float, k: float) -> float:
    """How many ways there are to choose k of n."""
    if not (math.isfinite(n) and math.isfinite(k)):
        return math.nan
    try:
        return float(math.comb(round(n), round(k))) if 0 <= k <= n else 0.0
    except OverflowError:
        return math.inf


def _chosen(v: Array, condition: Array, then: Array, otherwise: Array) -> Sequence[ArrayLike]:
    return 0.0, condition, ~condition


_OPERATIONS = (
    Operation("add", 2, np.add, lambda v, a, b: (1.0, 1.0), "+", SUM, local="added"),
    Operation("sub", 2, np.subtract, lambda v, a, b: (1.0, -1.0), "-", SUM, local="difference"),
    Operation("mul", 2, np.multiply, lambda v, a, b: (b, a), "*", PRODUCT, local="product"),
    Operation(
        "div",
        2,
        np.divide,
        lambda v, a, b: (1 / b, -v / b),
        "/",
        PRODUCT,
        slow=True,
        hazard=1,
        local="quotient",
    ),
    Operation(
        "pow",
        2,
        np.power,
        lambda v, a, b: (b * a ** (b - 1), v * np.log(a)),
        "**",
        POWER,
        slow=True,
        hazard=0,
        local="power",
    ),
    Operation("neg", 1, np.negative, lambda v, a: (-1.0,), "-", UNARY, local="negative"),
    _function(
        "exp", np.exp, lambda v, a: (v,), "e to the power x", slow=True, local="exponential", latex=r"\exp"
    ),
    _function("log", np.log, lambda v, a: (1 / a,), "natural logarithm", slow=True, hazard=0, latex=r"\log"),
    _function(
        "sqrt",
        np.sqrt,
        lambda v, a: (0.5 / v,),
        "square root",
        slow=True,
        hazard=0,
        latex=r"\sqrt{$x}",
        plain="√($x)",
    ),
    _function(
        "abs", np.abs, lambda v, a: (np.sign(a),), "absolute value", latex=r"\left|$x\right|", plain="|$x|"
    ),
    _function(
        "sigmoid",
        lambda x: np.asarray(1 / (1 + np.exp(-x))),
        lambda v, a: (v * (1 - v),),
        "1 / (1 + exp(-x))",
        slow=True,
    ),
    Operation(
        "softplus",
        1,
        lambda x: np.logaddexp(0.0, x),
        lambda v, a: (1 / (1 + np.exp(-a)),),
        "softplus",
        meaning="log(1 + exp(x)), however large x is",
        slow=True,
    ),
    Operation(
        "logsigmoid",
        1,
        lambda x: -np.logaddexp(0.0, -x),
        lambda v, a: (1 / (1 + np.exp(a)),),
        "torch.nn.functional.logsigmoid",
        meaning="log(sigmoid(x)), however small x is",
        slow=True,
    ),
    Operation(
        "binom",
        2,
        np.vectorize(_ways, otypes=[np.float64]),
        None,
        "binom",
        meaning="ways to choose k of n, whole numbers without gradient; 0 where k is below 0 or above n",
        slow=True,
    ),
    _function("tanh", np.tanh, lambda v, a: (1 - v * v,), "hyperbolic tangent", slow=True, latex=r"\tanh"),
    _function(
        "erf",
        np.vectorize(math.erf, otypes=[np.float64]),
        lambda v, a: (2 / math.sqrt(math.pi) * np.exp(-a * a),),
        "error function",
        slow=True,
    ),
    _function("atan", np.arctan, lambda v, a: (1 / (1 + a * a),), "arc tangent", slow=True, latex=r"\arctan"),
    Operation(
        "min",
        2,
        np.minimum,
        lambda v, a, b: (a < b, b < a),
        "torch.minimum",
        meaning="the smaller of two",
        local="bounded",
        latex=r"\min",
    ),
    Operation(
        "max",
        2,
        np.maximum,
        lambda v, a, b: (a > b, b > a),
        "torch.maximum",
        meaning="the larger of two",
        local="bounded",
        latex=r"\max",
    ),
    _comparison("lt", "<", np.less),
    _comparison("le", "<=", np.less_equal),
    _comparison("gt", ">", np.greater),
    _comparison("ge", ">=", np.greater_equal),
    _comparison("eq", "==", np.equal),
    _comparison("ne", "!=", np.not_equal),
    Operation("and", 2, np.logical_and, None, "&", AND, condition=True, folds=False, local="condition"),
    Operation("or", 2, np.logical_or, None, "|", OR, condition=True, folds=False, local="condition"),
    Operation("not", 1, np.logical_not, None, "~", UNARY, condition=True, folds=False, local="condition"),
    Operation("select", 3, np.where, _chosen, "torch.where", folds=False, local="chosen"),
    Operation(
        "detach",
        1,
        lambda x: np.asarray(x),
        None,
        "detach",
        folds=False,
        local="constant",
        latex=r"\mathrm{sg}\left[$x\right]",
        plain="sg[$x]",
    ),
)

OPERATIONS: dict[str, Operation] = {row.name: row for row in _OPERATIONS}
"""Every elementwise operation by name."""

FUNCTIONS: dict[str, Operation] = {row.name: row for row in _OPERATIONS if row.meaning}
"""Those that a spec calls by their name."""

COMPARISONS = {row.torch: row.name for row in _OPERATIONS if row.precedence == COMPARISON}
"""The operation of each comparison that a spec writes."""

OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}
"""The operation of each operator that a spec writes between numbers."""
