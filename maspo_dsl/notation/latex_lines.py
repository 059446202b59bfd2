"""The formula of an objective as the lines of a LaTeX environment."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.notation.formula import Formula, FormulaLine, formula
from maspo_dsl.notation.styles import LATEX
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import NAMED
from maspo_dsl.semantics.shipped import library_definitions


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
