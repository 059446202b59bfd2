"""The signs and commands of a notation, each with its role beside others, and what of LaTeX is not closed in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\$\[|\$\{[^{}]*\}|\$[A-Za-z_]\w*"
    r"|\\(?:left|right)(?![A-Za-z])\s*(?:\\[A-Za-z]+|\\.|[^\s$\\])"
    r"|\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.|\s+|.",
    re.ASCII | re.DOTALL,
)
PLACE = re.compile(r"\$(?:\{\s*)?(\w+)(?:\s+before\s+(\w+))?\s*\}?", re.ASCII)
_OPENS, _CLOSES = re.compile(r"\\(?:left|begin)(?![A-Za-z])"), re.compile(r"\\(?:right|end)(?![A-Za-z])")
_SPACES = frozenset({r"\,", r"\;", r"\:", r"\!", r"\ "})
_OPERATORS = {"+": "+", "-": "-", "−": "-", r"\cdot": "*", r"\times": "*", "*": "*", "·": "*", "/": "/"}
_RELATIONS = frozenset({"=", "<", ">", r"\le", r"\leq", r"\ge", r"\geq", r"\ne", r"\neq", r"\approx", r"\in"})
_SEPARATORS = frozenset({",", ";", "&", r"\\", r"\quad", r"\qquad"})
_LENIENT = {"(": ")", "[": "]", r"\{": r"\}", "|": "|"}


class TemplateError(Exception):
    """A notation that cannot be read: where, what is wrong, and what to do."""

    def __init__(self, start: int, length: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.start, self.length, self.message, self.hint = start, length, message, hint


@dataclass(frozen=True)
class _Open:
    """Something that waits for its end; `text` is in the mode of words, where no parameter can stand."""

    kind: str
    start: int
    text: bool = False


@dataclass(frozen=True)
class Piece:
    """A token with its role beside others: `open`, `close`, `separator`, `relation`, an operator, `^`, or ``."""

    text: str
    start: int
    role: str
    depth: int


@dataclass
class _Reader:
    """Reads a notation once, from left to right, and keeps what is open."""

    pieces: list[Piece] = field(default_factory=list)
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
        elif PLACE.fullmatch(token) is None:
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
        self.pieces.append(Piece(token, start, role, sum(opened.kind != "$[" for opened in self.opened)))

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


def read_pieces(text: str) -> list[Piece]:
    """The pieces of a notation in order. Raises TemplateError for the first that cannot be read."""
    reader = _Reader()
    reader.read(text)
    return reader.pieces
