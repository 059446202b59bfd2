"""A resolved objective as one flat file again, and the hash of what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from maspo_dsl.language import tree
from maspo_dsl.language.formatter import format_objective, format_statement
from maspo_dsl.language.source import Span
from maspo_dsl.language.walking import Node, names_in, transform, without_comments
from maspo_dsl.semantics.binding import BoundParameter, start_of
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.part_words import PART_WORDS

HASH_DIGITS = 16

Statement = TypeVar("Statement", bound=tree.Statement)


def flat_tree(flat: Flat, params: Mapping[str, BoundParameter], read: frozenset[str]) -> tree.ObjectiveTree:
    """The objective as one file: no `extends`, no edits, every value bound, nothing that is not read."""
    header = replace(flat.header, extends=None, comments=tree.NO_COMMENTS)
    statements: list[tree.Statement] = []
    statements += [_param(bound, params) for name, bound in params.items() if name in read]
    statements += [_input(i, params) for name, i in flat.inputs.items() if name in read]
    statements += [_bare(t) for name, t in flat.teachers.items() if name in read]
    statements += [_bare(s) for name, s in flat.scopes.items() if name in read]
    statements += [_bare(d) for name, d in flat.defs.items() if name in read]
    statements += [_bare(let) for name, let in flat.lets.items() if name in read]
    statements += [_bare(_with_start(statement, flat, params)) for statement in _ordered(flat)]
    gone = {*flat.params, *flat.inputs, *flat.teachers, *flat.scopes, *flat.defs, *flat.lets} - read
    statements += [_bare(v) for v in flat.variants.values() if not names_in(v) & gone]
    statements += [_bare(s) for name, s in flat.sweeps.items() if name not in gone]
    statements += [_bare(a) for a in flat.allows.values()]
    return tree.ObjectiveTree(header, tuple(_spaced(statements)))


def _ordered(flat: Flat) -> Iterator[tree.Slot | tree.Part | tree.Rule]:
    for word in PART_WORDS:
        if word in flat.slots:
            yield flat.slots[word]
        yield from (part for (kind, _), part in flat.parts.items() if kind == word)


def _with_start(
    statement: tree.Slot | tree.Part | tree.Rule,
    flat: Flat,
    params: Mapping[str, BoundParameter],
    *,
    doc: bool = True,
) -> tree.Slot | tree.Part | tree.Rule:
    """A memory with the number it starts with; with its text, if that is wanted."""
    if not isinstance(statement, tree.Part) or statement.kept is None:
        return statement
    kept = statement.kept
    start = _number(start_of(kept, flat, params), kept.start.span)
    return replace(statement, kept=replace(kept, start=start, doc=kept.doc if doc else None))


def _spaced(statements: list[tree.Statement]) -> Iterator[tree.Statement]:
    """A blank line between groups: parameters, definitions, lets, slots, the rest."""
    groups = {
        tree.Param: 0,
        tree.Input: 1,
        tree.Teacher: 1,
        tree.KeyedScope: 1,
        tree.Def: 2,
        tree.Let: 3,
        tree.Slot: 4,
        tree.Part: 4,
        tree.Rule: 4,
    }
    before = -1
    for statement in statements:
        group = groups.get(type(statement), 5)
        above: tuple[str | None, ...] = (None,) if group != before else ()
        before = group
        yield replace(statement, comments=tree.Comments(above=above))


def _param(bound: BoundParameter, params: Mapping[str, BoundParameter]) -> tree.Param:
    declared = bound.declared
    value = _number(bound.value, declared.span)
    binding = tree.Binding(declared.name, value, declared.span)
    kept = declared.bind if bound.origin == "default" else None
    domain = _with_numbers(declared.domain, params) if declared.domain is not None else None
    return tree.Param((binding,), domain, kept, declared.doc, declared.span)


def _input(declared: tree.Input, params: Mapping[str, BoundParameter]) -> tree.Input:
    domain = _with_numbers(declared.domain, params) if declared.domain is not None else None
    return _bare(replace(declared, domain=domain))


def _with_numbers(domain: tree.Domain, params: Mapping[str, BoundParameter]) -> tree.Domain:
    """An interval with the values of the parameters it names."""

    def value(node: Node) -> tree.Expression | None:
        if isinstance(node, tree.Name) and node.text in params:
            return _number(params[node.text].value, node.span)
        return None

    return transform(domain, value)


def _number(value: float, span: Span) -> tree.Expression:
    literal = tree.Number(abs(value), number_text(abs(value)), span)
    return tree.Negate(literal, span) if value < 0 else literal


def _bare(statement: Statement) -> Statement:
    """A statement without its comments, numbers in their shortest text."""

    def shortest(node: Node) -> tree.Number | None:
        return replace(node, text=number_text(node.value)) if isinstance(node, tree.Number) else None

    return without_comments(transform(statement, shortest))


def flat_text(flat: Flat, params: Mapping[str, BoundParameter], read: frozenset[str]) -> str:
    """The flat objective as text."""
    return format_objective(flat_tree(flat, params, read))


def objective_hash(
    flat: Flat,
    params: Mapping[str, BoundParameter],
    read: frozenset[str],
    library: Mapping[str, tree.Def],
    version: int,
) -> str:
    """Hash of what is computed: bound values, lets, definitions (the library's too), parts; nothing else.

    `version` of the language is the one that a reader of the text must know; the first is not named.

    Name, doc, notation, source, comments, intervals, neutrals, variants and the order of declarations do not take part.
    """
    lines = [f"param {name} = {number_text(bound.value)}" for name, bound in params.items() if name in read]
    definitions = {**library, **flat.defs}
    lines += [
        _line(replace(definitions[name], doc=None, notation=None)) for name in read if name in definitions
    ]
    lines += [
        _line(replace(flat.inputs[name], doc=None, domain=None)) for name in read if name in flat.inputs
    ]
    lines += [_line(replace(flat.teachers[name], doc=None)) for name in read if name in flat.teachers]
    lines += [_line(replace(flat.scopes[name], doc=None)) for name in read if name in flat.scopes]
    lines += [_line(replace(let, neutral=None)) for name, let in flat.lets.items() if name in read]
    lines += [_line(_with_start(statement, flat, params, doc=False)) for statement in _ordered(flat)]
    lines += [f"language {version}"] if version > 1 else []
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:HASH_DIGITS]


@lru_cache(maxsize=4096)
def _line(statement: tree.Statement) -> str:
    return format_statement(_bare(statement)).strip()


def statement_text(statement: tree.Statement) -> str:
    """A statement alone in canonical text, without comments: equal for equal statements."""
    return _line(statement)
