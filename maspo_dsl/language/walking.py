"""Walks over trees, written once: what stands below a node, and a tree with some of its nodes replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

from maspo_dsl.language.tree import (
    Argument,
    Binding,
    Call,
    Comments,
    DefParameter,
    Domain,
    Expression,
    Header,
    Identifier,
    Kept,
    LibraryTree,
    ObjectiveTree,
    Stage,
    Statement,
)

Node: TypeAlias = (
    Expression
    | Argument
    | Stage
    | Identifier
    | Binding
    | Domain
    | DefParameter
    | Kept
    | Statement
    | Header
    | ObjectiveTree
    | LibraryTree
)
Tree = TypeVar("Tree", bound=Node)
Rule: TypeAlias = Callable[[Node], Node | None]

# The function of a call is no value of its own: what replaces names must not rename it.
_NO_CHILDREN = frozenset({"span", "comments", "closing", "function"})


@cache
def _fields_of(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.name not in _NO_CHILDREN)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node, in the order of its fields; neither comments nor the name of a function."""
    for name in _fields_of(cast(Any, type(node))):
        value = getattr(node, name)
        for item in value if isinstance(value, tuple) else (value,):
            if is_dataclass(item):
                yield item  # type: ignore[misc]  # no other dataclass stands in these fields


def descendants(node: Node) -> Iterator[Node]:
    """A node and everything below it, a node before what is below it."""
    yield node
    for child in children(node):
        yield from descendants(child)


def transform(node: Tree, rule: Rule) -> Tree:
    """The tree in which what `rule` gives for a node stands in its place; None goes on below the node.

    What the rule gave is taken as it is. Spans and comments stay, and a tree without a change is the same object. The
    rule must give what may stand in the node's place: an expression for an expression, a stage for a stage.
    """
    return _transformed(node, rule)  # type: ignore[return-value]


def _transformed(node: Node, rule: Rule) -> Node:
    if (given := rule(node)) is not None:
        return given
    changes: dict[str, Any] = {}
    for name in _fields_of(cast(Any, type(node))):
        before = getattr(node, name)
        after = _in_field(before, rule)
        if after is not before:
            changes[name] = after
    return replace(node, **changes) if changes else node


def _in_field(value: object, rule: Rule) -> object:
    if isinstance(value, tuple):
        items = tuple(_in_field(item, rule) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return _transformed(value, rule) if is_dataclass(value) else value  # type: ignore[arg-type]


def names_in(node: Node) -> set[str]:
    """Every word of a name below a node, declared, read or called."""
    found: set[str] = set()
    for below in descendants(node):
        match below:
            case Identifier(text=text):
                found.add(text)
            case Call(function=function) | Stage(function=function):
                found.update(function.path)
            case _:
                found.update(getattr(below, "path", ()))
    return found


def without_comments(node: Tree) -> Tree:
    """The same tree without any comment."""

    def rule(below: Node) -> Node | None:
        written = {name for name in ("comments", "closing") if getattr(below, name, Comments()) != Comments()}
        return transform(replace(below, **dict.fromkeys(written, Comments())), rule) if written else None  # type: ignore[arg-type]

    return transform(node, rule)
