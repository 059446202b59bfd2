"""The formula of an objective, one line a part, and the library calls that its lines contain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from maspo_dsl.cli.mathematics import (
    LEGEND,
    applied,
    arguments_of,
    body_of,
    call_form,
    calls_in,
    expanded,
    substitute,
)
from maspo_dsl.cli.notation import PLAIN_TEXT, Notation
from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import Binds
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import NAMED, Role
from maspo_dsl.semantics.parts import Key
from maspo_dsl.semantics.types import Axis


@dataclass(frozen=True)
class Line:
    """`symbol = text`; without a symbol, text that goes on from the line before. `note` says what it is."""

    symbol: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Helper:
    """A library call, or one of the spec's own, that stands in the formula: its body and its meaning."""

    call: str
    body: str
    meaning: str


@dataclass(frozen=True)
class Formula:
    """The formula's lines, the calls in them, and what their symbols stand for."""

    lines: tuple[Line, ...]
    helpers: tuple[Helper, ...]
    legend: tuple[tuple[str, str], ...]


def formula(
    objective: ResolvedObjective, defs: Mapping[str, tree.Def], notation: Notation = PLAIN_TEXT
) -> Formula:
    """The formula of an objective; `defs` are all that it can call. The legend is of the plain symbols."""
    writer = _Writer(objective, defs, notation)
    lines = tuple(writer.lines())
    helpers = tuple(_helpers(writer.shown, defs, notation))
    everything = " ".join([*(f"{line.symbol} {line.text}" for line in lines), *(h.body for h in helpers)])
    words = {symbol: meaning for symbol, meaning in LEGEND.items() if _occurs(symbol, everything)}
    legend = tuple((_closed(symbol), meaning) for symbol, meaning in words.items())
    return Formula(lines, helpers, legend)


def _occurs(symbol: str, text: str) -> bool:
    return (
        symbol in text
        if symbol != "π"
        else any(c == "π" and n != "_" for c, n in zip(text, text[1:] + " ", strict=True))
    )


def _closed(symbol: str) -> str:
    closed = {
        "sg[": "sg[·]",
        "H(": "H(π)",
        "next(": "next(·)",
        "discounted_sum(": "discounted_sum(·)",
        "top_": "top",
    }
    return closed.get(symbol, symbol)


