"""What a grid is asked to hold, and the candidates that follow from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from maspo_dsl.ablation.base import Family
from maspo_dsl.ablation.changes import (
    GridError,
    droppable,
    find_stage,
    of_variant,
    short_names,
    swapped,
    undroppable,
    varied,
    without,
)
from maspo_dsl.ablation.ladder import ladder
from maspo_dsl.ablation.point import Candidate, combined, identifier
from maspo_dsl.language.expression_text import format_arithmetic
from maspo_dsl.semantics.objective import ResolvedObjective

# A number as a spec has it.
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Request:
    """Which points are wanted beside the base. With nothing asked: leave-one-out and the ladder.

    `vary` are parameters with their values, `swap` stages with what stands in their place, as written. By default
    each factor is changed alone; `product` combines all of them, `zip` takes first with first, second with second.
    """

    leave_one_out: bool = False
    ladder: bool = False
    pairs: bool = False
    product: bool = False
    zip: bool = False
    own: bool = False
    vary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    swap: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    against: tuple[str, ...] = ()

    @property
    def nothing_asked(self) -> bool:
        """Whether the default set is meant."""
        asked = (self.leave_one_out, self.ladder, self.pairs, self.product, self.zip, self.own)
        return not any(asked) and not self.vary and not self.swap and not self.against


def candidates(family: Family, request: Request) -> Iterator[Candidate]:
    """Every point that the request means, the base left out; some may turn out not to exist.

    Raises GridError: an unknown parameter, stage or part; factors that cannot be zipped; nothing to combine.
    """
    base = family.base
    parts = droppable(base)
    names = short_names(parts)
    drops = [without(base, part, names[part.path]) for part in parts]
    if request.leave_one_out or request.nothing_asked:
        yield from drops
    if (request.ladder or request.nothing_asked) and family.ancestor is not None:
        yield from ladder(base, family.ancestor)
    if request.pairs:
        yield from (_both(base, pair) for pair in combinations(drops, 2))
    factors = list(_factors(family, request))
    if request.product:
        yield from _product(base, factors or [[drop] for drop in drops])
    elif request.zip:
        yield from _zipped(base, factors)
    else:
        yield from (point for factor in factors for point in factor)
    if request.own:
        yield from _own(family)


def absent(family: Family, request: Request) -> Iterator[tuple[str, str]]:
    """What the request asks for and this base does not have, each with the reason."""
    base = family.base
    drops = len(droppable(base))
    of_parts = request.product and not request.vary and not request.swap
    if request.leave_one_out or request.nothing_asked or request.pairs or of_parts:
        yield from undroppable(base)
    if request.pairs and drops < 2:
        yield "pairs", f"`{base.name}` has {drops} parts that can be dropped, and a pair needs two"
    if (request.ladder or request.nothing_asked) and family.ancestor is None:
        yield "ladder", f"`{base.name}` extends nothing, so there is nothing to start from"
    if request.own and not base.flat.variants and not base.flat.sweeps:
        yield "own", f"`{base.name}` has no `variant` and no `sweep` lines"


def _factors(family: Family, request: Request) -> Iterator[list[Candidate]]:
    for name, values in request.vary.items():
        yield [point for value in values for point in _varied(family, name, value)]
    for name, stages in request.swap.items():
        find_stage(family.base, name)
        yield [swapped(family.base, name, stage) for stage in stages]


def _varied(family: Family, name: str, value: str) -> list[Candidate]:
    """The base with another value; where only some variants have the parameter, those.

    Raises GridError: no number, which might say more of the parameter than its value.
    """
    try:
        float(value)
    except ValueError:
        raise GridError(f"{name} = {value}: expected one number") from None
    if not _NUMBER.fullmatch(value):
        raise GridError(f"{name} = {value}: numbers are written as 0.5, -1 or 1e-3")
    base = family.base
    owners = [variant for variant, flat in family.variants.items() if name in flat.params]
    if name in base.flat.params or not owners:
        return [varied(base, base.flat, name, value)]
    return [varied(base, family.variants[owner], name, value, owner) for owner in owners]


def _both(base: ResolvedObjective, pair: Sequence[Candidate]) -> Candidate:
    words = [point.axes[0][0] for point in pair]
    return combined(identifier(base.name, "without", *words), "combined", list(pair))


def _product(base: ResolvedObjective, factors: list[list[Candidate]]) -> Iterator[Candidate]:
    """Every combination in which at least one factor is changed."""
    for chosen in product(*[[None, *factor] for factor in factors]):
        changes = [point for point in chosen if point is not None]
        if len(changes) == 1:
            yield changes[0]
        elif changes:
            yield _together(base, changes)


def _zipped(base: ResolvedObjective, factors: list[list[Candidate]]) -> Iterator[Candidate]:
    if not factors:
        raise GridError("--zip needs factors: give --vary or --swap at least once")
    lengths = {len(factor) for factor in factors}
    if len(lengths) > 1:
        counts = ", ".join(str(len(factor)) for factor in factors)
        raise GridError(
            f"--zip takes first with first, second with second: all factors need as many values, not {counts}"
        )
    for changes in zip(*factors, strict=True):
        yield changes[0] if len(changes) == 1 else _together(base, list(changes))


def _together(base: ResolvedObjective, changes: list[Candidate]) -> Candidate:
    words = [word for point in changes for axis in point.axes for word in _short(axis)]
    return combined(identifier(base.name, *words), "combined", changes)


def _short(axis: tuple[str, str]) -> tuple[str, ...]:
    return ("without", axis[0]) if axis[1] == "dropped" else axis


def _own(family: Family) -> Iterator[Candidate]:
    """The spec's own `variant` and `sweep` lines."""
    base = family.base
    yield from (of_variant(base, name) for name in base.flat.variants)
    for name, sweep in base.flat.sweeps.items():
        for value in sweep.values:
            yield varied(base, base.flat, name, format_arithmetic(value))
