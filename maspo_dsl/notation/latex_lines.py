"""The formula of an objective as the lines of a LaTeX environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from maspo_dsl.notation.formula import Formula, FormulaLine, Helper, formula
from maspo_dsl.notation.latex import latex_upright
from maspo_dsl.notation.latex_breaking import COLUMN, broken, width_of
from maspo_dsl.notation.styles import LATEX
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import NAMED
from maspo_dsl.semantics.shipped import library_definitions

Row: TypeAlias = tuple[str, str]
"""What is defined, and the rest of its line."""
INDENT = r"\quad"
_PACKAGES = {
    "amssymb": r"mathbb|mathfrak|lesssim|gtrsim|leqslant|geqslant|triangleq|varnothing|nmid",
    "mathtools": r"coloneqq|eqqcolon|mathclap|begin\{dcases\}|vcentcolon",
    "bm": r"bm",
    "dsfont": r"mathds",
    "mathrsfs": r"mathscr",
    "stmaryrd": r"llbracket|rrbracket",
}
"""What commands of a spec's own notation a package brings; `aligned`, `cases` and `\\text` are of amsmath."""


def latex_preamble(lines: Sequence[str]) -> str:
    """The packages that a page with a formula's lines needs, as a comment of LaTeX."""
    text = "\n".join(lines)
    own = [name for name, known in _PACKAGES.items() if re.search(rf"\\(?:{known})(?![A-Za-z])", text)]
    return f"% \\usepackage{{{','.join(['amsmath', *own])}}}"


def latex_formula(objective: ResolvedObjective) -> Formula:
    """The formula of an objective, its lines and the bodies of its helpers in LaTeX."""
    return formula(objective, {**library_definitions(), **objective.flat.defs}, LATEX)


def latex_lines(written: Formula) -> Iterator[str]:
    """An `aligned` environment with the lines of a formula that `latex_formula` wrote."""
    return _aligned([_row(line) for line in written.lines])


def paper_lines(written: Formula) -> list[str]:
    """The same for the column of a paper: long lines broken, functions that are called by name defined below.

    First the packages that it needs, as a comment.
    """
    rows = [_row(line) for line in written.lines]
    room = COLUMN - max(width_of(symbol) for symbol, _ in rows)
    rows += [("", f"{helper.symbol} = {helper.body}") for helper in _named(written.helpers, rows)]
    found = [*_aligned([row for symbol, text in rows for row in _broken(symbol, text, room)])]
    return [latex_preamble(found), *found]


def _named(helpers: Sequence[Helper], rows: Sequence[Row]) -> list[Helper]:
    """Functions that the rows, or the bodies of those that are named there, call by their names."""
    text, found = " ".join(text for _, text in rows), list[Helper]()
    while new := [each for each in helpers if each not in found and each.symbol and _name(each) in text]:
        found += new
        text += " ".join(each.body for each in new)
    return found


def _name(helper: Helper) -> str:
    return latex_upright(helper.call.partition("(")[0])


def _broken(symbol: str, text: str, room: float) -> Iterator[Row]:
    first, *rest = broken(text, room, room - width_of(INDENT))
    yield symbol, first
    yield from (("", f"{INDENT} {line}") for line in rest)


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    lines = [
        f"{symbol} &{text}" if text.startswith(r"\text") else f"{symbol} & {text}" for symbol, text in rows
    ]
    lines = [line.replace(" & = ", " &= ").strip() for line in lines]
    yield r"\begin{aligned}"
    yield from (line + r" \\" for line in lines[:-1])
    yield lines[-1]
    yield r"\end{aligned}"


def _row(line: FormulaLine) -> Row:
    row = NAMED.get(line.note.split(":")[0])
    if row is not None and row.form == "rule":
        return rf"\text{{{row.adjective}}}", rf"\text{{ where }} {line.text}"
    return line.symbol, f"= {line.text}" if line.symbol else line.text
