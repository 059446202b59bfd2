"""Expressions to typed terms: names looked up, library calls inlined, axis, kind and gradient known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics import typing_rules as rules
from maspo_dsl.semantics.calls import Calls, dotted
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.context import Context, Members, Names
from maspo_dsl.semantics.elsewhere import meant, named_here
from maspo_dsl.semantics.extent import Extent
from maspo_dsl.semantics.operations import OPERATORS
from maspo_dsl.semantics.part_words import PART_WORDS, SLOTS, before_advantage
from maspo_dsl.semantics.poison import poison
from maspo_dsl.semantics.scopes import SCOPES, Scope
from maspo_dsl.semantics.searches import Searches
from maspo_dsl.semantics.terms import Attribute, Term, constant, static_truth
from maspo_dsl.semantics.types import Axis, Kind
from maspo_dsl.semantics.vocabulary import (
    PRIMITIVES,
)


class Elaborator:
    """Elaborates the expressions of one spec; remembers lets, and which names were read."""

    def __init__(self, names: Names, report: DiagnosticCollector) -> None:
        self.names = names
        self.report = report
        self.advantage_axis = Axis.SEQUENCE
        self.read: set[str] = set()
        self._lets: dict[tuple[str, str, Scope | None], Term] = {}
        self._open: list[str] = []
        self.extent = Extent(report)
        self.calls = Calls(names, report, self.read, self.expression)
        self.searches = Searches(report, self.extent, self.expression)

    # ---- entry points

    def expression(self, node: tree.Expression, context: Context) -> Term:
        """The term of an expression; a mistake is reported and gives poison."""
        return self.extent.within(context.site or node.span, lambda: self._expression(node, context))

    def _expression(self, node: tree.Expression, context: Context) -> Term:
        match node:
            case tree.Number():
                return constant(node.value, node.span)
            case tree.Text():
                return self._fail("not-a-value", "a text is not a value here", node.span)
            case tree.Name():
                return self._name(node, context)
            case tree.Negate():
                return rules.arithmetic(
                    self.report, "neg", [self.expression(node.operand, context)], node.span
                )
            case tree.Arithmetic():
                left, right = (self.expression(side, context) for side in (node.left, node.right))
                return rules.arithmetic(self.report, OPERATORS[node.operator], [left, right], node.span)
            case tree.Compare() | tree.Not() | tree.Logical() | tree.Choose():
                return self._condition(node, context)
            case tree.Pipe():
                return self.pipe(node, context)[-1]
            case tree.Call():
                arguments = [(a.keyword, a.value, a.span) for a in node.arguments]
                return self.calls.call(node.function, None, arguments, node.span, context)
            case tree.Least():
                return self.searches.least(node, context)

    def pipe(self, node: tree.Pipe, context: Context) -> list[Term]:
        """The value at the head and after each stage."""
        values = [self.expression(node.head, context)]
        for stage in node.stages:
            values.append(self._stage(stage, values[-1], context).labelled(stage.name))
        return values

    def _stage(self, stage: tree.Stage, piped: Term, context: Context) -> Term:
        inner = replace(context, it=piped)
        arguments = [(a.keyword, a.value, a.span) for a in stage.arguments]

        def call() -> Term:
            return self.calls.call(stage.function, piped, arguments, stage.span, inner)

        if stage.guard is None:
            return call()
        guard = self.expression(stage.guard, inner)
        result = self._branch(call, stage.span, taken=static_truth(guard) is not False)
        if result is None:
            return piped
        return rules.choose(self.report, guard, result, piped, stage.guard.span)

    # ---- names

    def _name(self, node: tree.Name, context: Context) -> Term:
        if len(node.path) > 1:
            return dotted(self.report, node)
        name = node.path[0]
        if name == "it":
            if context.it is None:
                return self._fail("no-piped-value", "`it` is the piped value; there is none here", node.span)
            return context.it
        if name in context.locals:
            value = context.locals[name]
            if isinstance(value, Members):
                return self._fail("scope-as-value", f"`{name}` is a scope, not a value", node.span)
            return replace(value, span=node.span) if value.op in ("const", "candidate") else value
        if name in self.names.lets:
            self.read.add(name)
            return self.let(name, context)
        if name in self.names.params:
            self.read.add(name)
            return self.names.params[name]
        if name in self.names.inputs:
            self.read.add(name)
            return self.names.inputs[name]
        if name in self.names.memories:
            return self.memory(name, node.span, context)
        if name in self.names.quantities:
            if name in self.names.teachers:
                self.read.add(name)
            return self._quantity(name, node.span, context)
        if name in self.names.slots and name == "ratio" and context.slot != "ratio":
            return self.slot_value(name, context)
        return self._unknown(name, node.span, context)

    def slot_value(self, name: str, context: Context) -> Term:
        """The value of another slot, such as `ratio` in a rule."""
        return self.expression(self.names.slots[name].value, Context(name, calls=context.calls))

    def memory(self, name: str, span: Span, context: Context) -> Term:
        """What a memory was before this rollout: of a sequence, or where values for prompts are made, of a prompt."""
        self.read.add(name)
        cells = self.names.memories[name]
        together = cells.axis is Axis.GROUP and context.kept is cells
        axis = Axis.SEQUENCE if cells.axis is Axis.GROUP and not together else cells.axis
        attributes: tuple[tuple[str, Attribute], ...] = (("name", name), ("declared", True))
        if together:
            attributes += (("cells", cells),)
        return Term("input", (), axis, Kind.REAL, False, span, attributes, label=name)

    def let(self, name: str, context: Context) -> Term:
        """The value of a `let`, elaborated once for the loss and once for each slot that comes before the advantage."""
        slot = context.slot if before_advantage(context.slot) else "let"
        key = (name, slot, context.kept)
        if key in self._lets:
            return self._lets[key]
        node = self.names.lets[name]
        if name in self._open:
            return self._fail(
                "cyclic-let",
                f"`{name}` is defined by itself: {' → '.join([*self._open[self._open.index(name) :], name])}",
                node.name.span,
            )
        self._open.append(name)
        term = self.expression(node.value, Context(slot, kept=context.kept)).labelled(name)
        self._open.pop()
        self._lets[key] = term
        return term

    def _quantity(self, name: str, span: Span, context: Context) -> Term:
        quantity = self.names.quantities[name]
        if name == "loss" and context.slot != "reduce":
            return self._fail("loss-outside-reduce", "`loss` is known in `reduce` alone", span)
        if name == "A" and before_advantage(context.slot):
            return self._fail(
                "no-advantage-yet", f"`A` is not known yet where `{context.slot}` is computed", span
            )
        axis = self.advantage_axis if name == "A" else quantity.axis
        if name == "reward" and context.slot in PART_WORDS and PART_WORDS[context.slot].shaped:
            name = "shaped_reward"
        if quantity.policy:
            attributes = (("name", name), ("tensor", str(quantity.tensor)))
            log_prob = Term("input", (), axis, Kind.LOG_PROB, quantity.live, span, attributes)
            return Term("exp", (log_prob,), axis, Kind.PROB, quantity.live, span, label=name)
        return Term("input", (), axis, quantity.kind, quantity.live, span, (("name", name),), label=name)

    def _unknown(self, name: str, span: Span, context: Context) -> Term:
        if name in ("inf", "nan"):
            return self._fail(
                "infinite-literal",
                f"`{name}` is not a number to compute with",
                span,
                "it may stand in an interval: in (0, inf)" if name == "inf" else "",
            )
        if name in self.names.defs or name in PRIMITIVES:
            return self._fail(
                "missing-arguments", f"`{name}` is a function", span, f"give it arguments: {name}(…)"
            )
        if name in SCOPES or name in self.names.scopes:
            return self._fail(
                "scope-as-value",
                f"`{name}` is a scope, not a value",
                span,
                f"scopes stand in reductions: mean(x, {name})",
            )
        if name == "ratio" and context.slot != name:
            return self._fail("unknown-name", "there is no `ratio` here: the spec says `ratio = none`", span)
        if name in SLOTS:
            hint = named_here(name, self.names.quantities)
            return self._fail("unknown-name", f"`{name}` is a slot, not a value", span, hint)
        known = [
            *self.names.params,
            *self.names.lets,
            *self.names.inputs,
            *self.names.quantities,
            *self.names.memories,
            *context.locals,
            *SCOPES,
            *self.names.scopes,
        ]
        if context.slot != "ratio":
            known.append("ratio")
        return self._fail("unknown-name", f"nothing is named `{name}`", span, meant(name, known))

    # ---- conditions

    def _condition(
        self, node: tree.Compare | tree.Not | tree.Logical | tree.Choose, context: Context
    ) -> Term:
        match node:
            case tree.Compare():
                operands = [self.expression(operand, context) for operand in node.operands]
                pairs = [
                    rules.compare(self.report, operator, left, right, node.span)
                    for operator, left, right in zip(node.operators, operands, operands[1:], strict=False)
                ]
                return rules.logical(self.report, "and", pairs, node.span)
            case tree.Not():
                return rules.logical(self.report, "not", [self.expression(node.operand, context)], node.span)
            case tree.Logical():
                operands = [self.expression(operand, context) for operand in node.operands]
                return rules.logical(self.report, node.operator, operands, node.span)
            case tree.Choose():
                return self._choice(node, context)

    def _choice(self, node: tree.Choose, context: Context) -> Term:
        condition = self.expression(node.condition, context)
        truth = static_truth(condition)
        then, otherwise = (
            self._branch(partial(self.expression, branch, context), branch.span, taken=truth is not other)
            for branch, other in ((node.then, False), (node.otherwise, True))
        )
        if then is None or otherwise is None:
            return then or otherwise or poison(node.span)
        return rules.choose(self.report, condition, then, otherwise, node.span)

    def _branch(self, make: Callable[[], Term], span: Span, *, taken: bool) -> Term | None:
        """A branch of a choice; None for one that numbers rule out and that has no finite value: it is not missed."""
        before = len(self.report.diagnostics)
        term = make()
        found = self.report.diagnostics[before:]
        kept = [d for d in found if d.code != "infinite-literal" or not d.span.within(span)]
        if taken or len(kept) == len(found):
            return term
        self.report.diagnostics[before:] = kept
        return None

    def _fail(self, code: str, message: str, span: Span, hint: str = "") -> Term:
        self.report.error(code, message, span, hint)
        return poison(span)
