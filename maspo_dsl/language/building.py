"""From the grammar's parse tree to the nodes of `tree`, with the mistakes that only a whole node shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from lark import Token
from lark import Tree as LarkTree

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import Diagnostic, nearest
from maspo_dsl.language.hints import ErrorSite, find_hint, joined_statement, misspelt_statement
from maspo_dsl.language.keywords import RESERVED_WORDS, SCOPE, TEACHER
from maspo_dsl.language.source import Source, Span
from maspo_dsl.language.template_check import notation_mistake

ParseTree: TypeAlias = LarkTree[Token]

Parsed: TypeAlias = Any
"""A child of a parse tree, whose kind the grammar's rule decides and Lark's types do not know."""

EXPRESSION_DEPTH = 100
"""Nesting that is accepted, so that walks over a tree may recurse."""


@dataclass
class Builder:
    """Builds the nodes of one source; `diagnostics` collects what is wrong with them."""

    source: Source
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def objective(self, parsed: ParseTree) -> tree.ObjectiveTree | None:
        """The whole file, without the statements that have a mistake; None if the header has one."""
        header, *statements = cast("list[ParseTree]", parsed.children)
        before = len(self.diagnostics)
        built_header = self._header(header)
        header_is_bad = len(self.diagnostics) > before
        built = self._statements(statements)
        return None if header_is_bad else tree.ObjectiveTree(built_header, built)

    def read_library(self, parsed: ParseTree) -> tree.LibraryTree:
        """The whole file, without the definitions that have a mistake."""
        doc, *definitions = parsed.children
        built = self._statements(cast("list[ParseTree]", definitions))
        return tree.LibraryTree(_unquoted(doc), cast("tuple[tree.Def, ...]", built))

    def _statements(self, parsed: Iterable[ParseTree]) -> tuple[tree.Statement, ...]:
        built = []
        for statement in parsed:
            before = len(self.diagnostics)
            if statement.data != "variant" and (deep := _too_deep(statement)) is not None:
                message = f"this is nested more than {EXPRESSION_DEPTH} deep"
                self._fault("too-deep", deep, message, "name parts of it with `let`")
                continue
            node = self._statement(statement)
            if all(d.code == "infinite-literal" for d in self.diagnostics[before:]):
                built.append(node)
        return tuple(built)

    def _header(self, parsed: ParseTree) -> tree.Header:
        name, extends, doc, *notes = cast("list[Parsed]", parsed.children)
        last = next(node for node in (*reversed(notes), doc, extends, name) if node is not None)
        return tree.Header(
            self._identifier(name),
            self._identifier(extends) if extends is not None else None,
            _unquoted(doc),
            tuple(_text(note.children[0]) for note in notes if note.data == "source"),
            tuple(_text(note.children[0]) for note in notes if note.data == "differs"),
            Span(self.source, self._span(parsed).start, self._span(last).end),
        )

    def _statement(self, parsed: ParseTree) -> tree.Statement:
        build = getattr(self, f"_{parsed.data}")
        return cast(tree.Statement, build(self._span(parsed), *parsed.children))

    def _param(self, span: Span, *children: Parsed) -> tree.Param:
        *bindings, domain, bind, doc = children
        return tree.Param(
            tuple(self._binding(b) for b in bindings),
            self._domain(domain) if domain is not None else None,
            self._identifier(bind) if bind is not None else None,
            _unquoted(doc),
            span,
        )

    def _binding(self, parsed: ParseTree) -> tree.Binding:
        name, value = parsed.children
        return tree.Binding(self._identifier(name), self.expression(value), self._span(parsed))

    def _domain(self, parsed: ParseTree) -> tree.Domain:
        if parsed.data == "choices":
            return tree.Choices(tuple(map(self.expression, parsed.children)), self._span(parsed))
        opening, low, _, high, closing = parsed.children
        return tree.Interval(
            self.expression(low), self.expression(high), opening == "[", closing == "]", self._span(parsed)
        )

    def _let(self, span: Span, name: Token, value: ParseTree, neutral: ParseTree | None) -> tree.Let:
        return tree.Let(self._identifier(name), self.expression(value), self._optional(neutral), span)

    def _def(
        self, span: Span, name: Token, parameters: ParseTree, body: Parsed, doc: Parsed, notation: Parsed
    ) -> tree.Def:
        declared = tuple(self._parameter(p) for p in parameters.children if p is not None)
        written = self._text(self._span(notation), notation) if notation is not None else None
        if written is not None and (mistake := notation_mistake(written, declared)) is not None:
            self.diagnostics.append(mistake)
        return tree.Def(
            self._identifier(name), declared, self.expression(body), _unquoted(doc), written, span
        )

    def _parameter(self, parsed: Parsed) -> tree.DefParameter:
        name, default = parsed.children
        return tree.DefParameter(self._identifier(name), self._optional(default))

    def _input(self, span: Span, name: Token, axis: Token, *children: Parsed) -> tree.Input:
        kind, domain, doc = children
        return tree.Input(
            self._identifier(name),
            self._identifier(axis),
            self._identifier(kind) if kind is not None else None,
            self._domain(domain) if domain is not None else None,
            _unquoted(doc),
            span,
        )

    def _teacher(self, span: Span, word: Token, name: Token, doc: Token | None) -> tree.Teacher:
        if word != TEACHER:
            self._unfinished(word, name, doc)
        return tree.Teacher(self._identifier(name), _unquoted(doc), span)

    def _scope(self, span: Span, word: Token, name: Token, *children: Parsed) -> tree.KeyedScope:
        *keys, doc = children
        if word != SCOPE:
            message = f"no statement that goes on with `by` starts with `{word}`"
            self._fault("syntax", word, message, f"write {SCOPE} {name} by …")
        return tree.KeyedScope(
            self._identifier(name), tuple(map(self._identifier, keys)), _unquoted(doc), span
        )

    def _unfinished(self, word: Token, name: Token, doc: Token | None) -> None:
        """The mistake of a word and a name with nothing behind them, or a text."""
        hint = find_hint(ErrorSite(f"{word} {name}", doc or "", frozenset({"EQUAL", "WHERE"})))
        meant = misspelt_statement(word) or nearest(word, [TEACHER, SCOPE])
        text = hint.text if hint is not None else f"did you mean `{meant}`?" if meant else ""
        end = self._span(name).end
        place = Span(self.source, end, end) if doc is None else self._span(doc)
        found = (
            f"`{doc}`"
            if doc is not None
            else f"end of {'line' if self.source.text[end:].strip() else 'file'}"
        )
        message = f"unexpected {found}; expected `=` or `where`"
        self.diagnostics.append(Diagnostic("syntax", message, place, text))

    def _slot(self, span: Span, slot: Token, value: ParseTree) -> tree.Slot:
        return tree.Slot(self._slot_word(slot, joined_statement(slot)), self.expression(value), span)

    def _part(
        self, span: Span, slot: Token, name: Token, value: ParseTree, kept: ParseTree | None
    ) -> tree.Part:
        return tree.Part(
            self._slot_word(slot, misspelt_statement(slot)),
            self._identifier(name),
            self.expression(value),
            self._kept(kept) if kept is not None else None,
            span,
        )

    def _kept(self, parsed: ParseTree) -> tree.Kept:
        start, per, doc = cast("list[Parsed]", parsed.children)
        return tree.Kept(self.expression(start), self._identifier(per), _unquoted(doc), self._span(parsed))

    def _rule(self, span: Span, slot: Token, name: Token, condition: ParseTree) -> tree.Rule:
        return tree.Rule(
            self._slot_word(slot, misspelt_statement(slot)),
            self._identifier(name),
            self.expression(condition),
            span,
        )

    def _drop(self, span: Span, *targets: ParseTree) -> tree.Drop:
        return tree.Drop(tuple(map(self._target, targets)), span)

    def _insert(self, span: Span, side: Token, target: ParseTree, *stages: ParseTree) -> tree.Insert:
        return tree.Insert(cast(tree.Side, str(side)), self._target(target), self._stages(stages), span)

    def _swap(self, span: Span, target: ParseTree, *stages: ParseTree) -> tree.Swap:
        return tree.Swap(self._target(target), self._stages(stages), span)

    def _variant(self, span: Span, name: Token, *edits: ParseTree) -> tree.Variant:
        built = self._statements(edits)
        return tree.Variant(self._identifier(name), cast("tuple[tree.Edit, ...]", built), span)

    def _sweep(self, span: Span, name: Token, *values: ParseTree) -> tree.Sweep:
        return tree.Sweep(self._identifier(name), tuple(map(self.expression, values)), span)

    def _allow(self, span: Span, code: Token, why: Token) -> tree.Allow:
        return tree.Allow(tree.Identifier(str(code), self._span(code)), _text(why), span)

    def expression(self, parsed: Parsed) -> tree.Expression:
        """One expression."""
        build = getattr(self, f"_{parsed.data}")
        return cast(tree.Expression, build(self._span(parsed), *parsed.children))

    def _optional(self, parsed: ParseTree | None) -> tree.Expression | None:
        return None if parsed is None else self.expression(parsed)

    def _number(self, span: Span, token: Token) -> tree.Number:
        value = float(token)
        if math.isinf(value):
            self._fault(
                "infinite-literal", token, f"`{token}` is too large for a number", "infinity is written inf"
            )
        return tree.Number(value, str(token), span)

    def _text(self, span: Span, token: Token) -> tree.Text:
        return tree.Text(_text(token), span)

    def _name(self, span: Span, path: ParseTree) -> tree.Name:
        return self._path(path)

    def _call(self, span: Span, path: ParseTree, arguments: ParseTree | None) -> tree.Call:
        return tree.Call(self._path(path), self._arguments(arguments), span)

    def _arguments(self, parsed: ParseTree | None) -> tuple[tree.Argument, ...]:
        if parsed is None:
            return ()
        return tuple(self._argument(a) for a in parsed.children if a is not None)

    def _argument(self, parsed: Parsed) -> tree.Argument:
        if parsed.data == "keyword":
            keyword, value = parsed.children
            return tree.Argument(self._identifier(keyword).text, self.expression(value), self._span(parsed))
        return tree.Argument(None, self.expression(parsed.children[0]), self._span(parsed))

    def _negate(self, span: Span, operand: ParseTree) -> tree.Negate:
        return tree.Negate(self.expression(operand), span)

    def _arithmetic(self, span: Span, left: ParseTree, operator: Token, right: ParseTree) -> tree.Arithmetic:
        return tree.Arithmetic(cast(Any, str(operator)), self.expression(left), self.expression(right), span)

    def _comparison(self, span: Span, *children: Parsed) -> tree.Compare:
        operands = tuple(map(self.expression, children[::2]))
        return tree.Compare(operands, tuple(cast(tree.Comparison, str(c)) for c in children[1::2]), span)

    def _negation(self, span: Span, operand: ParseTree) -> tree.Not:
        return tree.Not(self.expression(operand), span)

    def _both(self, span: Span, *operands: ParseTree) -> tree.Logical:
        return tree.Logical("and", tuple(map(self.expression, operands)), span)

    def _either(self, span: Span, *operands: ParseTree) -> tree.Logical:
        return tree.Logical("or", tuple(map(self.expression, operands)), span)

    def _choose(self, span: Span, then: ParseTree, condition: ParseTree, otherwise: ParseTree) -> tree.Choose:
        parts = [self.expression(part) for part in (condition, then, otherwise)]
        return tree.Choose(parts[0], parts[1], parts[2], span)

    def _least(self, span: Span, name: Token, *parts: ParseTree) -> tree.Least:
        low, high, step, condition, otherwise = map(self.expression, parts)
        return tree.Least(self._identifier(name).text, low, high, step, condition, otherwise, span)

    def _pipe(self, span: Span, head: ParseTree, *stages: ParseTree) -> tree.Pipe:
        built = self.expression(head)
        if isinstance(built, tree.Pipe):  # brackets around the first stages change nothing
            return tree.Pipe(built.head, built.stages + self._stages(stages), span)
        return tree.Pipe(built, self._stages(stages), span)

    def _stages(self, parsed: Iterable[ParseTree]) -> tuple[tree.Stage, ...]:
        return tuple(map(self._stage, parsed))

    def _stage(self, parsed: Parsed) -> tree.Stage:
        path, arguments, alias, guard = parsed.children
        return tree.Stage(
            self._path(path),
            self._arguments(arguments),
            self._identifier(alias).text if alias is not None else None,
            self._optional(guard),
            self._span(parsed),
        )

    def _target(self, parsed: ParseTree) -> tree.Name:
        """What an edit names: its path may begin with the word of the statement, as in `let.kl`."""
        return self._path(parsed, first=("let", "param") if len(parsed.children) > 1 else ())

    def _path(self, parsed: ParseTree, first: Sequence[str] = ()) -> tree.Name:
        words = cast("list[Token]", parsed.children)
        for word in words[1:] if words[0] in first else words:
            if word in RESERVED_WORDS and word != "it":
                message = f"`{word}` is a word of the language and stands for no value"
                choice = "a choice is written: x if condition else y"
                self._fault("reserved-name", word, message, choice if word in ("if", "where") else "")
        return tree.Name(tuple(map(str, words)), self._span(parsed))

    def _identifier(self, token: Parsed) -> tree.Identifier:
        if token in RESERVED_WORDS:
            message = f"`{token}` is a word of the language; it cannot be a name"
            self._fault("reserved-name", token, message, "take another name")
        return tree.Identifier(str(token), self._span(token))

    def _slot_word(self, token: Token, meant: str | None) -> tree.Identifier:
        """The first word of a statement that is not a word of the language, and the statement it may be."""
        if meant is not None and token not in RESERVED_WORDS:
            self._fault("syntax", token, f"no statement starts with `{token}`", f"did you mean `{meant}`?")
        return self._identifier(token)

    def _span(self, parsed: Parsed) -> Span:
        place: Parsed = parsed if isinstance(parsed, Token) else parsed.meta
        return Span(self.source, place.start_pos, place.end_pos)

    def _fault(self, code: str, where: Parsed, message: str, hint: str = "") -> None:
        self.diagnostics.append(Diagnostic(code, message, self._span(where), hint))


def _text(token: Parsed) -> str:
    return str(token)[1:-1]


def _unquoted(token: Parsed) -> str | None:
    return None if token is None else _text(token)


_WRAPPERS = frozenset({"arguments", "argument", "keyword", "path", "name", "stage", "binding", "interval"})


def _too_deep(statement: ParseTree) -> ParseTree | None:
    """The innermost node that is nested too deep, found without recursion; a stage nests the one before."""
    height: dict[int, int] = {}
    for node in statement.iter_subtrees():
        below = (height[id(child)] for child in node.children if isinstance(child, LarkTree))
        stages = sum(isinstance(child, LarkTree) and child.data == "stage" for child in node.children)
        height[id(node)] = max(below, default=0) + stages + (node.data not in _WRAPPERS)
        if height[id(node)] > EXPRESSION_DEPTH:
            return node
    return None
