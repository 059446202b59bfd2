"""Passes over the logits of some tokens, in place: softmax, functions of whole distributions, and their derivatives.

Of a function F of distributions p and q with logits z, the derivatives with respect to z of p, and of q, are

    entropy H(p)                  -p (log p + H)
    KL(p || q)                    p (log p - log q - KL)                     q - p
    JSD, m = w p + (1 - w) q      w p (log p - log m - KL(p || m))           (1 - w) q (log q - log m - KL(q || m))
    collision C(p) = sum p^2      2 p (p - C)

A log-prob below -1000 counts as -1000: a forbidden token has no share in anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import TypeAlias

import torch
from torch import Tensor

# Rows that are moved or looked at together: few, so that what is held beside the buffer stays small, but enough for
# a call to pay.
_ROWS_AT_ONCE, _NUMBERS_AT_ONCE = 32, 2**18
# exp of the one is 0, and the log of the other finite: 0 times infinity never comes up.
NOTHING, _TINY = -1000.0, 1e-38

Pass: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""A function of tensors that all have a row for each token."""


@dataclass(frozen=True)
class Asked:
    """A function of distributions and the tensor that holds it.

    `places` say of which: 0 is the policy that is trained, others are counted from 1. `weight` is that of the first.
    """

    tensor: str
    word: str
    places: tuple[int, ...]
    weight: float


ENTROPY_OF_POLICY = Asked("entropy", "entropy", (0,), 0.5)


# ---- functions of distributions, as [C, V] of log-probs


@dataclass(frozen=True)
class _Function:
    """A word in torch. Both take log-probs and the weight; `slope` also a position and the value [C, 1], for [C, V]."""

    value: Callable[[Sequence[Tensor], float], Tensor]
    slope: Callable[[Sequence[Tensor], float, int, Tensor], Tensor]


def _expected(log: Tensor, value: Tensor) -> Tensor:
    """The mean of `value` [C, V] under a distribution, [C, 1]."""
    return (log.exp() * value).sum(1, keepdim=True)


def _centred(log: Tensor, value: Tensor) -> Tensor:
    """p (value - its mean): the derivative by logits of the sum of p value, where that of value adds nothing."""
    return log.exp() * (value - _expected(log, value))


def _mixture(logs: Sequence[Tensor], weight: float) -> Tensor:
    return torch.logaddexp(logs[0] + math.log(weight), logs[1] + math.log1p(-weight))


def _jsd(logs: Sequence[Tensor], weight: float) -> Tensor:
    mixed = _mixture(logs, weight)
    first, second = (_expected(log, log - mixed) for log in logs)
    return (weight * first + (1 - weight) * second)[:, 0]


def _jsd_slope(logs: Sequence[Tensor], weight: float, position: int, _: Tensor) -> Tensor:
    share = 1 - weight if position else weight
    return share * _centred(logs[position], logs[position] - _mixture(logs, weight))


_FUNCTIONS = {
    "entropy": _Function(
        lambda logs, _: -_expected(logs[0], logs[0])[:, 0],
        lambda logs, _weight, _position, value: -logs[0].exp() * (logs[0] + value),
    ),
    "kl": _Function(
        lambda logs, _: _expected(logs[0], logs[0] - logs[1])[:, 0],
        lambda logs, _, position, value: (
            logs[1].exp() - logs[0].exp() if position else logs[0].exp() * (logs[0] - logs[1] - value)
        ),
    ),
    "jsd": _Function(_jsd, _jsd_slope),
    "collision": _Function(
        lambda logs, _: _expected(logs[0], logs[0].exp())[:, 0],
        lambda logs, _weight, _position, value: 2 * logs[0].exp() * (logs[0].exp() - value),
    ),
}


def value_of(asked: Asked, logs: Sequence[Tensor]) -> Tensor:
    """The value [C] of a function; `logs` are the log-probs [C, V] of all policies, by place."""
    return _FUNCTIONS[asked.word].value([logs[place] for place in asked.places], asked.weight)


def slope_of(asked: Asked, logs: Sequence[Tensor], value: Tensor) -> Tensor:
    """Its derivative [C, V] with respect to the logits of the policy that is trained; `value` [C] is known."""
    chosen = [logs[place] for place in asked.places]
    return _FUNCTIONS[asked.word].slope(chosen, asked.weight, asked.places.index(0), value[:, None])


# ---- passes over logits, in place

# Written as if everything fitted beside the logits: compiled, nothing does; otherwise few rows are taken at a time.


def log_probs_(logits: Tensor) -> tuple[()]:
    """Turn logits [C, V] into log-probs."""
    logits.copy_(torch.log_softmax(logits, 1).clamp(min=NOTHING))
    return ()


@cache
def exponentials_and_values(asked: tuple[Asked, ...]) -> Pass:
    """The pass that turns logits [C, V] into exp(logits - max); gives the maxima, the sums and each value, [C].

    After the logits it takes the log-probs of the other policies.
    """

    def run(logits: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        top = logits.amax(1)
        below = (logits - top[:, None]).clamp(min=NOTHING)
        exponentials = below.exp()
        total = exponentials.sum(1)
        logits.copy_(exponentials)
        logs = (below - total.log()[:, None], *others) if asked else ()
        values = [
            # In one loop with the total, which the definition would not be.
            total.log() - (exponentials * below).sum(1) / total
            if each == ENTROPY_OF_POLICY
            else value_of(each, logs)
            for each in asked
        ]
        return (top, total, *values)

    return _of_its_own(run)


@cache
def residuals(asked: tuple[Asked, ...]) -> Pass:
    """The pass that turns exponentials [C, V] into p * constant less the slopes of what is asked times coefficients.

    It takes the exponentials, their sums, the constant, a coefficient and then a value for each of what is asked, all
    [C], and the log-probs of the other policies.
    """
    count = len(asked)

    def run(exponentials: Tensor, total: Tensor, constant: Tensor, *rest: Tensor) -> tuple[()]:
        coefficients, values, others = rest[:count], rest[count : 2 * count], rest[2 * count :]
        own = exponentials.clamp(min=_TINY).log() - total.log()[:, None]
        result = exponentials * (constant / total)[:, None]
        for each, coefficient, value in zip(asked, coefficients, values, strict=True):
            result = result - coefficient[:, None] * slope_of(each, (own, *others), value)
        exponentials.copy_(result)
        return ()

    return _of_its_own(run)


def _of_its_own(function: Pass) -> Pass:
    """The function with a code object that no other has: torch.compile keeps its graphs by that, eight at most."""
    assert isinstance(function, FunctionType)
    code = function.__code__.replace(co_name=f"run_{id(function)}")
    return FunctionType(code, function.__globals__, code.co_name, None, function.__closure__)


def rows_at_once(buffer: Tensor) -> int:
    """How many rows of a buffer are moved or looked at together."""
    return max(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // max(1, buffer.shape[1]))


def plain(function: Pass) -> Pass:
    """A pass in a few rows at a time."""

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        rows = rows_at_once(tensors[0])
        parts = [function(*part) for part in zip(*(torch.split(each, rows) for each in tensors), strict=True)]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    return run


@cache
def fused(function: Pass) -> Pass:
    """A pass compiled for any number of rows but one, which torch.compile takes for another shape."""
    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        if len(tensors[0]) == 1:
            return function(*tensors)
        for each in tensors:
            torch._dynamo.decorators.mark_dynamic(each, 0)
        found: tuple[Tensor, ...] = compiled(*tensors)
        return found

    return run
