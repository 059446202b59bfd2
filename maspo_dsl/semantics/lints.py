"""Warnings: what a spec may say, but a reader would ask about. Each has a code that `allow` acknowledges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.terms import Term, static_value
from maspo_dsl.semantics.types import Axis, Kind, Scope
from maspo_dsl.semantics.vocabulary import WARNINGS

if TYPE_CHECKING:
    from maspo_dsl.semantics.objective import ResolvedObjective


def lint(objective: ResolvedObjective) -> list[Diagnostic]:
    """Warnings of an objective that it does not acknowledge, and acknowledgements without a warning."""
    allows = objective.flat.allows
    found = [*_micro_scope(objective), *_k1_in_loss(objective), *_caps(objective), *_dead_parts(objective)]
    unknown = [warning for warning in found if warning.code not in allows]
    given = {warning.code for warning in found}
    for code, allow in allows.items():
        inherited = allow.span.source is not objective.flat.header.span.source
        if code not in given and not inherited:
            unknown.append(
                _warning(
                    "unused-allow", f"`{code}` is not given here, so there is nothing to allow", allow.span
                )
            )
    return unknown


def _warning(code: str, message: str, span: Span, hint: str = "") -> Diagnostic:
    return Diagnostic(code, message, span, hint or WARNINGS[code], severity="warning")


def walk(*roots: Term) -> Iterator[Term]:
    """Every term below, once each."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        term = stack.pop()
        if id(term) not in seen:
            seen.add(id(term))
            yield term
            stack.extend(term.args)


def _loss_roots(objective: ResolvedObjective) -> list[Term]:
    parts = objective.parts
    groups = (parts.weights, parts.mutes, parts.excludes, parts.penalties, parts.bonuses)
    return [parts.ratio, parts.reduce, *(term for group in groups for term in group.values())]


def _micro_scope(objective: ResolvedObjective) -> Iterator[Diagnostic]:
    spans: set[tuple[str, int]] = set()
    for term in walk(*_loss_roots(objective)):
        scopes = [value for key, value in term.attributes if key == "scope"]
        place = (term.span.source.name, term.span.start)
        if Scope.MICRO in scopes and place not in spans:
            spans.add(place)
            yield _warning("micro-scope", "the result depends on the size of the micro-batch", term.span)


def _k1_in_loss(objective: ResolvedObjective) -> Iterator[Diagnostic]:
    """A penalty that is a multiple of log(policy / other): its derivative does not depend on the other policy."""
    for name, term in [*objective.parts.penalties.items(), *objective.parts.bonuses.items()]:
        core = term
        while core.op in ("mul", "neg") and core.axis is Axis.TOKEN:
            core = next(argument for argument in core.args if argument.live)
        if core.kind is Kind.LOG_RATIO and core.live and core.op in ("bound", "sub", "neg"):
            hint = "use k2 or k3 in the loss, or put k1 of `old` into the reward"
            yield _warning("k1-in-loss", f"`{name}` is k1: its gradient is zero on average", term.span, hint)


def _caps(objective: ResolvedObjective) -> Iterator[Diagnostic]:
    """An upper bound below 1 on the ratio, in whatever branch."""
    seen: set[tuple[str, int]] = set()
    for term in walk(objective.parts.ratio):
        if term.op != "min" or term.axis < Axis.SEQUENCE:
            continue
        for side, other in (term.args, term.args[::-1]):
            value = static_value(side)
            place = (term.span.source.name, term.span.start)
            if (
                value is not None
                and value < 1
                and other.kind is Kind.RATIO
                and other.live
                and place not in seen
            ):
                seen.add(place)
                yield _warning(
                    "cap-below-one",
                    f"the ratio is capped at {value:g}, below the on-policy value 1",
                    term.span,
                    "a cap is absolute: for an offset write min(1 + eps)",
                )


def _dead_parts(objective: ResolvedObjective) -> Iterator[Diagnostic]:
    parts = objective.parts
    for word, group in (("penalty", parts.penalties), ("bonus", parts.bonuses), ("reward", parts.rewards)):
        for name, term in group.items():
            if any(static_value(factor) == 0 for factor in _factors(term)):
                span = objective.flat.parts[word, name].span
                yield _warning("dead-part", f"`{word} {name}` has weight 0 and no effect", span)


def _factors(term: Term) -> Iterator[Term]:
    if term.op == "mul":
        for argument in term.args:
            yield from _factors(argument)
    else:
        yield term
