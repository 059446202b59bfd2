"""Values of parameters: defaults, then what the run binds, then what the user sets; each inside its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.language.source import Source, Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.flat import Flat, Parameter
from maspo_dsl.semantics.operations import OPERATIONS, OPERATORS


@dataclass(frozen=True)
class BoundParameter:
    """A parameter with its value. `origin` is `default`, `run` (bound to a run constant) or `set` (by the user)."""

    name: str
    value: float
    origin: str
    declared: Parameter


def bind(
    flat: Flat, params: Mapping[str, object], run: Mapping[str, float], report: DiagnosticCollector
) -> dict[str, BoundParameter]:
    """Every parameter with its value; unknown names and values outside an interval are reported."""
    return _Binder(flat, params, run, report).all()


class _Binder:
    def __init__(
        self, flat: Flat, params: Mapping[str, object], run: Mapping[str, float], report: DiagnosticCollector
    ) -> None:
        self.flat = flat
        self.run = run
        self.report = report
        self.given = {
            name: number for name, value in params.items() if (number := self._given(name, value)) is not None
        }
        self.bound: dict[str, BoundParameter] = {}
        self.open: list[str] = []
        self.failed: set[str] = set()

    def all(self) -> dict[str, BoundParameter]:
        for name in self.flat.params:
            self.value(name)
        return {name: self.bound[name] for name in self.flat.params if name in self.bound}

    def value(self, name: str) -> float | None:
        if name in self.bound:
            return self.bound[name].value
        if name in self.failed:
            return None
        declared = self.flat.params[name]
        if name in self.open:
            chain = " → ".join([*self.open[self.open.index(name) :], name])
            self.report.error(
                "cyclic-param", f"the value of `{name}` depends on itself: {chain}", declared.span
            )
            return None
        origin, number = self._choose(name, declared)
        if number is None:
            self.failed.add(name)
            return None
        self.bound[name] = BoundParameter(name, number, origin, declared)
        self._check_domain(name, number, origin, declared)
        return number

    def _choose(self, name: str, declared: Parameter) -> tuple[str, float | None]:
        if name in self.given:
            return "set", self.given[name]
        if declared.bind is not None and declared.bind.text in self.run:
            return "run", float(self.run[declared.bind.text])
        self.open.append(name)
        number = self.number(declared.default)
        self.open.pop()
        return "default", number

    def _given(self, name: str, value: object) -> float | None:
        span = setting_span(name, value)
        if name not in self.flat.params:
            hint = did_you_mean(name, self.flat.params)
            self.report.error(
                "unknown-param", f"{self.flat.header.name.text} has no parameter `{name}`", span, hint
            )
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.report.error("not-a-number", f"the parameter `{name}` is a number, not {value!r}", span)
            return None
        if not math.isfinite(value):
            self.report.error("infinite-literal", f"the parameter `{name}` must be finite, not {value}", span)
            return None
        return float(value)

    # ---- numbers and intervals

    def number(self, node: tree.Expression, *, infinite: bool = False) -> float | None:
        """The number an expression of numbers and parameters has; None after reporting."""
        match node:
            case tree.Number():
                return node.value
            case tree.Negate():
                inner = self.number(node.operand, infinite=infinite)
                return None if inner is None else -inner
            case tree.Name(path=("inf",)) if infinite:
                return math.inf
            case tree.Name(path=("inf" | "nan",)):
                self.report.error("infinite-literal", "a parameter must be finite", node.span)
                return None
            case tree.Name(path=(name,)) if name in self.flat.params:
                return self.value(name)
            case tree.Name():
                hint = did_you_mean(node.text, self.flat.params)
                self.report.error("unknown-name", f"no parameter is named `{node.text}`", node.span, hint)
                return None
            case tree.Arithmetic():
                left, right = self.number(node.left), self.number(node.right)
                return None if left is None or right is None else self._compute(node, left, right)
            case _:
                hint = "a value is made of numbers, other parameters and + - * / ^"
                self.report.error("not-static", "the value of a parameter cannot be this", node.span, hint)
                return None

    def _compute(self, node: tree.Arithmetic, left: float, right: float) -> float | None:
        result = OPERATIONS[OPERATORS[node.operator]].number(left, right)
        if not math.isfinite(result):
            self.report.error("infinite-literal", "this is not a finite number", node.span)
            return None
        return result

    def _check_domain(self, name: str, value: float, origin: str, declared: Parameter) -> None:
        if declared.domain is None or not math.isfinite(value):
            return
        inside, text = self.contains(declared.domain, value)
        if inside:
            return
        span = setting_span(name, value) if origin != "default" else declared.default.span
        bound_to = f" (the run's {declared.bind.text})" if origin == "run" and declared.bind else ""
        related = ((declared.domain.span, "the interval"),)
        message = f"`{name}` = {number_text(value)}{bound_to} is outside {text}"
        self.report.error("out-of-domain", message, span, related=related)

    def contains(self, domain: tree.Domain, value: float) -> tuple[bool, str]:
        """Whether a value is allowed, and the interval in words."""
        if isinstance(domain, tree.Choices):
            values = [self.number(choice) for choice in domain.values]
            known = [v for v in values if v is not None]
            return len(known) < len(values) or value in known, "{" + ", ".join(map(number_text, known)) + "}"
        low, high = self.number(domain.low, infinite=True), self.number(domain.high, infinite=True)
        if low is None or high is None:
            return True, ""
        if low > high:
            self.report.error(
                "empty-interval",
                f"nothing lies between {number_text(low)} and {number_text(high)}",
                domain.span,
            )
            return True, ""
        above = value >= low if domain.low_closed else value > low
        below = value <= high if domain.high_closed else value < high
        opening, closing = "[" if domain.low_closed else "(", "]" if domain.high_closed else ")"
        return above and below, f"{opening}{number_text(low)}, {number_text(high)}{closing}"


def setting_span(name: str, value: object) -> Span:
    """The place of a value that was set from outside the spec."""
    text = f"params.{name}={number_text(value) if isinstance(value, float) else value}"
    return Span(Source("<parameters>", text), 0, len(text))


def number_text(value: float) -> str:
    """The shortest text of a number: 20480, 0.3, 0.0003, inf."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))
