"""The formula of an objective as the lines of a LaTeX environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from maspo_dsl.notation.formula import Formula, FormulaLine, formula
from maspo_dsl.notation.styles import LATEX
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import NAMED
from maspo_dsl.semantics.shipped import library_definitions

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
    rows = [_row(line) for line in written.lines]
    yield r"\begin{aligned}"
    yield from (row + r" \\" for row in rows[:-1])
    yield rows[-1]
    yield r"\end{aligned}"


def _row(line: FormulaLine) -> str:
    row = NAMED.get(line.note.split(":")[0])
    if row is not None and row.form == "rule":
        return rf"\text{{{row.adjective}}} &\text{{ where }} {line.text}"
    return f"{line.symbol} &{'=' if line.symbol else ''} {line.text}".strip()
