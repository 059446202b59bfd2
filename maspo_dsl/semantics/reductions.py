"""Reductions, one row each: what a spec calls it, what the oracle computes in a cell, how torch and people write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.semantics.operations import Array
from maspo_dsl.semantics.scopes import GROUP, MICRO, SEQUENCE, Scope
from maspo_dsl.semantics.types import Axis

Mask: TypeAlias = NDArray[np.bool_]
Statistic: TypeAlias = Callable[..., Array]
Adjoint: TypeAlias = Callable[..., tuple[Array, ...]]
Sort: TypeAlias = Literal["number", "share", "whole", "condition"]


@dataclass(frozen=True)
class ReductionArgument:
    """An argument of a reduction after the value that it reduces.

    `sort`: any number; a `share` from 0 to 1; a `whole` number from `lowest` that is known before anything runs, and
    becomes an attribute of the node; or a condition. `by_value`: there is one for each value that is reduced, else one
    for each result. With a `default` it is given by keyword, and a number may then be infinite. `with_of`: it must be
    said where `of` is. `quantity`: it is not given at all, but that quantity.
    """

    name: str
    sort: Sort
    by_value: bool = False
    default: float | bool | None = None
    lowest: int = 0
    with_of: bool = False
    quantity: str = ""


OF = ReductionArgument("of", "condition", by_value=True, default=True)
"""Which values take part, those where it holds; every reduction within a scope takes it."""


@dataclass(frozen=True)
class Reduction:
    """Everything that is known of a reduction.

    `statistic` computes it in float64 from values `[C, W]`, the cells as rows, whether each takes part `[C, W]`, and
    the arguments: one for each cell `[C]`, or for each value `[C, W]` if `members`. `torch` is the function of the
    template. `values` is what it takes: numbers, conditions, or `mask` if only what takes part matters; `axes` are of
    values it is known for, `scopes` those it is known within, empty for all. `additive`: results of parts add up to
    that of the whole; others need all values, which `pooled` ends. `adjoint` is its derivative: from the derivative of
    something with respect to each result, the values, whether each takes part and the arguments, as `statistic` has
    them, that with respect to the values and to each argument. Without one no gradient passes; it has passed `since`
    that version of the language. `of_zeros` is 0 where all values are; `grows` with how many values there are.
    `along`: from token to token of a completion, with no scope to be given. `ordered`: the order of a completion's
    tokens matters; `by_place`: the order of rows decides between equal values. `keeps_kind`: the largest of log-probs
    is a log-prob. `by_parts`: that of a group's tokens is that of its sequences' results. `latex` is how it is written,
    like the notation of a `def` whose parameters are `x` and the arguments.
    """

    name: str
    word: str
    meaning: str
    statistic: Statistic
    torch: str
    values: Literal["numbers", "condition", "mask"] = "numbers"
    arguments: tuple[ReductionArgument, ...] = ()
    axes: tuple[Axis, ...] = ()
    scopes: tuple[Scope, ...] = ()
    members: bool = False
    condition: bool = False
    additive: bool = False
    adjoint: Adjoint | None = None
    since: int = 1
    of_zeros: bool = False
    grows: bool = False
    along: bool = False
    ordered: bool = False
    by_place: bool = False
    keeps_kind: bool = False
    by_parts: bool = False
    pooled: str = ""
    local: str = "value"
    latex: str = ""

    @property
    def differentiable(self) -> bool:
        """Whether gradient passes to the values."""
        return self.adjoint is not None

    def passes_within(self, scope: Scope) -> bool:
        """Whether gradient passes within a scope: a value that comes from everywhere passes some if parts add up."""
        return self.differentiable and (self.additive or not scope.gathered)

    @property
    def given(self) -> tuple[ReductionArgument, ...]:
        """Arguments that a spec gives, in the order of those without a keyword."""
        own = tuple(argument for argument in self.arguments if not argument.quantity)
        return own if self.along else (OF, *own)

    @property
    def form(self) -> str:
        """How a spec writes it: `quantile(x, q, scope, of = …, empty = …)`."""
        x = "condition" if self.values == "condition" else "x"
        positional = [argument for argument in self.given if argument.default is None]
        before = [argument.name for argument in positional if argument.sort != "whole"]
        after = [argument.name for argument in positional if argument.sort == "whole"]
        keywords = [f"{argument.name} = …" for argument in self.arguments if argument.default is not None]
        keywords = ["of = …", *keywords] if any(one.with_of for one in self.arguments) else keywords
        scope = [] if self.along else ["scope"]
        return f"{self.word}({', '.join([x, *before, *scope, *after, *keywords])})"

    @property
    def attributes(self) -> tuple[str, ...]:
        """Arguments that become attributes of a node."""
        return tuple(argument.name for argument in self.arguments if argument.sort == "whole")

    @property
    def operands(self) -> tuple[ReductionArgument, ...]:
        """Arguments that are values of the graph."""
        return tuple(argument for argument in self.arguments if argument.sort != "whole")


def _sum(values: Array, inside: Mask) -> Array:
    return np.asarray(np.where(inside, values, 0.0).sum(axis=1))


def _largest(values: Array, inside: Mask) -> Array:
    found = np.where(inside, values, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(inside.any(axis=1), found, 0.0)


def _smallest(values: Array, inside: Mask) -> Array:
    return 0.0 - _largest(-values, inside)


def _places(values: Array, inside: Mask) -> Array:
    """1 for the largest of each row that takes part, 2 for the next, …; of equal ones the earlier; 0 for the others."""
    order = np.argsort(np.where(inside, -values, np.inf), axis=1, kind="stable")
    order = np.take_along_axis(order, np.argsort(~np.take_along_axis(inside, order, 1), 1, kind="stable"), 1)
    place = np.empty(values.shape)
    np.put_along_axis(place, order, np.arange(1.0, values.shape[1] + 1)[None], axis=1)
    return np.where(inside, place, 0.0)


def _kth(values: Array, inside: Mask, *, k: float) -> Array:
    return _sum(values, _places(values, inside) == k)


def _quantile(values: Array, inside: Mask, q: Array, empty: Array) -> Array:
    q, count = np.broadcast_to(q, len(values)), inside.sum(axis=1)
    result = np.where(count == 1, _sum(values, inside), empty)
    for cell in np.flatnonzero(count > 1):
        result[cell] = np.quantile(values[cell, inside[cell]], float(q[cell]))
    return result


def _at_least_one(inside: Mask, share: Array) -> Array:
    """How many values a share of each row's members is, rounded down and at least one.

    A share that float32 has a little below its value is no value less: 0.29 of 100 is 29.
    """
    return np.asarray(np.maximum(np.floor(share * inside.sum(axis=1) + 1e-4), 1)[:, None])


def _top(values: Array, inside: Mask, share: Array) -> Array:
    return inside & (_places(values, inside) <= _at_least_one(inside, share))


def _pick(condition: Array, inside: Mask, share: Array, key: Array, *, seed: float) -> Array:
    """The order of the draw is a hash of the key's float32 bits and the seed; of equal ones the earlier is first."""
    mixed = np.ascontiguousarray(key, dtype=np.float32).view(np.int32).astype(np.int64)
    mixed = (mixed + 0x9E3779B9 * (int(seed) + 1)) & 0xFFFFFFFF
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed ^= mixed >> 16
    chosen = inside & condition.astype(bool)
    return np.asarray(chosen & (_places(-mixed.astype(float), chosen) <= _at_least_one(inside, share)))


