"""Calls as a formula has them: what a stage calls, what a `def` means by its arguments, and its notation filled in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from maspo_dsl.language import tree
from maspo_dsl.language.printing import Precedence, Style, Written, write_arguments, written
from maspo_dsl.language.source import Source, Span
from maspo_dsl.language.template import OptionalPart, Place, Template, TemplatePart, read_template
from maspo_dsl.language.walking import Node, Tree, descendants, transform
from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS, EVEN
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.operations import OPERATIONS
from maspo_dsl.semantics.reductions import REDUCTION_WORDS

Defs = Mapping[str, tree.Def]


def applied(stage: tree.Stage, value: tree.Expression) -> tree.Call:
    """The call that a stage makes of a value; `it` in its arguments is the value."""
    given = (substitute(argument, {"it": value}) for argument in stage.arguments)
    return tree.Call(stage.function, (tree.Argument(None, value, stage.span), *given), stage.span)


def substitute(node: Tree, values: Mapping[str, tree.Expression]) -> Tree:
    """A tree with names replaced by expressions."""
    return transform(node, lambda below: values.get(below.text) if isinstance(below, tree.Name) else None)


def piped(pipe: tree.Pipe) -> tuple[tree.Expression, tuple[tree.Stage, ...]]:
    """A pipe as nested calls as far as its stages have no guard, and the stages from the first that has one."""
    value, stages = pipe.head, pipe.stages
    while stages and stages[0].guard is None:
        value, stages = applied(stages[0], value), stages[1:]
    return value, stages


def at_most_one_acts(stages: tuple[tree.Stage, ...]) -> bool:
    """Whether the stages are for A > 0 and for A < 0, so that at most one of them acts on a token."""
    guards = [stage.guard for stage in stages]
    return len(guards) == 2 and all(_sign_of_advantage(sign, stages[0].span) in guards for sign in "<>")


def _sign_of_advantage(sign: Any, span: Span) -> tree.Compare:
    return tree.Compare((tree.Name(("A",), span), tree.Number(0.0, "0", span)), (sign,), span)


def calls_in(node: Node) -> list[tree.Call]:
    """Every call in a tree, outermost first; a stage is the call that it makes of `it`."""
    found = (below for below in descendants(node) if isinstance(below, tree.Call | tree.Stage))
    return [
        below if isinstance(below, tree.Call) else applied(below, tree.Name(("it",), below.span))
        for below in found
    ]


# ---- one level of a `def`


def expanded(node: tree.Expression, defs: Defs, scopes: Collection[str]) -> tree.Expression:
    """The expression with every outermost call of a `def` replaced by its body; those within a scope stay."""

    def rule(below: Node) -> tree.Expression | None:
        if isinstance(below, tree.Pipe):
            return replace(below, head=expanded(below.head, defs, scopes))
        return body_of(below, defs, scopes) if isinstance(below, tree.Call) else None

    return transform(node, rule)


def body_of(call: tree.Call, defs: Defs, scopes: Collection[str]) -> tree.Expression | None:
    """The body of the `def` that a call means, with its arguments in place; None for a primitive or within a scope."""
    definition = defs.get(call.function.text)
    if definition is None or any(_is_one_of(argument.value, scopes) for argument in call.arguments):
        return None
    return substitute(definition.body, arguments_of(call, definition))


def _is_one_of(node: tree.Expression, names: Collection[str]) -> bool:
    return isinstance(node, tree.Name) and node.text in names


def arguments_of(call: tree.Call, definition: tree.Def) -> dict[str, tree.Expression]:
    """Each parameter of a `def` with what a call gives it, defaults included."""
    given = defaults_of(definition)
    positional = [a.value for a in call.arguments if a.keyword is None]
    given.update(zip((p.name.text for p in definition.parameters), positional, strict=False))
    given.update({a.keyword: a.value for a in call.arguments if a.keyword is not None})
    return given


def defaults_of(definition: tree.Def) -> dict[str, tree.Expression]:
    """The parameters of a `def` that have a default, with it."""
    return {p.name.text: p.default for p in definition.parameters if p.default is not None}


def called(
    shown: Iterable[tree.Expression], defs: Defs, known_scopes: frozenset[str]
) -> dict[str, frozenset[str]]:
    """Every `def` that expressions call, directly or through another, in the order of first use.

    With each the names that stand for a scope in its body: those of the spec, and parameters that are given one.
    """
    found: dict[str, frozenset[str]] = {}
    pending = [(node, known_scopes) for node in shown]
    while pending:
        node, scopes = pending.pop(0)
        for call in calls_in(node):
            name = call.function.text
            if name not in defs:
                continue
            given = {p for p, value in arguments_of(call, defs[name]).items() if _is_one_of(value, scopes)}
            known = found.get(name)
            if known is None or not given <= known:
                found[name] = (known or known_scopes) | given
                pending.append((defs[name].body, found[name]))
    return found


# ---- how a call is written


@dataclass(frozen=True)
class Notation:
    """How the calls of a function are written: a template of its parameters, or the symbol of the function."""

    parameters: tuple[str, ...]
    defaults: Mapping[str, tree.Expression]
    template: Template

    def values(self, call: tree.Call) -> dict[str, tree.Expression] | None:
        """What a call gives each parameter; None where it gives others, or not all."""
        given = dict(self.defaults)
        positional = [a.value for a in call.arguments if a.keyword is None]
        given.update(zip(self.parameters, positional, strict=False))
        given.update({a.keyword: a.value for a in call.arguments if a.keyword is not None})
        return given if set(given) == set(self.parameters) and len(positional) <= len(given) else None

    def symbol(self) -> str | None:
        """The notation, if it is of the function alone, so that its arguments follow in brackets."""
        return None if any(self.template.places()) else "".join(map(str, self.template.parts))


def notation_of(definition: tree.Def) -> Notation | None:
    """The notation that a `def` brings, if it does."""
    if definition.notation is None:
        return None
    names = tuple(parameter.name.text for parameter in definition.parameters)
    return Notation(names, defaults_of(definition), read_template(definition.notation.value))


_NUMBER_OF_EVEN = tree.Number(EVEN, number_text(EVEN), Span(Source("", ""), 0, 0))


def primitive_notations(form: Literal["plain", "latex"]) -> dict[str, Notation]:
    """The notations that the tables of operations and reductions bring."""
    texts: dict[str, tuple[tuple[str, ...], str]] = {}
    for name, operation in OPERATIONS.items():
        texts[name] = (("x",), operation.latex if form == "latex" else operation.plain)
    if form == "latex":
        for word, row in REDUCTION_WORDS.items():
            texts[word] = (("x", *(argument.name for argument in row.given)), row.latex)
    found = {name: Notation(names, {}, read_template(text)) for name, (names, text) in texts.items() if text}
    for word, distribution in DISTRIBUTION_WORDS.items():
        if text := distribution.latex if form == "latex" else distribution.plain:
            weight = {"weight": _NUMBER_OF_EVEN} if distribution.weighted else {}
            found[word] = Notation((*distribution.parameters, *weight), weight, read_template(text))
    return found


@dataclass(frozen=True)
class CallWriter:
    """Writes the calls of a style.

    `scopes` are the names that stand for one; `symbol` is of a function without a notation, `scope` of a scope, and
    `within` puts a scope below the symbol of a function.
    """

    notations: Mapping[str, Notation]
    defs: Defs
    scopes: frozenset[str]
    symbol: Callable[[str], str]
    scope: Callable[[str], str]
    within: Callable[[str, str], str]
    known: dict[int, tuple[tree.Call, Written]] = field(default_factory=dict)

    def __call__(self, node: tree.Call, style: Style) -> Written:
        """The call by its notation, else as the symbol of its function with the arguments in brackets.

        What was written once is remembered: a notation may say an argument twice, and so may one in that argument.
        """
        if id(node) not in self.known:
            self.known[id(node)] = node, self._written(node, style)
        return self.known[id(node)][1]

    def _written(self, node: tree.Call, style: Style) -> Written:
        notation = self.notations.get(node.function.text)
        symbol = notation.symbol() if notation is not None else None
        if notation is not None and symbol is None:
            values = notation.values(node)
            filling = None if values is None else _Filling(self, style, values, notation.defaults)
            if filling is not None and not filling.repeats(notation.template):
                return filling.written(notation.template.parts, notation.template.own)
        symbol = symbol or self.symbol(node.function.text)
        values_alone = [argument for argument in node.arguments if not self.is_scope(argument.value)]
        for argument in node.arguments:
            if isinstance(argument.value, tree.Name) and self.is_scope(argument.value):
                symbol = self.within(symbol, self.scope(argument.value.text))
        return symbol + style.bracketed(write_arguments(values_alone, style)), Precedence.ATOM

    def is_scope(self, node: tree.Expression) -> bool:
        """Whether an expression is the name of a scope."""
        return _is_one_of(node, self.scopes)


_LONG = 200
"""Characters of an argument that is written once."""


@dataclass(frozen=True)
class _Filling:
    """The places of a template filled with the arguments of one call."""

    writer: CallWriter
    style: Style
    values: Mapping[str, tree.Expression]
    defaults: Mapping[str, tree.Expression]

    def repeats(self, template: Template) -> bool:
        """Whether something longer than a name or a number would be written three times, or a long text twice."""
        places = list(template.places())
        often = Counter(place.parameter for place in places)
        same = Counter(place.parameter for place in places if place.before is None)
        values = {
            name: self.values[name]
            for name, count in often.items()
            if count > 1 and not isinstance(self.values[name], tree.Name | tree.Number)
        }
        return any(same[n] > 2 or len(written(v, self.style)[0]) > _LONG for n, v in values.items())

    def written(self, parts: tuple[TemplatePart, ...], own: Precedence) -> Written:
        """The text of parts that bind by themselves as tightly as `own`."""
        found: list[str] = []
        for part in parts:
            text, binds = self._part(part)
            found.append(text)
            own = min(own, binds)
        return "".join(found), own

    def _part(self, part: TemplatePart) -> Written:
        match part:
            case str():
                return part, Precedence.ATOM
            case Place():
                return self._place(part)
            case OptionalPart(parts=parts, own=own):
                inside = Template(parts, own).places()
                bare = all(self.values[p.parameter] == self.defaults.get(p.parameter) for p in inside)
                return ("", Precedence.ATOM) if bare else self.written(parts, own)

    def _place(self, place: Place) -> Written:
        value = self._value(place)
        if isinstance(value, tree.Name) and self.writer.is_scope(value):
            text, own = self.writer.scope(value.text), Precedence.ATOM
        else:
            text, own = written(value, self.style)
        if own < place.needed or (place.subscripted and "_" in text):
            text = self.style.bracketed(text)
        return f"{{{text}}}" if place.grouped else text, own if place.outermost else Precedence.ATOM

    def _value(self, place: Place) -> tree.Expression:
        """The argument; with `before`, what that function was given, if the argument calls it with the same others."""
        value = self.values[place.parameter]
        if not isinstance(value, tree.Call) or value.function.text != place.before:
            return value
        definition = self.writer.defs[value.function.text]
        given = arguments_of(value, definition)
        inner = given.pop(definition.parameters[0].name.text)
        return inner if all(self.values.get(name, other) == other for name, other in given.items()) else value
