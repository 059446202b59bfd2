"""Warnings that the text of a spec gives away, before any number is computed."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.analysis.finding import Finding
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role, When
from maspo_dsl.semantics.parts import Key
from maspo_dsl.semantics.scopes import MICRO
from maspo_dsl.semantics.terms import Term, static_value, walk
from maspo_dsl.semantics.types import Axis, Kind


def spec_findings(objective: ResolvedObjective) -> Iterator[Finding]:
    """Every warning about what a spec says."""
    yield from _micro_scope(objective)
    yield from _k1_in_loss(objective)
    yield from _caps(objective)
    yield from _dead_parts(objective)


def _micro_scope(objective: ResolvedObjective) -> Iterator[Finding]:
    spans: set[tuple[str, int]] = set()
    for term in walk(*objective.parts.terms(When.IN_LOSS)):
        scopes = [value for key, value in term.attributes if key == "scope"]
        place = (term.span.source.name, term.span.start)
        if MICRO in scopes and place not in spans:
            spans.add(place)
            yield Finding("micro-scope", "the result depends on the size of the micro-batch", term.span)


def _k1_in_loss(objective: ResolvedObjective) -> Iterator[Finding]:
    """A penalty that is a multiple of log(policy / other): its derivative does not depend on the other policy."""
    for (_, name), term in objective.parts.of(Role.ADDED, Role.SUBTRACTED).items():
        core: Term | None = term
        while core is not None and not (core.kind is Kind.LOG_RATIO and core.op in ("bound", "sub")):
            core = _multiplied(core)
        if core is not None:
            hint = "use k2 or k3 in the loss, or put k1 of `old` into the reward"
            yield Finding("k1-in-loss", f"`{name}` is k1: its gradient is zero on average", term.span, hint)


# Bounds on a log-ratio that hardly a token reaches.
_FAR = 5.0
_LINEAR = frozenset({"add", "sub", "neg", "mul", "div", "min", "max", "sum"})


def _multiplied(term: Term) -> Term | None:
    """What a term is a multiple of, up to constants, bounds and means; None if it is more than that.

    Factors of single tokens are more: of a ratio times k1 the average gradient is not 0.
    """
    live = [argument for argument in term.args if argument.live]
    others = [argument for argument in term.args if not argument.live and argument.kind is not Kind.BOOL]
    if term.op not in _LINEAR or len(live) != 1 or any(other.axis is Axis.TOKEN for other in others):
        return None
    if term.op in ("min", "max"):
        bound = static_value(others[0])
        return live[0] if bound is not None and abs(bound) >= _FAR else None
    return None if term.op == "div" and term.args[1].live else live[0]


def _caps(objective: ResolvedObjective) -> Iterator[Finding]:
    """An upper bound below 1 on the ratio, in whatever branch."""
    seen: set[tuple[str, int]] = set()
    for term in walk(*objective.parts.of(Role.RATIO).values()):
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
    for root in objective.parts.terms(When.IN_LOSS):
        found = {name: term for term in walk(root) if (name := _over_itself(term)) is not None}
        for name, term in found.items():
            # Within a function of the library, what is wrong is its call.
            span = term.span if term.span.source == root.span.source else root.span
            yield Finding("dead-part", f"`{name}` over `{name}` is 1, whatever it is", span)
    for word, name in dead_parts(objective):
        span = objective.flat.parts[word, name].span
        yield Finding("dead-part", f"`{word} {name}` has weight 0 and no effect", span)


def _over_itself(term: Term) -> str | None:
    """The probability that a ratio has above and below its line, if it is one and the same."""
    if term.op != "sub" or term.kind is not Kind.LOG_RATIO or any(side.op != "input" for side in term.args):
        return None
    above, below = (str(side.attribute("name")) for side in term.args)
    return above if above == below else None


def dead_parts(objective: ResolvedObjective) -> Iterator[Key]:
    """Word and name of each part that is multiplied by 0."""
    for key, term in objective.parts.of(Role.ADDED, Role.SUBTRACTED, Role.REWARD_TERM).items():
        if any(static_value(factor) == 0 for factor in _factors(term)):
            yield key


def _factors(term: Term) -> Iterator[Term]:
    if term.op == "mul":
        for argument in term.args:
            yield from _factors(argument)
    else:
        yield term
