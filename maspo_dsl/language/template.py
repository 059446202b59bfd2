r"""The notation of a `def`: LaTeX in which `$x` stands for a parameter, read once and checked where it is written.

`$x` or `${x}` is the parameter's value, `${x before center}` what `center` was given where the value is a call of it,
`$[ … ]` is left out where its parameters have their defaults. Brackets follow from what stands beside a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import TypeAlias

from maspo_dsl.language.latex_pieces import PLACE, Piece, TemplateError, read_pieces
from maspo_dsl.language.printing import ARITHMETIC, Precedence

_LARGE = frozenset({r"\frac", r"\dfrac", r"\tfrac", r"\sum", r"\prod", r"\int"})


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


@lru_cache(maxsize=512)
def read_template(text: str) -> Template:
    """The parts of a notation. Raises TemplateError for the first thing that LaTeX, or the language, cannot read."""
    pieces = read_pieces(text)
    beside = [piece for piece in pieces if piece.role != "space"]
    places: dict[int, Place] = {}
    binding: dict[int, Precedence] = {}
    for index, piece in enumerate(beside):
        left = beside[index - 1] if index else Piece("", 0, "open", 0)
        right = beside[index + 1] if index + 1 < len(beside) else Piece("", len(text), "close", 0)
        if piece.text in ("^", "_"):
            _check_script(beside, index, right)
        if piece.role == "place":
            places[piece.start] = _place(piece, left, right)
        if piece.depth == 0:
            binding[piece.start] = _binding(piece, left.role, right.role)
    return Template(*_nested(iter(pieces), places, binding))


def _place(piece: Piece, left: Piece, right: Piece) -> Place:
    match = PLACE.fullmatch(piece.text)
    assert match is not None
    needed = max(_LEFT.get(left.role, Precedence.ATOM), _RIGHT.get(right.role, Precedence.ATOM))
    outermost = piece.depth == 0 and needed == Precedence.PIPE
    command = left.role == "" and left.text.startswith("\\")
    grouped = command or left.role == "place" or left.text in ("^", "_")
    return Place(match[1], match[2], needed, outermost, grouped, right.text == "_", piece.start)


def _check_script(beside: list[Piece], index: int, operand: Piece) -> None:
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


def _binding(piece: Piece, left: str, right: str) -> Precedence:
    """How tightly a text binds that has this piece outside of all brackets."""
    if piece.role in ARITHMETIC:
        return Precedence.ATOM if piece.text in ("_", "'") else ARITHMETIC[piece.role][0]
    if piece.role == "relation":
        return Precedence.COMPARE
    if piece.role == "separator" or piece.text.startswith(r"\end"):
        return Precedence.PIPE
    side_by_side = piece.role == "place" and not {"", "place"}.isdisjoint((left, right))
    return Precedence.PRODUCT if piece.text in _LARGE or side_by_side else Precedence.ATOM


def _nested(
    pieces: Iterator[Piece], places: dict[int, Place], binding: dict[int, Precedence]
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
