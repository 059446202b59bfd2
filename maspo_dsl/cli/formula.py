"""The formula of an objective, one line a part, and the library calls that its lines contain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from maspo_dsl.cli.mathematics import (
    LEGEND,
    TOKEN_LOSS,
    applied,
    body_of,
    call_form,
    calls_in,
    expanded,
    math_text,
    substitute,
)
from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import Binds
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.types import Axis

_DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


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


def formula(objective: ResolvedObjective, defs: Mapping[str, tree.Def]) -> Formula:
    """The formula of an objective; `defs` are all that it can call."""
    writer = _Writer(objective, defs)
    lines = tuple(writer.lines())
    helpers = tuple(_helpers(writer.shown, defs))
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
    return {"sg[": "sg[·]", "H(": "H(π)"}.get(symbol, symbol)


class _Writer:
    """Writes the lines and remembers the expressions it showed."""

    def __init__(self, objective: ResolvedObjective, defs: Mapping[str, tree.Def]) -> None:
        self.objective = objective
        self.flat = objective.flat
        self.defs = defs
        self.shown: list[object] = []

    def lines(self) -> Iterator[Line]:
        yield from self._loss()
        yield from self._token_loss()
        yield from self._pipe("ratio", "r")
        for name, let in self.flat.lets.items():
            if name in self.objective.read:
                yield Line(name, self._math(let.value))
        yield from self._pipe("advantage", "A")
        yield from self._rewards()
        for slot in ("prompt", "step"):
            if slot in self.flat.slots:
                yield Line(slot, self._math(self.flat.slots[slot].value))
        for (word, name), part in self.flat.parts.items():
            if isinstance(part, tree.Rule):
                yield Line(name, self._one_level(part.condition), _RULES[word])

    # ---- the loss

    def _loss(self) -> Iterator[Line]:
        value = self.flat.slots["reduce"].value
        yield Line("loss", self._math(value), "minimised")
        for word, sign in (("penalty", "+"), ("bonus", "−")):
            for name, part in self._of(word):
                if self._term_axis(word, name) is Axis.SCALAR:
                    yield Line("", f"{sign} {self._one_level(part.value, Binds.PRODUCT)}", f"{word} {name}")

    def _token_loss(self) -> Iterator[Line]:
        weights = [name for name, _ in self._of("weight")]
        product = " · ".join(["−A", "ratio", *weights])
        muted = [name for word, name in self.flat.parts if word == "mute"]
        note = f"0 where {' or '.join(muted)}" if muted else ""
        yield Line(TOKEN_LOSS, product, note)
        for word, sign in (("penalty", "+"), ("bonus", "−")):
            for name, part in self._of(word):
                if self._term_axis(word, name) is not Axis.SCALAR:
                    yield Line("", f"{sign} {self._one_level(part.value, Binds.PRODUCT)}", f"{word} {name}")
        for name, part in self._of("weight"):
            yield Line(name, f"sg[{self._one_level(part.value)}]", "weight")

    def _rewards(self) -> Iterator[Line]:
        terms = list(self._of("reward"))
        names = [name for name, _ in terms]
        yield Line("R", " + ".join(["the task's reward", *names]))
        for name, part in terms:
            yield Line(name, self._one_level(part.value), "reward term")

    def _of(self, word: str) -> Iterator[tuple[str, tree.Part]]:
        for (kind, name), part in self.flat.parts.items():
            if kind == word and isinstance(part, tree.Part):
                yield name, part

    def _term_axis(self, word: str, name: str) -> Axis:
        parts = self.objective.parts
        return (parts.penalties if word == "penalty" else parts.bonuses)[name].axis

    # ---- pipes

    def _pipe(self, slot: str, symbol: str) -> Iterator[Line]:
        """A slot's pipe: its head, then a line a stage where stages have guards or are the ratio's."""
        value = self.flat.slots[slot].value
        final = symbol if slot == "advantage" else slot
        plain = not isinstance(value, tree.Pipe) or (
            slot == "advantage" and all(stage.guard is None for stage in value.stages)
        )
        if plain or not isinstance(value, tree.Pipe):
            yield Line(final, self._math(value))
            return
        start = symbol if slot == "ratio" else f"{symbol}₀"
        yield Line(start, self._math(value.head))
        before = start
        for number, stage in enumerate(value.stages, 1):
            last = number == len(value.stages)
            after = final if last else f"{symbol}{number}".translate(_DIGITS)
            yield Line(after, self._stage(stage, before), stage.name)
            before = after

    def _stage(self, stage: tree.Stage, before: str) -> str:
        value = tree.Name((before,), stage.span)
        call = applied(stage, value)
        body = body_of(call, self.defs) or call
        text = self._math(body)
        if stage.guard is None:
            return text
        guard = expanded(substitute(stage.guard, {"it": value}), self.defs)
        text = f"({text})" if isinstance(body, tree.Pipe) else text
        return f"{text} where {self._math(guard)}; else {before}"

    def _math(self, node: tree.Expression, binds: Binds = Binds.PIPE) -> str:
        self.shown.append(node)
        return math_text(node, binds)

    def _one_level(self, node: tree.Expression, binds: Binds = Binds.PIPE) -> str:
        return self._math(expanded(node, self.defs), binds)


_RULES = {
    "keep": "keep: answers that are trained on",
    "mute": "mute: tokens without a policy term, counted all the same",
    "exclude": "exclude: tokens left out, of denominators too",
}


def _helpers(shown: Iterable[object], defs: Mapping[str, tree.Def]) -> Iterator[Helper]:
    """Every `def` that shown expressions call, directly or through another, in the order of first use."""
    pending = [call.function.text for node in shown for call in calls_in(node)]
    seen: set[str] = set()
    while pending:
        name = pending.pop(0)
        if name in seen or name not in defs:
            continue
        seen.add(name)
        definition = defs[name]
        yield Helper(call_form(definition), math_text(definition.body), definition.doc or "")
        pending += [call.function.text for call in calls_in(definition.body)]
