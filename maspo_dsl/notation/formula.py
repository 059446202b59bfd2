"""The formula of an objective, one line a part, and the library calls that its lines contain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from maspo_dsl.language import tree
from maspo_dsl.language.printing import Precedence, write
from maspo_dsl.language.walking import names_in
from maspo_dsl.notation.calls import (
    Defs,
    applied,
    arguments_of,
    body_of,
    called,
    expanded,
    substitute,
)
from maspo_dsl.notation.plain import call_form
from maspo_dsl.notation.styles import PLAIN_TEXT, FormulaStyle
from maspo_dsl.notation.symbols import LEGEND, SYMBOLS, Symbol, symbol_of_teacher
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import NAMED, Role
from maspo_dsl.semantics.parts import Key
from maspo_dsl.semantics.types import Axis


@dataclass(frozen=True)
class FormulaLine:
    """`symbol = text`; without a symbol, text that goes on from the line before. `note` says what it is."""

    symbol: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Helper:
    """A library call, or one of the spec's own, that stands in the formula: its body and its meaning.

    `symbol` is its call as the formula writes it, nothing where a notation of its own does.
    """

    call: str
    body: str
    meaning: str
    symbol: str


@dataclass(frozen=True)
class Formula:
    """The formula's lines, the calls in them, and what their symbols stand for."""

    lines: tuple[FormulaLine, ...]
    helpers: tuple[Helper, ...]
    legend: tuple[tuple[str, str], ...]


def formula(objective: ResolvedObjective, defs: Defs, style: FormulaStyle = PLAIN_TEXT) -> Formula:
    """The formula of an objective; `defs` are all that it can call. The legend is of the plain symbols."""
    writer = _Writer(objective, defs, style)
    lines = tuple(writer.lines())
    within = called(writer.shown, defs, writer.scopes)
    helpers = tuple(writer.helper(defs[name], scopes) for name, scopes in within.items())
    bodies = (defs[name].body for name in within)
    used = {name for node in (*writer.shown, *bodies) for name in names_in(node)}
    return Formula(lines, helpers, tuple(_legend(used | {"loss"}, {**SYMBOLS, **writer.teachers})))


def _legend(used: set[str], symbols: Mapping[str, Symbol]) -> Iterator[tuple[str, str]]:
    """What stands for the words that are used, of those that a reader must be told."""
    words = {name: (symbol.plain, symbol.meaning) for name, symbol in symbols.items()}
    words |= LEGEND
    yield from (words[name] for name in words if name in used and words[name][1])