def _tail(values: Array, inside: Mask, limit: Array) -> Array:
    """The largest of each row are taken out, one by one, until the mean of the rest is below the limit; one is left."""
    order = np.argsort(np.where(inside, _places(values, inside), np.inf), axis=1, kind="stable")
    member, sorted_values = (np.take_along_axis(one, order, 1) for one in (inside, values))
    rest = np.cumsum(np.where(member, sorted_values, 0.0)[:, ::-1], axis=1)[:, ::-1]
    left = np.cumsum(member[:, ::-1], axis=1)[:, ::-1]
    chosen = np.zeros(values.shape, dtype=bool)
    out = (left > 1) & (rest / np.maximum(left, 1) >= np.take_along_axis(limit, order, 1))
    np.put_along_axis(chosen, order, out & member, axis=1)
    return chosen


def _position(values: Array, inside: Mask) -> Array:
    return np.where(inside, np.cumsum(inside, axis=1), 0.0)


def _previous(values: Array, inside: Mask) -> Array:
    result, earlier = np.zeros(values.shape), np.zeros(len(values))
    for t in range(values.shape[1]):
        result[:, t] = np.where(inside[:, t], earlier, 0.0)
        earlier = np.where(inside[:, t], values[:, t], earlier)
    return result


def _running_sum(values: Array, inside: Mask, factor: Array) -> Array:
    """y_t = x_t + factor_t y_(t-1), from the first one on."""
    result, rest = np.zeros(values.shape), np.zeros(len(values))
    for t in range(values.shape[1]):
        earlier = np.where(factor[:, t] == 0, 0.0, factor[:, t] * rest)
        rest = np.where(inside[:, t], values[:, t] + earlier, rest)
        result[:, t] = np.where(inside[:, t], rest, 0.0)
    return result