class _Writer:
    """Writes the lines and remembers the expressions it showed."""

    def __init__(
        self, objective: ResolvedObjective, defs: Mapping[str, tree.Def], notation: Notation
    ) -> None:
        self.objective = objective
        self.flat = objective.flat
        self.defs = defs
        self.notation = notation
        self.shown: list[object] = []

    def lines(self) -> Iterator[Line]:
        yield from self._loss()
        yield from self._token_loss()
        yield from self._pipe("ratio", "r")
        for name, let in self.flat.lets.items():
            if name in self.objective.read:
                yield Line(self._symbol(name), self._math(let.value))
        yield from self._pipe("advantage", "A")
        yield from self._rewards()
        for slot in ("prompt", "step"):
            if slot in self.flat.slots:
                yield Line(self._symbol(slot), self._math(self.flat.slots[slot].value))
        for (word, name), part in self.flat.parts.items():
            if isinstance(part, tree.Rule):
                yield Line(self._symbol(name), self._one_level(part.condition), f"{word}: {NAMED[word].note}")

    # ---- the loss

    def _loss(self) -> Iterator[Line]:
        value = self.flat.slots["reduce"].value
        yield Line(self._symbol("loss"), self._math(value), "minimised")
        yield from self._terms(scalar=True)

    def _terms(self, scalar: bool) -> Iterator[Line]:
        """Penalties and bonuses: those that are one number, added after `reduce`, or those of tokens."""
        for role, sign in ((Role.ADDED, "+"), (Role.SUBTRACTED, "-")):
            for (word, name), part in self._of(role):
                if (self.objective.parts.by_key[word, name].axis is Axis.SCALAR) is scalar:
                    text = self._one_level(part.value, Binds.PRODUCT)
                    yield Line("", self.notation.term(sign, text), f"{word} {name}")

    def _token_loss(self) -> Iterator[Line]:
        weights = [name for (_, name), _ in self._of(Role.FACTOR)]
        product = self.notation.negated([self._symbol(word) for word in ("A", "ratio", *weights)])
        muted = [name for _, name in self.objective.parts.of(Role.REMOVES_POLICY_TERM)]
        note = f"0 where {' or '.join(muted)}" if muted else ""
        yield Line(self._symbol("token loss"), product, note)
        yield from self._terms(scalar=False)
        for (_, name), part in self._of(Role.FACTOR):
            yield Line(self._symbol(name), self.notation.detached(self._one_level(part.value)), "weight")

    def _rewards(self) -> Iterator[Line]:
        terms = list(self._of(Role.REWARD_TERM))
        names = [self._symbol(name) for (_, name), _ in terms]
        yield Line(self._symbol("R"), self.notation.total(names))
        for (_, name), part in terms:
            yield Line(self._symbol(name), self._one_level(part.value), "reward term")

    def _of(self, role: Role) -> Iterator[tuple[Key, tree.Part]]:
        for key in self.objective.parts.of(role):
            part = self.flat.parts[key]
            assert isinstance(part, tree.Part)
            yield key, part

    # ---- pipes

    def _pipe(self, slot: str, symbol: str) -> Iterator[Line]:
        """A slot's pipe: its head, then a line a stage where stages have guards or are the ratio's."""
        value = self.flat.slots[slot].value
        final = symbol if slot == "advantage" else slot
        plain = not isinstance(value, tree.Pipe) or (
            slot == "advantage" and all(stage.guard is None for stage in value.stages)
        )
        if plain or not isinstance(value, tree.Pipe):
            yield Line(self._symbol(final), self._math(value))
            return
        start = symbol if slot == "ratio" else self.notation.numbered(symbol, 0)
        yield Line(start, self._math(value.head))
        before = start
        for number, stage in enumerate(value.stages, 1):
            last = number == len(value.stages)
            after = self._symbol(final) if last else self.notation.numbered(symbol, number)
            call, named = self._with_named_choices(applied(stage, tree.Name((before,), stage.span)))
            yield Line(after, self._stage(stage, call, before), stage.name)
            yield from named
            before = after

    def _with_named_choices(self, call: tree.Call) -> tuple[tree.Call, list[Line]]:
        """The call with the names of its `def` for arguments that are choices, and a line for each of these."""
        definition = self.defs.get(call.function.text)
        if definition is None or not self.notation.names_choices:
            return call, []
        given = arguments_of(call, definition)
        taken = {*self.flat.params, *self.flat.lets}
        choices = {n: v for n, v in given.items() if isinstance(v, tree.Choose) and n not in taken}
        named = {**given, **{name: tree.Name((name,), call.span) for name in choices}}
        arguments = tuple(tree.Argument(None, named[p.name.text], call.span) for p in definition.parameters)
        lines = [Line(self._symbol(name), self._math(value)) for name, value in choices.items()]
        return tree.Call(call.function, arguments, call.span), lines

    def _stage(self, stage: tree.Stage, call: tree.Call, before: str) -> str:
        value = tree.Name((before,), stage.span)
        body = body_of(call, self.defs) or call
        text = self._math(body)
        if stage.guard is None:
            return text
        guard = expanded(substitute(stage.guard, {"it": value}), self.defs)
        text = f"({text})" if isinstance(body, tree.Pipe) else text
        return self.notation.guarded(text, self._math(guard), before)

    def _symbol(self, word: str) -> str:
        return self.notation.symbol(word)

    def _math(self, node: tree.Expression, binds: Binds = Binds.PIPE) -> str:
        self.shown.append(node)
        return self.notation.expression(node, binds)

    def _one_level(self, node: tree.Expression, binds: Binds = Binds.PIPE) -> str:
        return self._math(expanded(node, self.defs), binds)


def _helpers(shown: Iterable[object], defs: Mapping[str, tree.Def], notation: Notation) -> Iterator[Helper]:
    """Every `def` that shown expressions call, directly or through another, in the order of first use."""
    pending = [call.function.text for node in shown for call in calls_in(node)]
    seen: set[str] = set()
    while pending:
        name = pending.pop(0)
        if name in seen or name not in defs:
            continue
        seen.add(name)
        definition = defs[name]
        yield Helper(
            call_form(definition), notation.expression(definition.body, Binds.PIPE), definition.doc or ""
        )
        pending += [call.function.text for call in calls_in(definition.body)]
