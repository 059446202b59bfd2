"""Other values of a parameter, to see what depends on it."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.language import tree
from maspo_dsl.semantics.binding import BoundParameter, bind
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.objective import ResolvedObjective

_USUAL = (0.0, 0.05, 0.3, 3.0, 6.0, 20.0)
"""Values near what probabilities, ratios, advantages and lengths of the probes are."""


def alternatives(objective: ResolvedObjective, name: str) -> Iterator[float]:
    """Allowed values of a parameter other than its own, the likeliest to matter first."""
    for value in _alternatives(objective.parameters[name]):
        if values_with(objective, name, value) is not None:
            yield value


def _alternatives(bound: BoundParameter) -> list[float]:
    """Other values of a parameter: near, far away, the ends of its interval, and such as the probes have."""
    value, domain = bound.value, bound.declared.domain
    if isinstance(domain, tree.Choices):
        found = [number for choice in domain.values if (number := _number(choice)) is not None]
    else:
        scaled = [2 * value, value / 2, 1000 * value, value / 1000]
        found = [*scaled, *_ends(domain), value + 1, value - 1, *_USUAL]
    return [number for number in dict.fromkeys(found) if number != value]


def _ends(domain: tree.Interval | None) -> Iterator[float]:
    """The ends of an interval, or just inside."""
    if domain is None:
        return
    low, high = _number(domain.low), _number(domain.high)
    width = high - low if low is not None and high is not None else 1.0
    if low is not None:
        yield low if domain.low_closed else low + 1e-3 * width
    if high is not None:
        yield high if domain.high_closed else high - 1e-3 * width


def _number(node: tree.Expression) -> float | None:
    if isinstance(node, tree.Negate):
        inner = _number(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, tree.Number) else None


def values_with(objective: ResolvedObjective, name: str, value: float) -> dict[str, float] | None:
    """The values of all parameters once one has another; None where it may not."""
    report = DiagnosticCollector()
    settings = objective.settings
    bound = bind(objective.flat, {**settings.params, name: value}, settings.run, report)
    return None if report.failed else {other: parameter.value for other, parameter in bound.items()}
