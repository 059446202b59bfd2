"""Reductions, one row each: what a spec calls it, what the oracle computes in a cell, how torch and people write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.semantics.operations import Array
from maspo_dsl.semantics.scopes import GROUP, MICRO, SEQUENCE, Scope
from maspo_dsl.semantics.types import Axis

Mask: TypeAlias = NDArray[np.bool_]
Statistic: TypeAlias = Callable[..., Array]
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
    that of the whole; others need all values, which `pooled` ends. `differentiable` ones pass gradient to the values,
    and have done so `since` that version of the language.
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
    differentiable: bool = False
    since: int = 1
    along: bool = False
    ordered: bool = False
    by_place: bool = False
    keeps_kind: bool = False
    by_parts: bool = False
    pooled: str = ""
    local: str = "value"
    latex: str = ""

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
    result = np.array(np.broadcast_to(empty, len(values)), dtype=float)
    q = np.broadcast_to(q, len(values))
    for cell in np.flatnonzero(inside.any(axis=1)):
        kept = values[cell, inside[cell]]
        result[cell] = kept[0] if len(kept) == 1 else np.quantile(kept, float(q[cell]))
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


def _position(values: Array, inside: Mask) -> Array:
    return np.where(inside, np.cumsum(inside, axis=1), 0.0)


def _next(values: Array, inside: Mask) -> Array:
    result, later = np.zeros(values.shape), np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        result[:, t] = np.where(inside[:, t], later, 0.0)
        later = np.where(inside[:, t], values[:, t], later)
    return result


def _discounted_sum(values: Array, inside: Mask, factor: Array) -> Array:
    """y_t = x_t + factor_t y_(t+1), from the last one back."""
    result, rest = np.zeros(values.shape), np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        later = np.where(factor[:, t] == 0, 0.0, factor[:, t] * rest)
        rest = np.where(inside[:, t], values[:, t] + later, rest)
        result[:, t] = np.where(inside[:, t], rest, 0.0)
    return result


_SEQUENCES = (Axis.SEQUENCE,)
_TOKENS = (Axis.TOKEN,)
_SHARE = ReductionArgument("share", "share")

_REDUCTIONS = (
    Reduction(
        "sum",
        "sum",
        "sum within a scope",
        _sum,
        "sum_within",
        additive=True,
        by_parts=True,
        differentiable=True,
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
        local="count",
    ),
    Reduction(
        "reduce_max",
        "max",
        "the largest within a scope",
        _largest,
        "max_within",
        keeps_kind=True,
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
    Reduction(
        "next",
        "next",
        "x at the next trained token of the completion, 0 after the last",
        _next,
        "next_within",
        axes=_TOKENS,
        scopes=(SEQUENCE,),
        members=True,
        along=True,
        ordered=True,
        local="following",
    ),
    Reduction(
        "discounted_sum",
        "discounted_sum",
        "y = x + factor * (y at the next trained token), from the completion's last token back",
        _discounted_sum,
        "discounted_sum_within",
        arguments=(ReductionArgument("factor", "number", by_value=True),),
        axes=_TOKENS,
        scopes=(SEQUENCE,),
        members=True,
        along=True,
        ordered=True,
        local="remaining",
        latex=r"\sum_{k \ge t} $factor^{k - t} \left($x\right)_{k}",
    ),
)

REDUCTIONS: dict[str, Reduction] = {row.name: row for row in _REDUCTIONS}
"""Every reduction by the name of its operation."""

REDUCTION_WORDS: dict[str, Reduction] = {row.word: row for row in _REDUCTIONS if row.word}
"""Every reduction by what a spec calls it."""
