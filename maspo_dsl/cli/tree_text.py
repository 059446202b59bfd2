"""A syntax tree as indented text: one node a line, its plain values beside it, its parts below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span

_SKIPPED = frozenset({"span", "comments", "closing", "text"})


def tree_lines(node: object, label: str = "", depth: int = 0) -> Iterator[str]:
    """The lines of a node and of everything below it; comments and places are left out."""
    plain, nested = _split(node)
    start = f"{label}: " if label else ""
    yield "  " * depth + " ".join([f"{start}{type(node).__name__}", *plain])
    for name, child in nested:
        yield from tree_lines(child, name, depth + 1)


def _split(node: object) -> tuple[list[str], list[tuple[str, object]]]:
    """What stands on the node's own line, and the nodes below with the fields that hold them."""
    plain: list[str] = []
    nested: list[tuple[str, object]] = []
    for field in fields(node):  # type: ignore[arg-type]
        value = getattr(node, field.name)
        if field.name in _SKIPPED and not isinstance(node, tree.Identifier):
            continue
        items = value if isinstance(value, tuple) else (value,)
        words = [word for item in items if (word := _word(item)) is not None]
        below = [
            item for item in items if _word(item) is None and item not in (None, ()) and not _is_span(item)
        ]
        if words:
            plain.append(_shown(field.name, words, is_list=isinstance(value, tuple)))
        nested += [("" if isinstance(value, tuple) else field.name, item) for item in below]
    return plain, nested


def _is_span(item: object) -> bool:
    return isinstance(item, Span)


def _word(item: object) -> str | None:
    """A value that needs no line of its own."""
    match item:
        case bool():
            return str(item).lower()
        case str() | float() | int():
            return repr(item) if isinstance(item, str) and " " in item else str(item)
        case tree.Identifier(text=text):
            return text
        case tree.Name():
            return item.text
        case tree.Number(text=text):
            return text
        case _:
            return None


def _shown(name: str, words: list[str], *, is_list: bool) -> str:
    if name in ("name", "slot", "operator", "function", "path", "value", "side", "target") and not is_list:
        return words[0]
    return f"{name}={','.join(words)}"
