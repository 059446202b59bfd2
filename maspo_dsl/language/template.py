r"""The notation of a `def`: LaTeX in which `$x` stands for a parameter, read once and checked where it is written.

`$x` or `${x}` is the parameter's value, `${x before center}` what `center` was given where the value is a call of it,
`$[ … ]` is left out where its parameters have their defaults. Brackets follow from what stands beside a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import TypeAlias

from maspo_dsl.language.printing import ARITHMETIC, Precedence

_TOKEN = re.compile(
    r"\$\[|\$\{[^{}]*\}|\$[A-Za-z_]\w*"
    r"|\\(?:left|right)(?![A-Za-z])\s*(?:\\[A-Za-z]+|\\.|[^\s$\\])"
    r"|\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.|\s+|.",
    re.ASCII | re.DOTALL,
)
_PLACE = re.compile(r"\$(?:\{\s*)?(\w+)(?:\s+before\s+(\w+))?\s*\}?", re.ASCII)
_OPENS, _CLOSES = re.compile(r"\\(?:left|begin)(?![A-Za-z])"), re.compile(r"\\(?:right|end)(?![A-Za-z])")
_SPACES = frozenset({r"\,", r"\;", r"\:", r"\!", r"\ "})
_OPERATORS = {"+": "+", "-": "-", "−": "-", r"\cdot": "*", r"\times": "*", "*": "*", "·": "*", "/": "/"}
_RELATIONS = frozenset({"=", "<", ">", r"\le", r"\leq", r"\ge", r"\geq", r"\ne", r"\neq", r"\approx", r"\in"})
_SEPARATORS = frozenset({",", ";", "&", r"\\", r"\quad", r"\qquad"})
_LARGE = frozenset({r"\frac", r"\dfrac", r"\tfrac", r"\sum", r"\prod", r"\int"})
_LENIENT = {"(": ")", "[": "]", r"\{": r"\}", "|": "|"}


@dataclass(frozen=True)
class Place:
    """Where a parameter stands: how tightly its value must bind, and whether it is all of the text beside it.

    `before` names the function whose argument is meant where the value is a call of it. `grouped` places stand behind
    a command, which would take the first sign of a value alone; `subscripted` ones in front of an index, and LaTeX
    knows no second one.
    """

    parameter: str
    before: str | None
    needed: Precedence
    outermost: bool
    grouped: bool
    subscripted: bool
    start: int


@dataclass(frozen=True)
class OptionalPart:
    """What is left out where every parameter in it has its default; `own` is how tightly the whole binds with it."""

    parts: tuple[TemplatePart, ...]
    own: Precedence
    start: int


TemplatePart: TypeAlias = str | Place | OptionalPart


@dataclass(frozen=True)
class Template:
    """The parts of a notation and how tightly the whole binds. Without a place it is the symbol of a function."""

    parts: tuple[TemplatePart, ...]
    own: Precedence

    def places(self) -> Iterator[Place]:
        """Every place of a parameter, in order."""
        return _places(self.parts)


def _places(parts: tuple[TemplatePart, ...]) -> Iterator[Place]:
    for part in parts:
        if isinstance(part, Place):
            yield part
        elif isinstance(part, OptionalPart):
            yield from _places(part.parts)


class TemplateError(Exception):
    """A notation that cannot be read: where, what is wrong, and what to do."""

    def __init__(self, start: int, length: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.start, self.length, self.message, self.hint = start, length, message, hint


@dataclass
class _Open:
    """Something that waits for its end; `text` is in the mode of words, where no parameter can stand."""

    kind: str
    start: int
    text: bool = False


@dataclass
class _Piece:
    """A token with its role beside others: `open`, `close`, `separator`, `relation`, an operator, `^`, or ``."""

    text: str
    start: int
    role: str
    depth: int


@dataclass
class _Reader:
    pieces: list[_Piece] = field(default_factory=list)
    opened: list[_Open] = field(default_factory=list)

    def read(self, text: str) -> None:
        if not text.strip():
            raise TemplateError(
                0, len(text), "this notation is empty", "write the symbol of the function, or leave it out"
            )
        before = ""
        for match in _TOKEN.finditer(text):
            token, start = match.group(), match.start()
            if token.isspace() or token in _SPACES:
                self._add(token, start, "space")
            else:
                self._token(token, start, before)
                before = token
        if strict := self._strict():
            raise TemplateError(strict.start, len(strict.kind), f"this `{strict.kind}` is never closed")

    def _token(self, token: str, start: int, before: str) -> None:
        if token.startswith("$"):
            self._dollar(token, start)
        elif token == "{" or _OPENS.match(token):
            self._open(token, start, before)
        elif token == "}" or _CLOSES.match(token):
            self._close(token, start)
        elif token == "]" and self._closes_optional():
            self._close("$]", start)
        elif token in _LENIENT and not (token == "|" and self._innermost() == "|"):
            self._add(token, start, "open")
            self.opened.append(_Open(token, start))
        elif token in _LENIENT.values():
            if self._innermost() in _LENIENT:
                self.opened.pop()
            self._add(token, start, "close")
        else:
            self._plain(token, start)

    def _plain(self, token: str, start: int) -> None:
        if token in ("%", "#"):
            raise TemplateError(start, 1, f"`{token}` means something else in LaTeX", rf"write \{token}")
        if token == "\\":
            raise TemplateError(start, 1, r"a `\` stands before a command")
        if token in ("&", r"\\") and not any(o.kind.startswith(r"\begin") for o in self.opened):
            raise TemplateError(start, len(token), f"`{token}` stands between \\begin and \\end alone")
        role = (
            _OPERATORS.get(token)
            or ("relation" if token in _RELATIONS else "")
            or ("separator" if token in _SEPARATORS else "")
            or ("^" if token in ("^", "_", "'") else "")
        )
        self._add(token, start, role)

    def _dollar(self, token: str, start: int) -> None:
        if token == "$[":
            self._add(token, start, "space")
            self.opened.append(_Open(token, start))
        elif _PLACE.fullmatch(token) is None:
            hint = "write $x, or ${x} in front of a letter, a digit or _"
            raise TemplateError(start, len(token), "a `$` stands before a parameter", hint)
        elif any(opened.text for opened in self.opened):
            hint = r"end the words before it: \text{in }$x"
            raise TemplateError(start, len(token), "a parameter cannot stand among words", hint)
        else:
            self._add(token, start, "place")

    def _open(self, token: str, start: int, before: str) -> None:
        if token in (r"\left", r"\begin"):
            raise TemplateError(start, len(token), f"`{token}` needs {_NEEDS[token]}")
        self._add(token, start, "open")
        text = token == "{" and before.startswith((r"\text", r"\mbox"))
        self.opened.append(_Open(token, start, text))

    def _close(self, token: str, start: int) -> None:
        opened = self._strict()
        if opened is None or not _fit(opened.kind, token):
            shown = token.removeprefix("$")
            raise TemplateError(start, len(shown), f"no bracket is open that `{shown}` would close")
        while self.opened.pop() is not opened:
            pass
        role = "space" if token == "$]" else "separator" if opened.text else "close"
        self._add(token, start, role)

    def _add(self, token: str, start: int, role: str) -> None:
        self.pieces.append(_Piece(token, start, role, sum(opened.kind != "$[" for opened in self.opened)))

    def _innermost(self) -> str:
        return self.opened[-1].kind if self.opened else ""

    def _strict(self) -> _Open | None:
        return next((opened for opened in reversed(self.opened) if opened.kind not in _LENIENT), None)

    def _closes_optional(self) -> bool:
        strict = self._strict()
        return self._innermost() not in ("(", "[") and strict is not None and strict.kind == "$["


_NEEDS = {r"\left": r"a bracket: \left(", r"\begin": r"a name: \begin{cases}"}


def _fit(opened: str, closing: str) -> bool:
    """Whether an end fits what was opened."""
    if opened.startswith(r"\begin"):
        return closing.replace(r"\end", r"\begin") == opened
    if opened.startswith(r"\left"):
        return closing.startswith(r"\right") and closing != r"\right"
    return closing == {"{": "}", "$[": "$]"}[opened]


@lru_cache(maxsize=512)
def read_template(text: str) -> Template:
    """The parts of a notation. Raises TemplateError for the first thing that LaTeX, or the language, cannot read."""
    reader = _Reader()
    reader.read(text)
    beside = [piece for piece in reader.pieces if piece.role != "space"]
    places: dict[int, Place] = {}
    binding: dict[int, Precedence] = {}
    for index, piece in enumerate(beside):
        left = beside[index - 1] if index else _Piece("", 0, "open", 0)
        right = beside[index + 1] if index + 1 < len(beside) else _Piece("", len(text), "close", 0)
        if piece.text in ("^", "_"):
            _check_script(beside, index, right)
        if piece.role == "place":
            places[piece.start] = _place(piece, left, right)
        if piece.depth == 0:
            binding[piece.start] = _binding(piece, left.role, right.role)
    return Template(*_nested(iter(reader.pieces), places, binding))


def _place(piece: _Piece, left: _Piece, right: _Piece) -> Place:
    match = _PLACE.fullmatch(piece.text)
    assert match is not None
    needed = max(_LEFT.get(left.role, Precedence.ATOM), _RIGHT.get(right.role, Precedence.ATOM))
    outermost = piece.depth == 0 and needed == Precedence.PIPE
    command = left.role == "" and left.text.startswith("\\")
    grouped = command or left.role == "place" or left.text in ("^", "_")
    return Place(match[1], match[2], needed, outermost, grouped, right.text == "_", piece.start)


def _check_script(beside: list[_Piece], index: int, operand: _Piece) -> None:
    """An index or exponent has something to its right, and its base has no second one."""
    script = beside[index]
    if operand.role in ("close", "separator", "^"):
        raise TemplateError(script.start, 1, f"nothing stands after `{script.text}`")
    end = index + 1
    if operand.role == "open":
        inside = takewhile(lambda piece: piece.depth > operand.depth, beside[end + 1 :])
        end += len(list(inside)) + 1
    after = beside[end + 1] if end + 1 < len(beside) else operand
    if after.text == script.text:
        raise TemplateError(
            after.start, 1, f"LaTeX takes no second `{after.text}` here", "put braces around the first"
        )


_AROUND = dict.fromkeys(("open", "close", "separator"), Precedence.PIPE) | {"relation": Precedence.SUM}
_LEFT = _AROUND | {sign: sides[1] for sign, (_, sides) in ARITHMETIC.items() if sign in "-/"}
_LEFT |= {sign: ARITHMETIC[sign][0] for sign in "+*"}
_RIGHT = _AROUND | {sign: sides[0] for sign, (_, sides) in ARITHMETIC.items()}
"""How tightly a value must bind to the right, and to the left, of something."""


def _binding(piece: _Piece, left: str, right: str) -> Precedence:
    """How tightly a text binds that has this piece outside of all brackets."""
    if piece.role in ARITHMETIC:
        return ARITHMETIC[piece.role][0] if piece.text not in ("_", "'") else Precedence.ATOM
    if piece.role == "relation":
        return Precedence.COMPARE
    if piece.role == "separator" or piece.text.startswith(r"\end"):
        return Precedence.PIPE
    side_by_side = piece.role == "place" and not {"", "place"}.isdisjoint((left, right))
    return Precedence.PRODUCT if piece.text in _LARGE or side_by_side else Precedence.ATOM


def _nested(
    pieces: Iterator[_Piece], places: dict[int, Place], binding: dict[int, Precedence]
) -> tuple[tuple[TemplatePart, ...], Precedence]:
    """Parts up to the end of the text or of the `$[` that they stand in, and how tightly they bind."""
    parts: list[TemplatePart] = []
    own = Precedence.ATOM
    for piece in pieces:
        own = min(own, binding.get(piece.start, own))
        if piece.text == "$]":
            break
        if piece.text == "$[":
            parts.append(OptionalPart(*_nested(pieces, places, binding), piece.start))
        elif piece.start in places:
            parts.append(places[piece.start])
        elif parts and isinstance(parts[-1], str):
            parts[-1] += piece.text
        else:
            parts.append(piece.text)
    return tuple(parts), own