def _from_running_sum(incoming: Array, values: Array, inside: Mask, factor: Array) -> tuple[Array, Array]:
    """What y_t gets comes from y_t itself and, times the factor there, from the y after it."""
    passed = _discounted_sum(incoming, inside, _next(factor, inside))
    return passed, passed * _previous(_running_sum(values, inside, factor), inside)


def _running_max(values: Array, inside: Mask) -> Array:
    largest = np.maximum.accumulate(np.where(inside, values, -np.inf), axis=1)
    return np.where(inside, largest, 0.0)


def _running_min(values: Array, inside: Mask) -> Array:
    return 0.0 - _running_max(-values, inside)


def _from_running_max(incoming: Array, values: Array, inside: Mask) -> tuple[Array]:
    """Each result is one of the values: of equal ones the first."""
    passed, rows = np.zeros(values.shape), np.arange(len(values))
    best = np.full(len(values), -1)
    for t in range(values.shape[1]):
        better = inside[:, t] & ((best < 0) | (values[:, t] > values[rows, best]))
        best = np.where(better, t, best)
        passed[rows, best] += np.where(inside[:, t], incoming[:, t], 0.0)
    return (passed,)


def _reversed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same from the last token back."""

    def backward(*arguments: Array) -> Any:
        found = function(*(argument[:, ::-1] for argument in arguments))
        return tuple(each[:, ::-1] for each in found) if isinstance(found, tuple) else found[:, ::-1]

    return backward


_next = _reversed(_previous)
_discounted_sum = _reversed(_running_sum)


def _logsumexp(values: Array, inside: Mask) -> Array:
    largest = _largest(values, inside)
    total = np.where(inside, np.exp(values - largest[:, None]), 0.0).sum(axis=1)
    return np.where(inside.any(axis=1), np.log(total) + largest, 0.0)


def _from_sum(incoming: Array, values: Array, inside: Mask) -> tuple[Array]:
    return (np.where(inside, incoming[:, None], 0.0),)


def _from_largest(incoming: Array, values: Array, inside: Mask) -> tuple[Array]:
    """Equal ones share it."""
    those = inside & (values == _largest(values, inside)[:, None])
    return (np.where(those, incoming[:, None] / np.maximum(those.sum(axis=1), 1)[:, None], 0.0),)


def _from_logsumexp(incoming: Array, values: Array, inside: Mask) -> tuple[Array]:
    return (np.where(inside, np.exp(values - _logsumexp(values, inside)[:, None]) * incoming[:, None], 0.0),)


_SEQUENCES = (Axis.SEQUENCE,)
_TOKENS = (Axis.TOKEN,)
_SHARE = ReductionArgument("share", "share")
_FACTOR = ReductionArgument("factor", "number", by_value=True)


def _along(word: str, meaning: str, statistic: Statistic, adjoint: Adjoint, **more: Any) -> Reduction:
    """From token to token of a completion, with gradient."""
    return Reduction(
        word,
        word,
        meaning,
        statistic,
        f"{word}_within",
        axes=_TOKENS,
        scopes=(SEQUENCE,),
        members=True,
        along=True,
        ordered=True,
        adjoint=adjoint,
        **more,
    )


_REDUCTIONS = (
    Reduction(
        "sum",
        "sum",
        "sum within a scope",
        _sum,
        "sum_within",
        additive=True,
        by_parts=True,
        adjoint=_from_sum,
        of_zeros=True,
        grows=True,
        local="summed",
        latex=r"\sum",
    ),
    Reduction(
        "count",
        "count",
        "how many values of that axis there are within a scope",
        _sum,
        "sum_within",
        "mask",
        additive=True,
        by_parts=True,
        grows=True,
        local="count",
    ),
    Reduction(
        "reduce_max",
        "max",
        "the largest within a scope",
        _largest,
        "max_within",
        keeps_kind=True,
        adjoint=_from_largest,
        since=2,
        of_zeros=True,
        by_parts=True,
        pooled="pooled_max",
        local="largest",
        latex=r"\max",
    ),
    Reduction(
        "reduce_min",
        "min",
        "the smallest within a scope",
        _smallest,
        "min_within",
        keeps_kind=True,
        adjoint=lambda incoming, values, inside: _from_largest(incoming, -values, inside),
        since=2,
        of_zeros=True,
        by_parts=True,
        pooled="pooled_min",
        local="smallest",
        latex=r"\min",
    ),
    Reduction(
        "quantile",
        "quantile",
        "the q-quantile within a scope, `empty` where there is nothing",
        _quantile,
        "quantile_within",
        arguments=(
            ReductionArgument("q", "share"),
            ReductionArgument("empty", "number", default=0.0, with_of=True),
        ),
        keeps_kind=True,
        pooled="pooled_quantile",
    ),
    Reduction(
        "kth",
        "kth",
        "the k-th largest within a scope, counted from 1",
        _kth,
        "kth_within",
        arguments=(ReductionArgument("k", "whole", lowest=1),),
        axes=_SEQUENCES,
        scopes=(GROUP,),
        keeps_kind=True,
    ),
    Reduction(
        "rank",
        "rank",
        "1 for the largest within a scope; ties go to the earlier row",
        _places,
        "rank_within",
        axes=_SEQUENCES,
        scopes=(GROUP,),
        members=True,
        by_place=True,
        grows=True,
    ),
    Reduction(
        "pick",
        "pick",
        "a share of a scope's tokens, drawn from those that satisfy a condition; the same ones for the same seed",
        _pick,
        "pick_within",
        "condition",
        (
            _SHARE,
            ReductionArgument("key", "number", by_value=True, quantity="old"),
            ReductionArgument("seed", "whole", default=0.0),
        ),
        _TOKENS,
        (MICRO,),
        members=True,
        condition=True,
        local="condition",
    ),
    Reduction(
        "top",
        "top",
        "a share of a scope's tokens, those with the largest x",
        _top,
        "top_within",
        arguments=(_SHARE,),
        axes=_TOKENS,
        scopes=(MICRO,),
        members=True,
        condition=True,
        ordered=True,
        by_place=True,
        local="condition",
    ),
    Reduction(
        "tail",
        "tail",
        "the largest x of a scope, as many as it takes for the mean of the others to be below a limit",
        _tail,
        "tail_within",
        arguments=(ReductionArgument("limit", "number", by_value=True),),
        axes=_TOKENS,
        scopes=(SEQUENCE, GROUP, MICRO),
        members=True,
        condition=True,
        ordered=True,
        by_place=True,
        local="condition",
    ),
    Reduction(
        "logsumexp",
        "logsumexp",
        "log of the sum of exp(x) within a scope, however large x is",
        _logsumexp,
        "logsumexp_within",
        adjoint=_from_logsumexp,
        by_parts=True,
        pooled="pooled_logsumexp",
        local="log_sum",
    ),
    Reduction(
        "position",
        "",
        "1 for the first trained token of a completion, up to `length`",
        _position,
        "position_within",
        "mask",
        axes=_TOKENS,
        scopes=(SEQUENCE,),
        members=True,
        along=True,
        ordered=True,
    ),
    Reduction(
        "first",
        "",
        "true for the first value of each cell, which stands for all of it",
        lambda values, inside: _places(np.zeros(values.shape), inside) == 1,
        "first_within",
        "mask",
        members=True,
        condition=True,
    ),
    _along(
        "next",
        "x at the next trained token of the completion, 0 after the last",
        _next,
        lambda incoming, values, inside: (_previous(incoming, inside),),
        since=2,
        of_zeros=True,
        local="following",
    ),
    _along(
        "previous",
        "x at the trained token before, 0 at the completion's first",
        _previous,
        lambda incoming, values, inside: (_next(incoming, inside),),
        of_zeros=True,
        local="preceding",
    ),
    _along(
        "discounted_sum",
        "y = x + factor * (y at the next trained token), from the completion's last token back",
        _discounted_sum,
        _reversed(_from_running_sum),
        arguments=(_FACTOR,),
        since=2,
        of_zeros=True,
        grows=True,
        local="remaining",
        latex=r"\sum_{k \ge t} \left(\prod_{t \le j < k} $factor\right) \left($x\right)_{k}",
    ),
    _along(
        "running_sum",
        "y = x + factor * (y at the trained token before), from the completion's first token on",
        _running_sum,
        _from_running_sum,
        arguments=(_FACTOR,),
        of_zeros=True,
        grows=True,
        local="running",
        latex=r"\sum_{k \le t} \left(\prod_{k < j \le t} $factor\right) \left($x\right)_{k}",
    ),
    _along(
        "running_max",
        "the largest x from the completion's first trained token up to this one",
        _running_max,
        _from_running_max,
        of_zeros=True,
        local="highest",
        latex=r"\max_{k \le t} \left($x\right)_{k}",
    ),
    _along(
        "running_min",
        "the smallest x from the completion's first trained token up to this one",
        _running_min,
        lambda incoming, values, inside: _from_running_max(incoming, -values, inside),
        of_zeros=True,
        local="lowest",
        latex=r"\min_{k \le t} \left($x\right)_{k}",
    ),
)

REDUCTIONS: dict[str, Reduction] = {row.name: row for row in _REDUCTIONS}
"""Every reduction by the name of its operation."""

REDUCTION_WORDS: dict[str, Reduction] = {row.word: row for row in _REDUCTIONS if row.word}
"""Every reduction by what a spec calls it."""
