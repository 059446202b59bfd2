"""The comparisons of a report as tables for a paper (LaTeX, of booktabs) and for other programs (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison, measured

_HEADS = ("measure", "point", "pairs", "mean", "iqm", "difference", "low", "high", "verdict", "improvement")
_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def csv_table(rows: Sequence[Comparison]) -> str:
    """A line for each measure of each point, in full precision; what there is not is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADS)
    for measure in measured(rows):
        for row in rows:
            found, apart = row.measures[measure], row.measures[measure].difference
            ends = ("", "", "", "") if apart is None else (apart.mean, apart.low, apart.high, apart.verdict)
            cells = (measure, row.name, row.pairs, found.mean, found.iqm, *ends, found.improvement)
            writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def latex_table(rows: Sequence[Comparison], facts: Mapping[str, str]) -> str:
    """One table, a row a point, a column a measure: the mean of the base, of others the difference and its interval."""
    names = measured(rows)
    heads = " & ".join(["point", "$n$", *(_escaped(MEASURES[name]) for name in names)])
    lines = [
        *(f"% {name}: {' '.join(text.split())}" for name, text in facts.items()),
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{lr{'r' * len(names)}}}",
        r"\toprule",
        rf"{heads} \\",
        r"\midrule",
        *(
            " & ".join([_escaped(row.name), str(row.pairs), *(_cell(row, name) for name in names)]) + r" \\"
            for row in rows
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Comparison, measure: str) -> str:
    found = row.measures[measure]
    if found.difference is None:
        return f"{found.mean:.3f}"
    apart = found.difference
    interval = "" if apart.low is None else f"\\;[{apart.low:+.3f}, {apart.high:+.3f}]"
    return f"${apart.mean:+.3f}{interval}$"


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
