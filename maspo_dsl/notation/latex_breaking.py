r"""Lines of LaTeX that fit a column: long formulas broken at operators, cases below each other.

Widths are estimates in em of the letters as TeX sets them, a little on the wide side; the tests hold them to what a
browser measures. Brackets that a break parts are closed with `\right.` and opened with `\left.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

COLUMN = 22.2
"""Em of a line: a column of 80 mm in letters of 10 points."""
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_ARGUMENTS = {"\\frac": 2, "\\sqrt": 1, "\\underset": 2, "\\overset": 2}
_TEXTS = ("\\text", "\\mathrm", "\\mathit", "\\mathcal", "\\mathbf", "\\mathbb", "\\operatorname", "\\textit")
_RELATIONS = ("<", ">", "=", "\\le", "\\ge", "\\ne", "\\in", "\\approx", "\\leq", "\\geq")
_WIDE = {
    "\\sum": 1.5,
    "\\prod": 1.4,
    "\\quad": 1.0,
    "\\qquad": 2.0,
    "\\cdot": 0.75,
    "\\,": 0.17,
    "\\infty": 1.0,
    "\\ldots": 1.2,
}
_NARROW = {
    ",": 0.5,
    "|": 0.3,
    "(": 0.45,
    ")": 0.45,
    "[": 0.35,
    "]": 0.35,
    ".": 0.28,
    "'": 0.3,
    " ": 0.0,
    "\\{": 0.5,
    "\\}": 0.5,
}
_NAMED = (
    "\\log",
    "\\exp",
    "\\min",
    "\\max",
    "\\tanh",
    "\\arctan",
    "\\ln",
    "\\sup",
    "\\inf",
    "\\arg",
    "\\sin",
    "\\cos",
)
_JOINING = ("and", "or", "then", "with", "else")
_SMALL = 0.7
_INDENT, _BRACE, _GAP = 1.0, 1.2, 1.1
_BRACKET = 0.6
_NARROWEST = 4.0
"""Nothing is broken to be narrower."""
_LEAST = 2.0
"""A line that is not longer goes on: it has no more than an indent and a sign."""
# Ways to break, the loosest first: between what is joined by words, compared, added, listed, multiplied.
_LEVELS = 5


@dataclass(frozen=True)
class Solid:
    """A piece of a formula as it is written, that is not broken; `level` is how loosely it joins what is around it."""

    text: str
    width: float
    level: int = -1
    after: bool = False
    """Whether a line ends behind it; before it otherwise."""


@dataclass(frozen=True)
class Fence:
    """What stands between two brackets that grow."""

    left: str
    inner: tuple[Item, ...]
    right: str


@dataclass(frozen=True)
class Fraction:
    """A numerator over a denominator."""

    above: tuple[Item, ...]
    below: tuple[Item, ...]


@dataclass(frozen=True)
class Cases:
    """Values with their conditions."""

    rows: tuple[tuple[tuple[Item, ...], ...], ...]


Item: TypeAlias = "Solid | Fence | Fraction | Cases"
Items: TypeAlias = "Sequence[Item]"


def broken(text: str, first: float = COLUMN, rest: float | None = None) -> list[str]:
    """A formula as lines of at most so many em, the first and those that go on; as narrow as can be where it cannot."""
    return _lines(_FormulaReader(text).items(), first, first if rest is None else rest)


def width_of(text: str) -> float:
    """About how many em a formula is wide."""
    return _width(_FormulaReader(text).items())


# ---- reading


class _FormulaReader:
    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0

    @cached_property
    def count(self) -> int:
        return len(self.tokens)

    def items(self, ends: tuple[str, ...] = ()) -> tuple[Item, ...]:
        found: list[Item] = []
        while self.at < self.count and self.tokens[self.at] not in ends:
            found.append(self._item(starts=not _there(found)))
        return tuple(found)

    def _item(self, *, starts: bool) -> Item:
        token = self.tokens[self.at]
        self.at += 1
        if token == "\\left":
            return self._fence()
        if token == "\\begin":
            return self._environment()
        if token == "\\frac":
            above, below = self._group(), self._group()
            return Fraction(_FormulaReader(above[1:-1]).items(), _FormulaReader(below[1:-1]).items())
        if token in ("^", "_"):
            group = self._group()
            return Solid(token + group, _SMALL * width_of(_inside(group)))
        if token == "{":
            self.at -= 1
            group = self._group()
            return Solid(group, width_of(group[1:-1]))
        if token in _ARGUMENTS or token in _TEXTS or (token[0] == "\\" and self._next() == "{"):
            return self._command(token)
        return _operator(token, starts)

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < self.count else ""

    def _group(self) -> str:
        """The next argument with its braces, or one token."""
        depth, begin = 0, self.at
        while self.at < self.count:
            depth += {"{": 1, "}": -1}.get(self.tokens[self.at], 0)
            self.at += 1
            if depth <= 0:
                break
        return "".join(self.tokens[begin : self.at])

    def _command(self, name: str) -> Item:
        groups: list[str] = []
        while self._next() == "{" and len(groups) < _ARGUMENTS.get(name, 1 if name in _TEXTS else 9):
            groups.append(self._group())
        text = name + "".join(groups)
        if name in _TEXTS:
            words = groups[0][1:-1].replace("\\_", "_") if groups else ""
            level = 0 if words.strip(" ,") in _JOINING else -1
            return Solid(text, sum(0.32 if letter == " " else 0.52 for letter in words), level)
        widths = [width_of(group[1:-1]) for group in groups]
        if name in ("\\underset", "\\overset") and len(widths) == 2:
            return Solid(text, max(_SMALL * widths[0], widths[1]))
        return Solid(text, sum(widths) + (0.9 if name == "\\sqrt" else 0.5))

    def _fence(self) -> Item:
        left = self._delimiter()
        inner = self.items(("\\right",))
        self.at += 1
        return Fence(left, inner, self._delimiter())

    def _delimiter(self) -> str:
        token = self._next()
        self.at += 1
        return token

    def _environment(self) -> Item:
        name = self._group()
        rows: list[list[tuple[Item, ...]]] = [[]]
        while self.at < self.count:
            rows[-1].append(self.items(("&", "\\\\", "\\end")))
            token = self._next()
            self.at += 1
            if token == "\\\\":
                rows.append([])
            elif token == "\\end":
                self._group()
                break
        whole = tuple(map(tuple, rows))
        if name == "{cases}":
            return Cases(whole)
        text = r" \\ ".join(" & ".join(_text(cell).strip() for cell in row) for row in whole)
        width = max(sum(map(_width, row)) for row in whole) + _BRACE
        return Solid(f"\\begin{name} {text} \\end{name}", width)


def _operator(token: str, starts: bool) -> Solid:
    if token in _RELATIONS:
        return Solid(token, 1.35, 1)
    if token in "+-":
        return Solid(token, 0.8) if starts else Solid(token, 1.25, 2)
    if token == "\\cdot":
        return Solid(token, _WIDE[token], 4, after=True)
    if token == ",":
        return Solid(token, _NARROW[token], 3, after=True)
    if token in _NAMED:
        return Solid(token, 0.52 * (len(token) - 1) + 0.2)
    if token.isspace():
        return Solid(token, 0.0)
    return Solid(token, _WIDE.get(token, _NARROW.get(token, 0.6)))


def _inside(group: str) -> str:
    return group[1:-1] if group.startswith("{") else group


def _there(items: Items) -> bool:
    """Whether something stands before, so that a sign is between two terms."""
    solid = [item for item in items if not (isinstance(item, Solid) and item.text.isspace())]
    return bool(solid) and not (isinstance(solid[-1], Solid) and solid[-1].level >= 0)


# ---- writing and measuring


def _text(items: Items) -> str:
    return "".join(map(_written, items))


def _written(item: Item) -> str:
    match item:
        case Solid():
            return item.text
        case Fence():
            # A command must not run into the letters behind it.
            inner = _text(item.inner)
            return f"\\left{item.left}{_apart(item.left, inner)}{inner}\\right{item.right}"
        case Fraction():
            return f"\\frac{{{_text(item.above)}}}{{{_text(item.below)}}}"
        case Cases():
            rows = r" \\ ".join("&".join(map(_text, row)).strip() for row in item.rows)
            return f"\\begin{{cases}} {rows} \\end{{cases}}"


def _apart(command: str, text: str) -> str:
    return " " if command[0] == "\\" and command[-1].isalpha() and text[:1].isalpha() else ""


def _width(items: Items) -> float:
    return sum(map(_item_width, items))


def _item_width(item: Item) -> float:
    match item:
        case Solid():
            return item.width
        case Fence():
            return _width(item.inner) + sum(_BRACKET for side in (item.left, item.right) if side != ".")
        case Fraction():
            return max(_width(item.above), _width(item.below)) + 0.3
        case Cases():
            columns = max(len(row) for row in item.rows)
            widths = [
                max((_width(row[place]) for row in item.rows if len(row) > place), default=0.0)
                for place in range(columns)
            ]
            return sum(widths) + _GAP * (columns - 1) + _BRACE


# ---- breaking


def _lines(items: Items, first: float, rest: float) -> list[str]:
    """The fewest levels are broken: what is joined more tightly stays together as long as it fits."""
    if _width(items) <= first:
        return [_text(items).strip()]
    for level in range(_LEVELS):
        pieces = _pieces(items, level)
        if len(pieces) > 1:
            return _filled(pieces, first, rest)
    return _inner_lines(items, first, rest)


def _pieces(items: Items, level: int) -> list[list[Item]]:
    """Items between the breaks of a level."""
    pieces: list[list[Item]] = [[]]
    for item in items:
        ends = starts = False
        if isinstance(item, Solid) and item.level == level:
            ends, starts = item.after, not item.after
        if starts and any(_text([each]).strip() for each in pieces[-1]):
            pieces.append([])
        pieces[-1].append(item)
        if ends:
            pieces.append([])
    return [piece for piece in pieces if _text(piece).strip()]


def _filled(pieces: Sequence[Items], first: float, rest: float) -> list[str]:
    """Pieces one behind the other, a new line where the next does not fit; one that fits nowhere is broken itself."""
    lines: list[str] = []
    line: list[Item] = []
    for piece in pieces:
        limit = rest if lines else first
        if _width(line) > _LEAST and _width(line) + _width(piece) > limit:
            lines.append(_text(line).strip())
            line, limit = [], rest
        if _width(line) + _width(piece) > limit:
            start, *more = _lines(piece, limit - _width(line), rest)
            *whole, last = [f"{_text(line).rstrip()} {start}".strip(), *more]
            lines += whole
            line = [Solid(last, width_of(last))]
        else:
            line += piece
    return [*lines, _text(line).strip()]


def _inner_lines(items: Items, first: float, rest: float) -> list[str]:
    """Items without a place to break between them: the widest that can be is broken inside."""
    place = max(
        range(len(items)), key=lambda place: (not isinstance(items[place], Solid), _item_width(items[place]))
    )
    before, item, after = items[:place], items[place], items[place + 1 :]
    room = first - _width(before) - _width(after)
    match item:
        case Cases():
            return [_text([*before, _narrow(item, max(room, _NARROWEST)), *after]).strip()]
        case Fraction():
            above, below = (_bracketed(each) for each in (item.above, item.below))
            return _lines([*before, *above, Solid(" / ", 0.6, 4, after=True), *below, *after], first, rest)
        case Fence():
            return _parted(before, item, after, first, rest)
    return [_text(items).strip()]


def _parted(before: Items, item: Fence, after: Items, first: float, rest: float) -> list[str]:
    """Brackets over several lines; what would not fit behind the opening one begins below it."""
    start = first - _width(before) - _BRACKET
    below = max(rest - _INDENT - _width(after) - 2 * _BRACKET, _NARROWEST)
    lines = _lines(item.inner, max(start - _width(after) - _BRACKET, _NARROWEST), below)
    if width_of(lines[0]) > start and _width(before) > _LEAST and start < below:
        lines = ["", *_lines(item.inner, below, below)]
    if len(lines) == 1:
        return [
            _text([*before, Fence(item.left, _FormulaReader(lines[0]).items(), item.right), *after]).strip()
        ]
    opening = f"{_text(before)}\\left{item.left}{_apart(item.left, lines[0])}{lines[0]}\\right."
    middle = [f"\\quad \\left.{each}\\right." for each in lines[1:-1]]
    closing = f"\\quad \\left.{lines[-1]}\\right{item.right}{_text(after)}"
    return [opening.strip(), *middle, closing.strip()]


def _bracketed(items: Items) -> Items:
    joined = any(isinstance(item, Solid) and item.level >= 0 for item in items)
    return [Fence("(", tuple(items), ")")] if joined else items


def _narrow(cases: Cases, room: float) -> Solid:
    """Cases in a room: conditions in lines beside the values, else below them."""
    room -= _BRACE
    values = max(_width(row[0]) for row in cases.rows)
    beside = [
        [
            f"{_text(row[0]).strip()} & {line}" if not place else f"& {line}"
            for place, line in enumerate(_conditions(row, room - values - _GAP))
        ]
        for row in cases.rows
    ]
    widest = max(width_of(line) for row in cases.rows for line in _conditions(row, room - values - _GAP))
    rows = beside if values + _GAP + widest <= room else [list(_below(row, room)) for row in cases.rows]
    text = r" \\ ".join(line for row in rows for line in row)
    return Solid(f"\\begin{{cases}} {text} \\end{{cases}}", room + _BRACE)


def _conditions(row: Sequence[Items], room: float) -> list[str]:
    return _lines(row[1], room, room) if len(row) > 1 else [""]


def _below(row: Sequence[Items], room: float) -> Iterator[str]:
    """A value in lines, and its condition in lines below it; a short one beside it."""
    value = _lines(row[0], room, room - _INDENT)
    condition = _lines(row[1], room - _INDENT, room - _INDENT) if len(row) > 1 else []
    if len(condition) == 1 and width_of(value[-1]) + _INDENT + width_of(condition[0]) <= room - _INDENT * (
        len(value) > 1
    ):
        value[-1] += rf" \quad {condition[0]}"
        condition = []
    yield value[0]
    yield from (rf"\quad {line}" for line in [*value[1:], *condition])
