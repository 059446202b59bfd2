"""What a notebook shows of an objective: formula, parameters, picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from maspo_dsl.analysis.weight_curves import weight_curves

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective


def objective_html(objective: Objective, formula: str) -> str:
    """An objective as HTML; `formula` is its LaTeX between dollars, which a notebook renders."""
    resolved = objective.resolved
    rows = [
        (name, f"{value:g}", resolved.parameters[name].declared.doc or "")
        for name, value in resolved.params.items()
    ]
    table = table_html(("parameter", "value", "meaning"), rows) if rows else ""
    head = f"<p><b>{escape(objective.name)}</b> {escape(resolved.doc)}</p>"
    return f"{head}\n{escape(formula, quote=False)}\n{table}\n{_picture(objective)}"


def table_html(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(objective: Objective) -> str:
    """Its curves as SVG; a sentence where there are none, nothing where matplotlib is not installed."""
    curves = weight_curves(objective.resolved, objective.graph)
    if curves.why:
        return f"<p>{escape(curves.why)}</p>"
    try:
        from maspo_dsl.pictures.style import svg_text
        from maspo_dsl.pictures.weights import small_figure
    except ImportError:
        return ""
    return svg_text(small_figure(curves))
