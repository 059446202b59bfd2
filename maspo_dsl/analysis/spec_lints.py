"""Warnings that the text of a spec gives away, before any number is computed."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.analysis.finding import Finding
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.terms import Term, static_value, walk
from maspo_dsl.semantics.types import Axis, Kind, Scope


def spec_findings(objective: ResolvedObjective) -> Iterator[Finding]:
    """Every warning about what a spec says."""
    yield from _micro_scope(objective)
    yield from _k1_in_loss(objective)
    yield from _caps(objective)
    yield from _dead_parts(objective)


def _loss_roots(objective: ResolvedObjective) -> list[Term]:
    parts = objective.parts
    groups = (parts.weights, parts.mutes, parts.excludes, parts.penalties, parts.bonuses)
    return [parts.ratio, parts.reduce, *(term for group in groups for term in group.values())]


def _micro_scope(objective: ResolvedObjective) -> Iterator[Finding]:
    spans: set[tuple[str, int]] = set()
    for term in walk(*_loss_roots(objective)):
        scopes = [value for key, value in term.attributes if key == "scope"]
        place = (term.span.source.name, term.span.start)
        if Scope.MICRO in scopes and place not in spans:
            spans.add(place)
            yield Finding("micro-scope", "the result depends on the size of the micro-batch", term.span)


def _k1_in_loss(objective: ResolvedObjective) -> Iterator[Finding]:
    """A penalty that is a multiple of log(policy / other): its derivative does not depend on the other policy."""
    for name, term in [*objective.parts.penalties.items(), *objective.parts.bonuses.items()]:
        core = term
        while core.op in ("mul", "neg") and core.axis is Axis.TOKEN:
            core = next(argument for argument in core.args if argument.live)
        if core.kind is Kind.LOG_RATIO and core.live and core.op in ("bound", "sub", "neg"):
            hint = "use k2 or k3 in the loss, or put k1 of `old` into the reward"
            yield Finding("k1-in-loss", f"`{name}` is k1: its gradient is zero on average", term.span, hint)


def _caps(objective: ResolvedObjective) -> Iterator[Finding]:
    """An upper bound below 1 on the ratio, in whatever branch."""
    seen: set[tuple[str, int]] = set()
    for term in walk(objective.parts.ratio):
        if term.op != "min" or term.axis < Axis.SEQUENCE:
            continue
        for side, other in (term.args, term.args[::-1]):
            value = static_value(side)
            place = (term.span.source.name, term.span.start)
            capped = other.kind is Kind.RATIO and other.live
            if value is not None and value < 1 and capped and place not in seen:
                seen.add(place)
                yield Finding(
                    "cap-below-one",
                    f"the ratio is capped at {value:g}, below the on-policy value 1",
                    term.span,
                    "a cap is absolute: for an offset write min(1 + eps)",
                )


def _dead_parts(objective: ResolvedObjective) -> Iterator[Finding]:
    for word, name in dead_parts(objective):
        span = objective.flat.parts[word, name].span
        yield Finding("dead-part", f"`{word} {name}` has weight 0 and no effect", span)


def dead_parts(objective: ResolvedObjective) -> Iterator[tuple[str, str]]:
    """Word and name of each part that is multiplied by 0."""
    parts = objective.parts
    for word, group in (("penalty", parts.penalties), ("bonus", parts.bonuses), ("reward", parts.rewards)):
        for name, term in group.items():
            if any(static_value(factor) == 0 for factor in _factors(term)):
                yield word, name


def _factors(term: Term) -> Iterator[Term]:
    if term.op == "mul":
        for argument in term.args:
            yield from _factors(argument)
    else:
        yield term
