"""From the parser's complaint to a diagnostic: what stands there, what may, what was probably meant."""

from __future__ import annotations

import re

from lark import Lark, UnexpectedInput, UnexpectedToken

from maspo_dsl.language.diagnostics import Diagnostic, nearest
from maspo_dsl.language.hints import ErrorSite, find_hint
from maspo_dsl.language.layout import Layout, LogicalLine
from maspo_dsl.language.source import Source, Span

# A group is named when all of its key terminals may follow; its other members then go unmentioned.
_EDITS = ("PARAM", "LET", "DEF", "INPUT", "DROP", "SWAP", "SIDE", "NAME")
_STATEMENTS = (*_EDITS, "VARIANT", "ALLOW", "SOURCE", "DIFFERS")
_GROUPS: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("a statement", frozenset({"PARAM", "SWEEP"}), frozenset(_STATEMENTS)),
    ("an edit", frozenset({"PARAM", "DROP"}), frozenset(_EDITS)),
    ("an expression", frozenset({"NUMBER", "LPAR"}), frozenset({"NAME", "STRING", "MINUS", "NOT", "LEAST"})),
)
_OPERATORS = frozenset({"SIGN", "TIMES", "POWER", "COMPARISON", "AND", "OR"})
_WITH_OPERATORS = _OPERATORS | {"IF", "PIPE", "LPAR", "DOT"}
_PLAIN = {
    "NAME": "a name",
    "STRING": 'a text in "…"',
    "CODE": "the code of a warning",
    "_NL": "end of line",
    "$END": "end of file",
    "SIDE": "`before`",
}
# What follows the word and the name of a part; a teacher, which ends there, is hardly what was meant.
_AFTER_TWO_NAMES = frozenset({"EQUAL", "WHERE"})
_SHOWN = 6
_LONG_OPERATOR = re.compile(r"\|>|\.\.|[<>=!]=")


def explain(error: UnexpectedInput, source: Source, layout: Layout, grammar: Lark) -> Diagnostic:
    """One syntax error."""
    offset = min(error.pos_in_stream or 0, len(source.text))
    line = layout.line_at(offset)
    if line is None:
        return Diagnostic(
            "empty-file", "the file holds no statement", Span(source, 0, 0), "start with: objective NAME"
        )
    accepts = frozenset(error.accepts or ()) if isinstance(error, UnexpectedToken) else frozenset[str]()
    if offset >= line.end:
        return _unexpected_end(source, line, accepts, grammar)
    header = missing_header(source, line) if accepts == {"OBJECTIVE"} else None
    if header is not None:
        return header
    if source.text[offset] == '"' and source.text.find('"', offset + 1, _line_end(source, offset)) < 0:
        place = Span(source, offset, _line_end(source, offset))
        return Diagnostic("unclosed-text", "this text is not closed on its line", place, 'end it with "')
    return _unexpected_text(error, source, line, offset, accepts, grammar)


def _unexpected_text(
    error: UnexpectedInput,
    source: Source,
    line: LogicalLine,
    offset: int,
    accepts: frozenset[str],
    grammar: Lark,
) -> Diagnostic:
    hint = find_hint(_site(source, line, offset, accepts))
    operator = _LONG_OPERATOR.match(source.text, offset)
    word = operator.group() if operator else str(getattr(error, "token", source.text[offset]))
    start = offset - (hint.back if hint else 0)
    end = offset + max(len(word), hint.length if hint else 0)
    shown = source.text[start:end]
    shown = (
        f"`{shown}`" if shown.isprintable() and not shown.isspace() else f"character U+{ord(shown[0]):04X}"
    )
    return Diagnostic(
        "syntax",
        f"unexpected {shown}{_expected(accepts, source, offset, grammar)}",
        Span(source, start, end),
        hint.text if hint else "",
        related=_opened(source, line, offset, accepts),
    )


def _unexpected_end(source: Source, line: LogicalLine, accepts: frozenset[str], grammar: Lark) -> Diagnostic:
    """The place is the end of the text of the line, before any comment."""
    last = not source.text[line.end :].strip()
    hint = find_hint(_site(source, line, line.end, accepts))
    return Diagnostic(
        "syntax",
        f"unexpected end of {'file' if last else 'line'}{_expected(accepts, source, line.end, grammar)}",
        Span(source, line.end, line.end),
        hint.text if hint else "",
        related=_opened(source, line, line.end, accepts),
    )


def missing_header(source: Source, line: LogicalLine) -> Diagnostic | None:
    """The complaint about a first line that is not `objective NAME`."""
    words = source.text[line.start : line.end].split(maxsplit=1)
    if words[0] == "objective":
        return None
    place = Span(source, line.start, line.start + len(words[0]))
    if nearest(words[0], ["objective"]):
        hint = "did you mean `objective`?"
    elif words[0] == "def":
        hint = "this looks like a library of `def` lines"
    else:
        hint = "start with: objective NAME"
    return Diagnostic("no-objective", "a file starts with `objective NAME`", place, hint)


def _site(source: Source, line: LogicalLine, offset: int, accepts: frozenset[str]) -> ErrorSite:
    return ErrorSite(
        source.text[line.start : offset], source.text[offset : _line_end(source, offset)], accepts
    )


def _line_end(source: Source, offset: int) -> int:
    end = source.text.find("\n", offset)
    return len(source.text.rstrip("\r\n")) if end < 0 else end


def _opened(
    source: Source, line: LogicalLine, offset: int, accepts: frozenset[str]
) -> tuple[tuple[Span, str], ...]:
    """The bracket that waits for its partner, if a closing bracket would fit here."""
    if not accepts & {"RPAR", "RSQB", "RBRACE"}:
        return ()
    waiting = [place for place in line.unclosed if place < offset]
    return ((Span(source, waiting[-1], waiting[-1] + 1), "opened here"),) if waiting else ()


def _expected(accepts: frozenset[str], source: Source, offset: int, grammar: Lark) -> str:
    """`; expected …`, with groups of terminals named as one."""
    if accepts == {"NAME"} and source.text[:offset].rstrip().endswith("|>"):
        return "; expected a stage"
    before = source.text[source.text.rfind("\n", 0, offset) + 1 : offset]
    # What goes on behind the value of a memory, for the grammar goes on behind that of any part.
    kept = re.search(r"\bmemory[ \t]", before) is not None
    rest, words = set(accepts) - (set() if kept else {"START"}), []
    if rest >= _AFTER_TWO_NAMES:
        rest = set(_AFTER_TWO_NAMES)
    for name, keys, members in _GROUPS:
        if keys <= rest:
            words.append(name)
            rest -= keys | members
    operator = bool(rest & _OPERATORS)
    rest -= _WITH_OPERATORS if operator else frozenset()
    rest -= {"EQUAL"} if "RPAR" in rest else frozenset()
    single = sorted(_terminal(t, grammar) for t in rest if t != "_NL")
    words += [*single, "an operator"] if operator else single
    if "_NL" in rest:
        words.append(_PLAIN["_NL"])
    if len(words) > _SHOWN:
        words = [*words[:_SHOWN], "…"]
    return f"; expected {_listed(words)}" if words else ""


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _terminal(name: str, grammar: Lark) -> str:
    """How a terminal is written in a message."""
    return _PLAIN.get(name) or f"`{grammar.get_terminal(name).pattern.value}`"
