"""What can stand at a place of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from maspo_dsl.editor.document import Document
from maspo_dsl.editor.tokens import TextNames, opens_call, pieces_of
from maspo_dsl.editor.words import Word, language_words, shipped_words
from maspo_dsl.language import tree
from maspo_dsl.language.layout import LogicalLine
from maspo_dsl.notation.plain import call_form
from maspo_dsl.semantics.edits import targets

_WRITTEN = re.compile(r"[A-Za-z_][\w.]*\Z")
_HELD = frozenset({"param", "let", "input", "teacher", "memory"})
_KEYS = ("sequence", "group", "position")


def completions(document: Document, offset: int) -> list[Word]:
    """The words that may stand at an offset, those of the spec first; none within comments and texts."""
    text = document.source.text
    line_start = text.rfind("\n", 0, offset) + 1
    if _is_quiet(text[line_start:offset]):
        return []
    start = offset - len(found.group()) if (found := _WRITTEN.search(text[:offset])) else offset
    line = _line_at(document.names, start)
    before = [p.text for p in pieces_of(text, line, start)] if line is not None else []
    if line is not None and line.is_variant and "{" in before:
        before = before[before.index("{") + 1 :]
    if line is None or not before:
        rows: Iterable[Word] = _statements(
            document, header=not document.names.layout.lines or line_start == 0
        )
    else:
        rows = _within(document, before, opens_call(pieces_of(text, line, start)))
    return list({row.text: row for row in reversed(list(rows))}.values())[::-1]


def _is_quiet(line: str) -> bool:
    """Whether a text or a comment is open at the end of a piece of a line."""
    bare = re.sub(r'"[^"]*"', "", line)
    return '"' in bare or "#" in bare


def _line_at(names: TextNames, start: int) -> LogicalLine | None:
    """The logical line that what is written at a place belongs to; None at the beginning of one."""
    line = names.layout.line_at(start)
    if line is None or line.start >= start:
        return None
    between = names.source.text[line.end : start] if line.end < start else ""
    if "\n" not in between:
        return line
    indented = not between.endswith("\n")
    return line if line.unclosed and indented else None


def _statements(document: Document, *, header: bool) -> Iterator[Word]:
    words = language_words()
    if header and not document.names.layout.lines:
        yield Word("objective", "statement")
    yield from words["part"]
    yield from (word for word in words["statement"] if word.text not in ("objective", "extends"))


def _within(document: Document, before: list[str], function: str) -> Iterator[Word]:
    words, last, first = language_words(), before[-1], before[0]
    in_stages = "|>" in before
    if last == "extends":
        yield from _bases(document)
    elif first == "objective":
        yield Word("extends", "statement")
    elif last == "bind":
        yield from words["constant"]
    elif last == "per":
        yield from words["per"]
    elif first in ("drop", "swap", "before", "after") and not in_stages:
        yield from _targets(document)
    elif first == "sweep" and len(before) == 1:
        yield from _declared(document, {"param"})
    elif first == "allow":
        yield from words["warning"] if len(before) == 1 else ()
    elif first == "input" and ":" in before:
        yield from words["axis"] if last == ":" else words["kind"]
    elif first == "scope" and "by" in before:
        yield from (Word(key, "scope") for key in _KEYS)
        yield from _declared(document, {"input"})
    elif last == "|>":
        yield from _functions(document)
    elif "=" in before or "where" in before or in_stages:
        yield from _expression(document, function)
    elif len(before) > 1 and first == "param":
        yield Word("param", "statement")


def _bases(document: Document) -> Iterator[Word]:
    if document.folder is not None:
        beside = sorted(path.stem for path in document.folder.glob("*.obj"))
        yield from (Word(name, "objective", "beside this file") for name in beside)
    yield from shipped_words()


def _targets(document: Document) -> Iterator[Word]:
    if document.flat is not None:
        for target in targets(document.flat):
            if target.family != "param":
                yield Word(target.name, target.family, f"of {target.owner}" if target.owner else "")
                yield Word(target.path, target.family)


def _declared(document: Document, sorts: Iterable[str]) -> Iterator[Word]:
    for name, all_ in document.declared.items():
        yield from (Word(name, each.sort, each.meaning) for each in all_ if each.sort in sorts)


def _functions(document: Document) -> Iterator[Word]:
    yield from (Word(name, "def", signature(d)) for name, d in document.definitions.items())
    yield from language_words()["primitive"]


def signature(definition: tree.Def) -> str:
    """How a function is called, and what it is."""
    return f"{call_form(definition)}: {definition.doc}" if definition.doc else call_form(definition)


def _expression(document: Document, function: str) -> Iterator[Word]:
    words = language_words()
    definition = document.definitions.get(function)
    if function:
        yield from words["scope"]
        yield from _declared(document, {"scope"})
    if definition is not None:
        yield from (Word(f"{p.name.text} = ", "argument", f"of {function}") for p in definition.parameters)
    yield from _declared(document, _HELD)
    for token in document.names.tokens:  # those on lines with a mistake, too
        if token.declares and token.role == "value" and token.text not in document.declared:
            yield Word(token.text, "let")
    yield from words["quantity"]
    yield Word("loss", "quantity", "the loss of each token, in `reduce`")
    yield from _functions(document)
    yield from words["word"]