class _Writer:
    """Writes the lines and remembers the expressions it showed."""

    def __init__(self, objective: ResolvedObjective, defs: Defs, style: FormulaStyle) -> None:
        self.objective = objective
        self.flat = objective.flat
        self.defs = defs
        self.written_out = {
            n: d for n, d in defs.items() if not (style.by_notation and d.notation is not None)
        }
        self.style = style
        self.teachers = {
            name: symbol_of_teacher(name, declared.doc) for name, declared in self.flat.teachers.items()
        }
        self.scopes = frozenset(objective.scopes)
        self.expressions = style.expressions(defs, self.scopes)
        self.shown: list[tree.Expression] = []

    def lines(self) -> Iterator[FormulaLine]:
        yield from self._loss()
        yield from self._token_loss()
        if self.objective.parts.has_policy_term:
            yield from self._pipe("ratio", "r")
        for name, let in self.flat.lets.items():
            if name in self.objective.read:
                yield FormulaLine(self._symbol(name), self._math(let.value))
        if self.objective.parts.of(Role.ADVANTAGE):
            yield from self._pipe("advantage", "A")
            yield from self._rewards()
        yield from self._memories()
        for slot in ("prompt", "step"):
            if slot in self.flat.slots:
                yield FormulaLine(self._symbol(slot), self._math(self.flat.slots[slot].value))
        for (word, name), part in self.flat.parts.items():
            if isinstance(part, tree.Rule):
                note = f"{word}: {NAMED[word].note}"
                yield FormulaLine(self._symbol(name), self._one_level(part.condition), note)

    # ---- the loss

    def _loss(self) -> Iterator[FormulaLine]:
        if "reduce" not in self.flat.slots:
            yield from self._terms(scalar=True, symbol="loss")
            return
        value = self.flat.slots["reduce"].value
        yield FormulaLine(self._symbol("loss"), self._math(value), "minimised")
        yield from self._terms(scalar=True)

    def _terms(self, scalar: bool, symbol: str = "") -> Iterator[FormulaLine]:
        """Penalties and bonuses: those that are one number, added after `reduce`, or those of tokens.

        `symbol` is of what begins with them, where nothing stands before them.
        """
        for role, sign in ((Role.ADDED, "+"), (Role.SUBTRACTED, "-")):
            for (word, name), part in self._of(role):
                if (self.objective.parts.by_key[word, name].axis is Axis.SCALAR) is scalar:
                    text = self._one_level(part.value, Precedence.PRODUCT)
                    text = text if symbol and sign == "+" else self.style.term(sign, text)
                    yield FormulaLine(self._symbol(symbol) if symbol else "", text, f"{word} {name}")
                    symbol = ""

    def _token_loss(self) -> Iterator[FormulaLine]:
        if not self.objective.parts.has_policy_term:
            yield from self._terms(scalar=False, symbol="token loss")
            return
        weights = [name for (_, name), _ in self._of(Role.FACTOR)]
        product = self.style.negated([self._symbol(word) for word in ("A", "ratio", *weights)])
        muted = [name for _, name in self.objective.parts.of(Role.REMOVES_POLICY_TERM)]
        note = f"0 where {' or '.join(muted)}" if muted else ""
        yield FormulaLine(self._symbol("token loss"), product, note)
        yield from self._terms(scalar=False)
        for (_, name), part in self._of(Role.FACTOR):
            value = tree.Argument(None, expanded(part.value, self.written_out, self.scopes), part.span)
            detached = tree.Call(tree.Name(("detach",), part.span), (value,), part.span)
            yield FormulaLine(self._symbol(name), self._math(detached), "weight")

    def _rewards(self) -> Iterator[FormulaLine]:
        terms = list(self._of(Role.REWARD_TERM))
        names = [self._symbol(name) for (_, name), _ in terms]
        yield FormulaLine(self._symbol("R"), self.style.total(names))
        for (_, name), part in terms:
            yield FormulaLine(self._symbol(name), self._one_level(part.value), "reward term")

    def _memories(self) -> Iterator[FormulaLine]:
        """What a memory is after the rollout: its name with a prime."""
        for (_, name), part in self._of(Role.MEMORY):
            memory = self.objective.memories[name]
            note = f"memory {name} per {memory.per}, {number_text(memory.start)} at first"
            yield FormulaLine(f"{self._symbol(name)}'", self._math(part.value), note)

    def _of(self, role: Role) -> Iterator[tuple[Key, tree.Part]]:
        for key in self.objective.parts.of(role):
            part = self.flat.parts[key]
            assert isinstance(part, tree.Part)
            yield key, part

    # ---- pipes

    def _pipe(self, slot: str, symbol: str) -> Iterator[FormulaLine]:
        """A slot's pipe: its head, then a line a stage where stages have guards or are the ratio's."""
        value = self.flat.slots[slot].value
        final = symbol if slot == "advantage" else slot
        plain = not isinstance(value, tree.Pipe) or (
            slot == "advantage" and all(stage.guard is None for stage in value.stages)
        )
        if plain or not isinstance(value, tree.Pipe):
            yield FormulaLine(self._symbol(final), self._math(value))
            return
        start = symbol if slot == "ratio" else self.style.numbered(symbol, 0)
        yield FormulaLine(start, self._math(value.head))
        before = start
        for number, stage in enumerate(value.stages, 1):
            last = number == len(value.stages)
            after = self._symbol(final) if last else self.style.numbered(symbol, number)
            call, named = self._with_named_choices(applied(stage, tree.Name((before,), stage.span)))
            yield FormulaLine(after, self._stage(stage, call, before), stage.name)
            yield from named
            before = after

    def _with_named_choices(self, call: tree.Call) -> tuple[tree.Call, list[FormulaLine]]:
        """The call with the names of its `def` for arguments that are choices, and a line for each of these."""
        definition = self.defs.get(call.function.text)
        if definition is None or not self.style.names_choices:
            return call, []
        given = arguments_of(call, definition)
        taken = {*self.flat.params, *self.flat.lets}
        choices = {n: v for n, v in given.items() if isinstance(v, tree.Choose) and n not in taken}
        named = {**given, **{name: tree.Name((name,), call.span) for name in choices}}
        arguments = tuple(tree.Argument(None, named[p.name.text], call.span) for p in definition.parameters)
        lines = [FormulaLine(self._symbol(name), self._math(value)) for name, value in choices.items()]
        return tree.Call(call.function, arguments, call.span), lines

    def _stage(self, stage: tree.Stage, call: tree.Call, before: str) -> str:
        value = tree.Name((before,), stage.span)
        body = body_of(call, self.written_out, self.scopes) or call
        text = self._math(body)
        if stage.guard is None:
            return text
        guard = expanded(substitute(stage.guard, {"it": value}), self.written_out, self.scopes)
        text = f"({text})" if isinstance(body, tree.Pipe) else text
        return self.style.guarded(text, self._math(guard), before)

    def _symbol(self, word: str) -> str:
        return self.style.symbol(word)

    def _math(self, node: tree.Expression, needed: Precedence = Precedence.PIPE) -> str:
        self.shown.append(node)
        return write(self._with_symbols(node), self.expressions, needed)

    def _with_symbols(self, node: tree.Expression) -> tree.Expression:
        """The expression with the symbols of teachers in place of their names."""
        symbols = {name: self.style.policy(symbol) for name, symbol in self.teachers.items()}
        return substitute(node, {name: tree.Name((text,), node.span) for name, text in symbols.items()})

    def helper(self, definition: tree.Def, scopes: frozenset[str]) -> Helper:
        """A `def` with its body; `scopes` are the names that stand for one."""
        style = self.style.expressions(self.defs, scopes)
        body = write(self._with_symbols(definition.body), style)
        span = definition.name.span
        function, *arguments = (
            tree.Name((each.text,), span)
            for each in (definition.name, *(parameter.name for parameter in definition.parameters))
        )
        given = tuple(tree.Argument(None, each, span) for each in arguments)
        named = definition.notation is None or not self.style.by_notation
        symbol = write(tree.Call(function, given, span), style) if named else ""
        return Helper(call_form(definition), body, definition.doc or "", symbol)

    def _one_level(self, node: tree.Expression, needed: Precedence = Precedence.PIPE) -> str:
        return self._math(expanded(node, self.written_out, self.scopes), needed)
