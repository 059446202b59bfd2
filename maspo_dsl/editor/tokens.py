"""The names of a text, each with what it is there for. Read from the lines, so that broken text has names too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile

from maspo_dsl.language.building import EXPRESSION_DEPTH
from maspo_dsl.language.keywords import RESERVED_WORDS, SCOPE, TEACHER
from maspo_dsl.language.layout import Layout, LogicalLine, read_layout
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.part_words import NAMED

_PIECE = re.compile(r'"[^"\n]*"?|(?P<name>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)|(?P<sign>\|>|[=<>!]=|\.\.|\S)')
_DECLARING = {"let", "input", "def", "sweep", TEACHER, SCOPE}
_TARGETING = {"drop", "swap", "before", "after"}
_PARTS = {word for word, row in NAMED.items() if not row.kept}
_KEPT = {word for word, row in NAMED.items() if row.kept}


@dataclass(frozen=True)
class Token:
    """A name in a text.

    `role` is `value` (what expressions read and call), `part`, `stage` (an alias), `target` (of an edit), `argument`
    (the name of one, in a call or a `def`), `variant`, `objective`, or `word` of the language. `owner` is the function
    of an argument, and the function in which a name is an argument of its own; `path` is what stands before its dot.
    """

    text: str
    start: int
    role: str
    line: LogicalLine
    declares: bool = False
    owner: str = ""
    path: str = ""

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class _Piece:
    text: str
    start: int
    is_name: bool
    depth: int


@dataclass(frozen=True)
class TextNames:
    """The names of one text."""

    source: Source

    @cached_property
    def layout(self) -> Layout:
        """Its logical lines and comments."""
        return read_layout(self.source.text, EXPRESSION_DEPTH)

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """All names, in the order of the text."""
        return tuple(token for line in self.layout.lines for token in _of_line(self.layout.text, line))

    def at(self, offset: int) -> Token | None:
        """The name that an offset is in, or at the end of."""
        return next((token for token in self.tokens if token.start <= offset <= token.end), None)


def pieces_of(text: str, line: LogicalLine, end: int | None = None) -> list[_Piece]:
    """TextNames, numbers and signs of a logical line, up to an offset; texts are left out."""
    found, depth = [], 0
    for match in _PIECE.finditer(text, line.start, line.end if end is None else end):
        if match.lastgroup is None:
            continue
        word = match.group()
        depth -= word in (")", "]", "}")
        found.append(_Piece(word, match.start(), match.lastgroup == "name", depth))
        depth += word in ("(", "[", "{")
    return found


def opens_call(pieces: list[_Piece]) -> str:
    """The function of the innermost call that is open behind some pieces; empty where none is."""
    depth = 0
    for index in range(len(pieces) - 1, -1, -1):
        depth += (pieces[index].text in (")", "]")) - (pieces[index].text in ("(", "["))
        if depth < 0:
            before = pieces[index - 1] if index else None
            return before.text if before is not None and before.is_name else ""
    return ""


def _of_line(text: str, line: LogicalLine) -> Iterator[Token]:
    pieces = pieces_of(text, line)
    if line.is_variant and len(pieces) > 2:  # `variant NAME { edit`, on one line
        yield Token(pieces[0].text, pieces[0].start, "word", line)
        yield Token(pieces[1].text, pieces[1].start, "variant", line, declares=True)
        pieces = [piece for piece in pieces[2:] if piece.text not in "{}"]
    yield from _of_statement(pieces, line)


def _of_statement(pieces: list[_Piece], line: LogicalLine) -> Iterator[Token]:
    first = pieces[0].text if pieces else ""
    own = _parameters(pieces) if first == "def" else frozenset[str]()
    function = pieces[1].text if first == "def" and len(pieces) > 1 else ""
    for index, piece in enumerate(pieces):
        if piece.is_name:
            role, declares, owner = _role(pieces, index, first)
            if role == "value" and piece.text in own and index != 1:
                role, owner = "argument", function
            path = pieces[index - 2].text if index > 1 and pieces[index - 1].text == "." else ""
            yield Token(piece.text, piece.start, role, line, declares, owner, path)


def _role(pieces: list[_Piece], index: int, first: str) -> tuple[str, bool, str]:
    """What the name at an index is there for, whether it is declared there, and of which function it is an argument."""
    piece = pieces[index]
    before = pieces[index - 1].text if index else ""
    after = pieces[index + 1].text if index + 1 < len(pieces) else ""
    if index == 0 and (after not in ("=",) or piece.text in RESERVED_WORDS):
        return "word", False, ""
    if index == 0 or piece.text in RESERVED_WORDS:
        return "word", False, ""
    if first == "objective":
        return "objective", index == 1, ""
    if first in _TARGETING and "|>" not in [p.text for p in pieces[:index]]:
        return "target", False, ""
    if index == 1 and first in _PARTS:
        return "part", True, ""
    if index == 1 and (first in _DECLARING or first in _KEPT):
        return "value", first != "sweep", ""
    if first == "variant":
        return "variant", True, ""
    if before == "as":
        return "stage", True, ""
    if before in ("bind", "per") or first == "allow" or (first == "input" and _behind_colon(pieces, index)):
        return "word", False, ""
    if first == "param" and piece.depth == 0 and before in ("param", ",") and after == "=":
        return "value", True, ""
    if piece.depth > 0 and after == "=" and before in ("(", ","):
        return "argument", False, opens_call(pieces[:index])
    return "value", False, ""


def _behind_colon(pieces: list[_Piece], index: int) -> bool:
    return ":" in [piece.text for piece in pieces[max(index - 2, 0) : index]]


def _parameters(pieces: list[_Piece]) -> frozenset[str]:
    """The names of the parameters of a `def`."""
    inside = list(takewhile(lambda piece: piece.depth > 0 or piece.text == "(", pieces[2:]))
    return frozenset(
        piece.text
        for before, piece in pairwise(inside)
        if piece.is_name and piece.depth == 1 and before.text in ("(", ",")
    )
