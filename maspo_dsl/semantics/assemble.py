"""A flat spec with values to its parts as typed terms, each slot held to its type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics import typing_rules as rules
from maspo_dsl.semantics.binding import BoundParameter
from maspo_dsl.semantics.cells import keyed_scope
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.context import Context, Names
from maspo_dsl.semantics.elaborate import Elaborator
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.gradients import lost_gradient
from maspo_dsl.semantics.part_words import PART_WORDS, SLOTS, PartWord, Role, When
from maspo_dsl.semantics.parts import Key, Parts
from maspo_dsl.semantics.poison import poison, poisoned
from maspo_dsl.semantics.quantities import INPUT_AXES, input_kind, teacher
from maspo_dsl.semantics.reduction_rules import cells_of
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.scopes import KEPT_PER, Scope
from maspo_dsl.semantics.terms import Attribute, Term, constant, walk
from maspo_dsl.semantics.totals import is_total, micro_total, reject_total
from maspo_dsl.semantics.training import report_nothing_trained
from maspo_dsl.semantics.types import Axis, Kind


def assemble(
    flat: Flat,
    params: Mapping[str, BoundParameter],
    definitions: Mapping[str, tree.Def],
    report: DiagnosticCollector,
) -> tuple[Parts | None, frozenset[str]]:
    """The parts, None after mistakes, and the names that were read.

    Without a policy term an inherited `advantage` or `reduce` may do nothing: it is left out, as if it were not there.
    """
    parts, read = _Assembler(flat, params, definitions, report).run()
    if parts is None or parts.has_policy_term:
        return parts, read
    idle = [word for word in ("advantage", "reduce") if word in flat.slots and not _is_needed(word, parts)]
    for word in idle:
        if ("slot", word) not in flat.inherited:
            message = f"`{word}` does nothing: {_IDLE[word]}"
            report.error("does-nothing", message, flat.slots[word].value.span, "take the line out")
    _report_acting_on_nothing(flat, parts.without([(word, "") for word in idle]), report)
    if report.failed or not idle:
        return (None if report.failed else parts), read
    slots = {word: slot for word, slot in flat.slots.items() if word not in idle}
    return _Assembler(replace(flat, slots=slots), params, definitions, report).run()


_IDLE = {
    "advantage": "there is no policy term, and nothing else reads `A`",
    "reduce": "there is no policy term, and every penalty and bonus is one number already",
}


def _is_needed(word: str, parts: Parts) -> bool:
    """Whether, without a policy term, anything reads `A`, or is of tokens or sequences, which `reduce` is for."""
    if word == "reduce":
        return any(term.axis is not Axis.SCALAR for term in parts.of(Role.ADDED, Role.SUBTRACTED).values())
    terms = walk(*parts.terms(When.IN_LOSS, When.PER_STEP))
    return any(term.op == "input" and term.attribute("name") == "A" for term in terms)


def _report_acting_on_nothing(flat: Flat, parts: Parts, report: DiagnosticCollector) -> None:
    """Report what acts on a part that there is none of: a `weight` without a policy term, say."""
    words = {row.role: row.word for row in PART_WORDS.values()}
    for word, name in parts.by_key:
        on = PART_WORDS[word].acts_on
        if on and not parts.of(*on):
            message = f"`{word} {name}` does nothing: there is no `{words[on[0]]}`"
            inherited = ("part", f"{word}.{name}") in flat.inherited
            hint = f"write: drop {word}.{name}" if inherited else "take the line out"
            report.error("does-nothing", message, flat.parts[word, name].name.span, hint)


class _Assembler:
    def __init__(
        self,
        flat: Flat,
        params: Mapping[str, BoundParameter],
        definitions: Mapping[str, tree.Def],
        report: DiagnosticCollector,
    ) -> None:
        self.flat = flat
        self.report = report
        self.none = {word for word in SLOTS if SLOTS[word].none and flat.is_none(word)}
        inputs = {name: _input(declared, name in flat.keys) for name, declared in flat.inputs.items()}
        names = Names(
            params={name: _parameter(bound) for name, bound in params.items()}
            | {name: poison(flat.params[name].span) for name in flat.params if name not in params},
            lets=flat.lets,
            inputs=inputs,
            scopes={name: keyed_scope(declared, inputs, report) for name, declared in flat.scopes.items()},
            teachers={name: teacher(name, declared.doc) for name, declared in flat.teachers.items()},
            memories={name: KEPT_PER[kept.per.text] for name, (_, kept) in flat.memories.items()},
            defs={**definitions, **flat.defs},
            slots={word: slot for word, slot in flat.slots.items() if word not in self.none},
        )
        self.elaborator = Elaborator(names, report)

    def run(self) -> tuple[Parts | None, frozenset[str]]:
        self._check_missing(row for row in SLOTS.values() if not self.none or row.none)
        terms: dict[Key, Term] = {}
        for row in PART_WORDS.values():
            for name, node in [] if row.kept else self._written(row):
                term = self._checked(row, self._value(row.word, node), node.span)
                if term is not None:
                    terms[row.word, name] = term.labelled(name) if name else term
            if row.role is Role.ADVANTAGE and (row.word, "") in terms:
                tokens = terms[row.word, ""].axis > Axis.SEQUENCE
                self.elaborator.advantage_axis = Axis.TOKEN if tokens else Axis.SEQUENCE
        terms |= self._memories()
        read = frozenset(self.elaborator.read)
        self._check_unread(read)
        parts = Parts({}).replaced(terms)
        if self.none and not self.report.failed:
            self._check_missing(row for row in SLOTS.values() if _is_needed(row.word, parts))
        self._check_names(parts)
        if not self.report.failed:
            report_nothing_trained(self.flat, parts, self.report)
        return (None if self.report.failed else parts), read

    def _memories(self) -> dict[Key, Term]:
        """The memories that something reads, or another one that something reads; mistakes of the others too."""
        rows = [row for row in PART_WORDS.values() if row.kept]
        waiting = {name: (row, node) for row in rows for name, node in self._written(row)}
        found: dict[Key, Term] = {}
        while read := [name for name in waiting if name in self.elaborator.read]:
            for name in read:
                row, node = waiting.pop(name)
                term = self._kept(row, name, node)
                if term is not None:
                    found[row.word, name] = term.labelled(name)
        known = set(self.elaborator.read)
        for name, (row, node) in waiting.items():
            self._kept(row, name, node)
        self.elaborator.read.intersection_update(known)
        return found

    def _kept(self, row: PartWord, name: str, node: tree.Expression) -> Term | None:
        _, kept = self.flat.memories[name]
        context = Context(row.word, kept=KEPT_PER[kept.per.text])
        term = self._checked(row, self.elaborator.expression(node, context), node.span)
        if term is None or not self._is_one_value(term, kept):
            return None
        return self._where_told(
            term, self.elaborator.memory(name, node.span, context), KEPT_PER[kept.per.text]
        )

    def _where_told(self, term: Term, before: Term, cells: Scope) -> Term:
        """The value after a rollout where a completion has a reward, the value before it elsewhere."""
        counted: tuple[tuple[str, Attribute], ...] = (("scope", cells), ("over", Axis.SEQUENCE))
        count = Term("count", (), cells.axis, Kind.REAL, False, term.span, counted)
        told = rules.compare(self.report, ">", count, constant(0.0, term.span), term.span)
        return rules.choose(self.report, told, term, before, term.span)

    def _is_one_value(self, term: Term, kept: tree.Kept) -> bool:
        """Whether there is one for each of what a memory is kept for; reports it if not."""
        cells = KEPT_PER[kept.per.text]
        if term.axis <= cells.axis and (term.axis is not Axis.GROUP or cells_of(term) == {cells}):
            return True
        hint = f"reduce it: mean(…, {'group' if cells.axis is Axis.GROUP else cells.name})"
        message = (
            f"a memory per {kept.per.text} is one value a {kept.per.text}; this is {term.axis.one_value}"
        )
        self.report.error("axis", message, term.span, hint)
        return False

    def _check_unread(self, read: frozenset[str]) -> None:
        """What nothing has read yet has its mistakes too: a `let` of one's own, and the neutral of one in use."""
        for name, let in self.flat.lets.items():
            if ("let", name) in self.flat.inherited:
                continue
            value = self.elaborator.let(name, Context("let")) if name not in read else None
            neutral = None if let.neutral is None else self._value("let", let.neutral)
            if neutral is None or poisoned(neutral):
                continue
            value = value or self.elaborator.let(name, Context("let"))
            if not poisoned(value) and (value.kind is Kind.BOOL) is not (neutral.kind is Kind.BOOL):
                kinds = f"`{name}` is {value.kind.word}, its neutral {neutral.kind.word}"
                self.report.error("wrong-kind", kinds, neutral.span)

    def _check_names(self, parts: Parts) -> None:
        """A term of the loss has a name of its own: metrics and messages tell terms apart by it."""
        taken = dict.fromkeys(("policy", "trained", "loss", "policy_loss"), "which every loss has")
        for word, name in parts.of(Role.ADDED, Role.SUBTRACTED):
            if name in taken:
                message = f"`{word} {name}` has the name of another term, {taken[name]}"
                self.report.error(
                    "shadowed-name", message, self.flat.parts[word, name].name.span, "choose another name"
                )
            taken[name] = f"`{word} {name}`"

    def _check_missing(self, needed: Iterable[PartWord]) -> None:
        missing = [row for row in needed if row.neutral is None and row.word not in self.flat.slots]
        if not missing:
            return
        name = self.flat.header.name
        lacks = " and ".join(f"no `{row.word}`" for row in missing)
        meanings = f"{missing[0].word}: {missing[0].doc}; " if len(missing) == 1 else ""
        forms = ", ".join(row.written() for row in missing)
        hint = f"{meanings}write {forms}, or extend an objective that has {'one' if meanings else 'them'}"
        self.report.error("missing-slot", f"`{name.text}` has {lacks}", name.span, hint)

    def _value(self, word: str, node: tree.Expression) -> Term:
        return self.elaborator.expression(node, Context(word))

    def _written(self, row: PartWord) -> Iterator[tuple[str, tree.Expression]]:
        """Name and value of everything that is written with a word."""
        if row.word in self.flat.slots and row.word not in self.none:
            yield "", self.flat.slots[row.word].value
        for (word, name), part in self.flat.parts.items():
            if word == row.word:
                yield name, part.condition if isinstance(part, tree.Rule) else part.value

    # ---- what a part accepts

    def _checked(self, row: PartWord, term: Term, span: Span) -> Term | None:
        if poisoned(term):
            return None
        condition = row.form == "rule"
        if condition is not (term.kind is Kind.BOOL):
            wanted = "a condition" if condition else "a number"
            self.report.error("wrong-kind", f"`{row.word}` needs {wanted}; this is {term.kind.word}", span)
            return None
        if term.axis not in row.axes and not (term.axis is Axis.CELL and Axis.TOKEN in row.axes):
            message = f"`{row.word}` cannot be {term.axis.one_value}"
            self.report.error("axis", message, span, row.axis_hint)
            return None
        return self._with_gradient_checked(row, term, span)

    def _with_gradient_checked(self, row: PartWord, term: Term, span: Span) -> Term | None:
        if row.gradient == "required" and not term.live:
            message = f"`{row.word}` {row.without_gradient}, so it trains nothing"
            self.report.error("no-gradient", message, span)
            return None
        if row.gradient == "required" and (lost := lost_gradient(term)) is not None:
            word = REDUCTIONS[lost.op].word
            message = f"`{word}` passes no gradient on, and what it is of depends on the policy being trained"
            hint = f"write detach(…) around it, or {word}(detach(…), …)"
            self.report.error("lost-gradient", message, lost.span, hint)
            return None
        if row.gradient == "none" and term.live:
            message = f"`{row.word}` is computed without gradient, but reads the policy being trained"
            hint = "write detach(…), or `old` for the policy at rollout time"
            self.report.error("live-value", message, span, hint)
            return None
        if row.when is When.PER_STEP and (found := micro_total(term)) is not None:
            message = f"`{row.word}` is computed once an optimizer window, not for each of its micro-batches"
            self.report.error("no-such-scope", message, found.span, "write window")
            return None
        if row.gradient == "stopped" and is_total(term):
            reject_total(self.report, span)
            return None
        if row.gradient == "stopped" and term.live:
            return Term("detach", (term,), term.axis, term.kind, False, term.span)
        return term


def _parameter(bound: BoundParameter) -> Term:
    attributes = (("name", bound.name), ("value", bound.value))
    return Term("param", (), Axis.SCALAR, Kind.REAL, False, bound.declared.span, attributes, label=bound.name)


def _input(declared: tree.Input, key: bool) -> Term:
    kind, axis = input_kind(declared.kind), INPUT_AXES[declared.axis.text]
    name = declared.name.text
    attributes = (("name", name), ("declared", True), *((("integer", True),) if kind.whole or key else ()))
    return Term("input", (), axis, kind.kind, kind.live, declared.span, attributes, label=name)
