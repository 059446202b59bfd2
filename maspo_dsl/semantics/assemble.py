"""A flat spec with values to its parts as typed terms, each slot held to its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.binding import BoundParameter
from maspo_dsl.semantics.context import Context, Names
from maspo_dsl.semantics.elaborate import Elaborator
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.poison import poison, poisoned
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.terms import Term
from maspo_dsl.semantics.totals import is_total, micro_total, refuse_total
from maspo_dsl.semantics.training import report_nothing_trained
from maspo_dsl.semantics.types import Axis, Kind
from maspo_dsl.semantics.vocabulary import BEFORE_ADVANTAGE, PARTS, SLOTS


@dataclass(frozen=True)
class Parts:
    """The parts of an objective as terms; dictionaries are by the part's name."""

    advantage: Term
    ratio: Term
    reduce: Term
    prompt: Term | None = None
    step: Term | None = None
    rewards: Mapping[str, Term] = field(default_factory=dict)
    keeps: Mapping[str, Term] = field(default_factory=dict)
    weights: Mapping[str, Term] = field(default_factory=dict)
    mutes: Mapping[str, Term] = field(default_factory=dict)
    excludes: Mapping[str, Term] = field(default_factory=dict)
    penalties: Mapping[str, Term] = field(default_factory=dict)
    bonuses: Mapping[str, Term] = field(default_factory=dict)


def assemble(
    flat: Flat, params: Mapping[str, BoundParameter], definitions: Mapping[str, tree.Def], report: Report
) -> tuple[Parts | None, frozenset[str]]:
    """The parts, None after mistakes, and the names that were read."""
    return _Assembler(flat, params, definitions, report).run()


class _Assembler:
    def __init__(
        self,
        flat: Flat,
        params: Mapping[str, BoundParameter],
        definitions: Mapping[str, tree.Def],
        report: Report,
    ) -> None:
        self.flat = flat
        self.report = report
        names = Names(
            params={name: _parameter(bound) for name, bound in params.items()}
            | {name: poison(flat.params[name].span) for name in flat.params if name not in params},
            lets=flat.lets,
            inputs={name: _input(declared) for name, declared in flat.inputs.items()},
            defs={**definitions, **flat.defs},
            slots=flat.slots,
        )
        self.elaborator = Elaborator(names, report)

    def run(self) -> tuple[Parts | None, frozenset[str]]:
        self._check_missing()
        advantage = self._slot("advantage")
        if advantage is not None:
            self.elaborator.advantage_axis = max(advantage.axis, Axis.SEQUENCE)
        rewards, keeps = self._parts("reward"), self._parts("keep")
        prompt = self._slot("prompt")
        ratio = self._slot("ratio")
        weights, mutes, excludes = self._parts("weight"), self._parts("mute"), self._parts("exclude")
        penalties, bonuses = self._parts("penalty"), self._parts("bonus")
        reduce, step = self._slot("reduce"), self._slot("step")
        read = frozenset(self.elaborator.read)
        self._check_unread(read)
        if self.report.failed or advantage is None or ratio is None or reduce is None:
            return None, read
        parts = Parts(
            advantage,
            ratio,
            reduce,
            prompt,
            step,
            rewards,
            keeps,
            weights,
            mutes,
            excludes,
            penalties,
            bonuses,
        )
        report_nothing_trained(self.flat, parts, self.report)
        return (None if self.report.failed else parts), read

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

    # ---- slots

    def _check_missing(self) -> None:
        missing = [word for word in ("advantage", "ratio", "reduce") if word not in self.flat.slots]
        if not missing:
            return
        name = self.flat.header.name
        lacks = " and ".join(f"no `{word}`" for word in missing)
        meanings = f"{missing[0]}: {SLOTS[missing[0]].doc}; " if len(missing) == 1 else ""
        forms = ", ".join(f"{word} = …" for word in missing)
        hint = f"{meanings}write {forms}, or extend an objective that has {'one' if meanings else 'them'}"
        self.report.error("missing-slot", f"`{name.text}` has {lacks}", name.span, hint)

    def _slot(self, word: str) -> Term | None:
        if word not in self.flat.slots:
            return None
        statement = self.flat.slots[word]
        term = self._value(word, statement.value)
        return self._hold(word, term, statement.value.span, SLOTS[word].axes)

    def _value(self, slot: str, node: tree.Expression) -> Term:
        return self.elaborator.expression(node, Context(slot))

    def _parts(self, word: str) -> dict[str, Term]:
        found: dict[str, Term] = {}
        for (kind, name), statement in self.flat.parts.items():
            if kind != word:
                continue
            node = statement.condition if isinstance(statement, tree.Rule) else statement.value
            term = self._hold(word, self._value(word, node), node.span, PARTS[word].axes)
            if term is not None:
                found[name] = term.labelled(name)
        return found

    # ---- what a slot accepts

    def _hold(self, word: str, term: Term, span: Span, axes: frozenset[Axis]) -> Term | None:
        if poisoned(term):
            return None
        condition = word in ("keep", "mute", "exclude")
        if condition is not (term.kind is Kind.BOOL):
            wanted = "a condition" if condition else "a number"
            self.report.error("wrong-kind", f"`{word}` needs {wanted}; this is {term.kind.word}", span)
            return None
        if term.axis not in axes:
            message = f"`{word}` cannot be {term.axis.one_value}"
            self.report.error("axis", message, span, _AXIS_HINTS.get(word, ""))
            return None
        return self._hold_gradient(word, term, span)

    def _hold_gradient(self, word: str, term: Term, span: Span) -> Term | None:
        if word in ("ratio", "penalty", "bonus", "reduce") and not term.live:
            what = "does not read `loss`" if word == "reduce" else "carries no gradient to the policy"
            self.report.error("no-gradient", f"`{word}` {what}, so it trains nothing", span)
            return None
        if word in (*BEFORE_ADVANTAGE, "step") and term.live:
            hint = "write detach(…), or `old` for the policy at rollout time"
            self.report.error(
                "live-value",
                f"`{word}` is computed without gradient, but reads the policy being trained",
                span,
                hint,
            )
            return None
        if word == "step" and (found := micro_total(term)) is not None:
            message = "`step` is computed once an optimizer window, not for each of its micro-batches"
            self.report.error("no-such-scope", message, found.span, "write window")
            return None
        if word == "weight" and is_total(term):
            refuse_total(self.report, span)
            return None
        if word == "weight" and term.live:
            return Term("detach", (term,), term.axis, term.kind, False, term.span)
        return term


_AXIS_HINTS = {
    "reduce": "end with a reduction within `window`: loss |> mean(window)",
    "ratio": "the ratio is of tokens or of sequences",
    "reward": "reduce tokens first: mean(…, sequence)",
    "keep": "reduce tokens first: mean(…, sequence)",
}


def _parameter(bound: BoundParameter) -> Term:
    attributes = (("name", bound.name), ("value", bound.value))
    return Term("param", (), Axis.SCALAR, Kind.REAL, False, bound.declared.span, attributes, label=bound.name)


def _input(declared: tree.Input) -> Term:
    axis = Axis.TOKEN if declared.axis.text == "token" else Axis.SEQUENCE
    attributes = (("name", declared.name.text), ("declared", True))
    return Term("input", (), axis, Kind.REAL, False, declared.span, attributes, label=declared.name.text)
