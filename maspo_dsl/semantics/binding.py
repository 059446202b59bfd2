"""Values of parameters: defaults, then what the run binds, then what the user sets; each inside its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.language.source import Source, Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.domains import Values, number_text
from maspo_dsl.semantics.elsewhere import named_here
from maspo_dsl.semantics.flat import Flat, Parameter
from maspo_dsl.semantics.operations import OPERATIONS, OPERATORS
from maspo_dsl.semantics.quantities import input_kind
from maspo_dsl.semantics.types import Kind


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
        for declared in self.flat.inputs.values():
            self.check_input(declared)
        for _, kept in self.flat.memories.values():
            self.number(kept.start)
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
            hint = named_here(name, self.flat.params) or did_you_mean(name, self.flat.params)
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
        values = self.values(declared.domain)
        if values is None or value in values:
            return
        span = setting_span(name, value) if origin != "default" else declared.default.span
        bound_to = f" (the run's {declared.bind.text})" if origin == "run" and declared.bind else ""
        related = ((declared.domain.span, "the interval"),)
        message = f"`{name}` = {number_text(value)}{bound_to} is outside {values}"
        self.report.error("out-of-domain", message, span, related=related)

    def values(self, domain: tree.Domain) -> Values | None:
        """The numbers of a domain; None after reporting."""
        if isinstance(domain, tree.Choices):
            choices = [self.number(choice) for choice in domain.values]
            known = tuple(value for value in choices if value is not None)
            return Values(choices=known) if len(known) == len(choices) else None
        low, high = self.number(domain.low, infinite=True), self.number(domain.high, infinite=True)
        if low is None or high is None:
            return None
        if low > high:
            self._empty(f"nothing lies between {number_text(low)} and {number_text(high)}", domain.span)
            return None
        return Values(low, high, domain.low_closed, domain.high_closed)

    # ---- what inputs may be

    def check_input(self, declared: tree.Input) -> None:
        """Report a domain of an input that no number of its kind is in."""
        if declared.domain is None or (values := self.values(declared.domain)) is None:
            return
        first, last = values.whole
        if input_kind(declared.kind).kind is Kind.BOOL:
            message = f"`{declared.name.text}` is a condition: it is true or false"
            self.report.error("wrong-kind", message, declared.domain.span, "leave the domain out")
        elif not input_kind(declared.kind).whole:
            if not values.choices and values.low == values.high and values.low not in values:
                self._empty(f"no number is in {values}", declared.domain.span)
        elif first > last or any(choice != math.floor(choice) for choice in values.choices):
            what = "not all of them are whole" if values.choices else f"no whole number is in {values}"
            self._empty(f"`{declared.name.text}` is a whole number; {what}", declared.domain.span)

    def _empty(self, message: str, span: Span) -> None:
        self.report.error("empty-interval", message, span)


def allowed_values(
    declared: tree.Input | Parameter, flat: Flat, params: Mapping[str, BoundParameter]
) -> Values | None:
    """The numbers that an input or a parameter may be, None where its declaration does not say."""
    if declared.domain is None:
        return None
    known = {name: bound.value for name, bound in params.items()}
    return _Binder(flat, known, {}, DiagnosticCollector()).values(declared.domain)


def start_of(kept: tree.Kept, flat: Flat, params: Mapping[str, BoundParameter]) -> float:
    """What a memory has before its first rollout."""
    known = {name: bound.value for name, bound in params.items()}
    found = _Binder(flat, known, {}, DiagnosticCollector()).number(kept.start)
    assert found is not None, "a start is bound with the parameters"
    return found


def setting_span(name: str, value: object) -> Span:
    """The place of a value that was set from outside the spec."""
    text = f"params.{name}={number_text(value) if isinstance(value, float) else value}"
    return Span(Source("<parameters>", text), 0, len(text))
