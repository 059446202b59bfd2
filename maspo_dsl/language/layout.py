"""Physical lines to logical lines, before the grammar sees anything: comments, open brackets, what goes on a line.

The text given to the grammar is as long as the source, so that an offset is the same place in both.
Comments, empty lines and the line ends inside a logical line are blanks in it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from maspo_dsl.language.keywords import CLOSING_WORDS, HEADER_WORDS, OPENING_WORDS

_PIECE = re.compile(r'"[^"\n]*"?|#[^\n]*|[()\[\]{}]')
_LINE = re.compile(r"[^\n]*\n?")
# Two words side by side, the first of them one of these, stand in no expression: a bracket was left open.
_STARTS_STATEMENT = re.compile(rf"(?:{'|'.join(OPENING_WORDS)})[ \t]+[A-Za-z_\"]")
_GOES_ON = re.compile(r'\|>|notation[ \t]*"')
_OPENS_BLOCK = re.compile(r"\s*variant\b")
_ENDS_BLOCK = re.compile(rf"(?:{'|'.join((*HEADER_WORDS, *CLOSING_WORDS))})[ \t]+[A-Za-z_\"]")
_CLOSING = ")]}"


@dataclass(frozen=True)
class Comment:
    """A comment: its place, its words without `#`, and whether it stands on a line of its own."""

    start: int
    text: str
    alone: bool
    blank_before: bool


@dataclass
class LogicalLine:
    """One statement, or the head, an edit or the end of a `variant` block, as offsets into the source."""

    start: int
    end: int
    indented: bool
    is_variant: bool
    unclosed: list[int] = field(default_factory=list)
    opens_block: int | None = None
    in_block: bool = False
    closes_block: bool = False


@dataclass(frozen=True)
class Layout:
    """What the grammar reads (`text`) and what it must not see (`comments`), with the logical lines.

    `too_deep` are the first brackets of lines beyond the limit, `unclosed_blocks` are the `{` of variants
    that nothing closes; `blank_before` holds the starts of the lines that follow a blank one.
    """

    text: str
    lines: tuple[LogicalLine, ...]
    comments: tuple[Comment, ...]
    too_deep: tuple[int, ...]
    unclosed_blocks: tuple[int, ...]
    blank_before: frozenset[int]

    def line_at(self, offset: int) -> LogicalLine | None:
        """The logical line that an offset belongs to: the last one that starts before it."""
        after = bisect_right(self.lines, offset, key=lambda line: line.start)
        return self.lines[max(after - 1, 0)] if self.lines else None


@dataclass
class _Scanner:
    """Walks over the physical lines once and keeps the brackets that are open."""

    limit: int
    open: list[tuple[str, int]] = field(default_factory=list)
    block: int | None = None
    lines: list[LogicalLine] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    too_deep: list[int] = field(default_factory=list)
    unclosed_blocks: list[int] = field(default_factory=list)
    blank_before: set[int] = field(default_factory=set)

    def continues(self, content: str) -> bool:
        """Whether a physical line belongs to the logical line before it."""
        stripped = content.lstrip(" \t")
        if not self.lines:
            return False
        if _GOES_ON.match(stripped) or (stripped.startswith("{") and self.block is None):
            return True
        if not self.open or _STARTS_STATEMENT.match(stripped):
            return False
        return stripped != content or stripped[0] in _CLOSING

    def begin(self, offset: int, content: str) -> None:
        """Open a logical line at its first character."""
        indent = len(content) - len(content.lstrip(" \t"))
        self.open.clear()
        if _ENDS_BLOCK.match(content):
            self.end_unclosed_block()
        line = LogicalLine(offset + indent, offset, indent > 0, bool(_OPENS_BLOCK.match(content)))
        line.in_block = self.block is not None
        self.lines.append(line)

    def end_unclosed_block(self) -> None:
        """No edit stands here, so the block before was left open."""
        if self.block is not None:
            self.unclosed_blocks.append(self.block)
            self.block = None

    def read(self, offset: int, content: str, alone: bool, blank_before: bool) -> str:
        """Take in the brackets and the comment of one physical line; the line without its comment."""
        for piece in _PIECE.finditer(content):
            place = offset + piece.start()
            first = piece.group()[0]
            if first == "#":
                self.comments.append(Comment(place, piece.group()[1:].strip(), alone, blank_before))
                return content[: piece.start()].rstrip()
            if first in "([{":
                self.open_bracket(first, place)
            elif first in _CLOSING:
                self.close_bracket(first)
        return content

    def open_bracket(self, bracket: str, place: int) -> None:
        line = self.lines[-1]
        if bracket == "{" and not self.open and self.block is None and line.is_variant:
            self.block = line.opens_block = place
            return
        self.open.append((bracket, place))
        if len(self.open) > self.limit and (not self.too_deep or self.too_deep[-1] < line.start):
            self.too_deep.append(place)

    def close_bracket(self, bracket: str) -> None:
        """Forget the bracket that this one closes; `[0, 1)` is an interval, so `)` closes `[` too."""
        if bracket in ")]":
            if self.open and self.open[-1][0] in "([":
                self.open.pop()
        elif any(opened == "{" for opened, _ in self.open):
            while self.open.pop()[0] != "{":
                pass
        elif self.block is not None:
            self.block = None
            self.lines[-1].closes_block = True


def _physical_lines(text: str) -> Iterator[tuple[int, str]]:
    for match in _LINE.finditer(text):
        if match.group():
            yield match.start(), match.group()


def read_layout(text: str, bracket_limit: int) -> Layout:
    """Find the logical lines of a text; at most `bracket_limit` brackets may be open at once."""
    scanner = _Scanner(bracket_limit)
    pieces: list[str] = []
    pending = 0  # where in `pieces` the end of the current logical line stands
    blank = False
    for offset, physical in _physical_lines(text):
        content = physical.rstrip("\n").replace("\r", " ").replace("\ufeff", " " if offset == 0 else "\ufeff")
        bare = content.strip(" \t")
        if not bare or bare.startswith("#"):
            if bare:
                scanner.read(offset, content, alone=True, blank_before=blank)
            blank = not bare
            pieces.append(" " * len(physical))
            continue
        if not scanner.continues(content):
            if scanner.lines:
                pieces[pending] = pieces[pending][:-1] + "\n"
            scanner.begin(offset, content)
            if blank:
                scanner.blank_before.add(scanner.lines[-1].start)
        kept = scanner.read(offset, content, alone=False, blank_before=False)
        line = scanner.lines[-1]
        line.end = offset + len(kept.rstrip())
        line.unclosed = [place for _, place in scanner.open]
        pieces.append(kept.ljust(len(physical)))
        pending = len(pieces) - 1
        blank = False
    scanner.end_unclosed_block()
    return Layout(
        "".join(pieces) + ("\n" if scanner.lines else ""),
        tuple(scanner.lines),
        tuple(scanner.comments),
        tuple(scanner.too_deep),
        tuple(scanner.unclosed_blocks),
        frozenset(scanner.blank_before),
    )
