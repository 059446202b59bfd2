"""One HTML page that needs nothing else: light and dark, wide and narrow, with tables that sort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --quiet: #555; --line: #ddd; --block: #f5f5f5;
  --up: #0b5c95; --down: #c25400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --paper: #161616; --quiet: #aaa; --line: #3a3a3a;
  --block: #222; --up: #6db9f2; --down: #ff9d5c; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 76rem; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
h1, p, dd { overflow-wrap: anywhere; }
h2 { margin-top: 2.2rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; } a { color: var(--up); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: var(--quiet); }
dd { margin: 0; } @media (max-width: 34rem) { dl { display: block; } dd { margin-bottom: .4rem; } }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .84rem; }
th, td { text-align: left; padding: .25rem .4rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { border-bottom: 2px solid var(--quiet); white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
.first th:first-child, .first td:first-child { position: sticky; left: 0; background: var(--paper); }
@media (max-width: 34rem) { .first td:first-child:not(.n) { min-width: 9rem; max-width: 9rem;
  overflow-wrap: anywhere; } }
th button { font: inherit; font-weight: 600; color: inherit; border: 0; background: none; padding: 0; cursor: pointer; }
code { font-size: .85em; }
pre { background: var(--block); padding: .5rem; overflow-x: auto; font-size: .85rem; }
.note { color: var(--quiet); max-width: 50rem; }
.wide svg { display: block; background: #fff; width: 60rem; max-width: 100%; min-width: 40rem; height: auto; }
"""
_SORT = """
document.querySelectorAll('th').forEach(h => {
  const b = document.createElement('button'); b.textContent = h.textContent; h.replaceChildren(b);
  b.onclick = () => {
    const body = h.closest('table').tBodies[0], at = h.cellIndex, down = h.getAttribute('aria-sort') === 'ascending';
    h.parentNode.querySelectorAll('th').forEach(o => o.removeAttribute('aria-sort'));
    h.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const key = r => { const t = r.cells[at].textContent, n = parseFloat(t.replace('\\u2212', '-'));
      return [Number.isNaN(n) ? Infinity : n, t]; };
    const rows = [...body.rows].map(r => [key(r), r]);
    rows.sort(([[a, s]], [[b, t]]) => ((a === b ? 0 : a < b ? -1 : 1) || s.localeCompare(t)) * (down ? -1 : 1));
    body.replaceChildren(...rows.map(([, r]) => r));
  };
});
"""


_MANY = 6
"""Columns beyond which a table needs more than the width of a phone."""


class Html(str):
    """Text that is HTML already; every other text is escaped."""

    __slots__ = ()


def page(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page below its heading; `body` is HTML."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{_STYLE}{style}</style>"
    text = "\n".join([f"<h1>{escape(title)}</h1>", *body, f"<script>{_SORT}</script>"])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{text}\n</body></html>\n'


def note(text: str) -> str:
    """A paragraph that says how to read what stands near it."""
    return f'<p class="note">{escape(text)}</p>'


def code(text: str) -> Html:
    """Text as it is typed."""
    return Html(f"<code>{escape(text)}</code>")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table whose headings sort it and whose first column stays in sight; `numbers`: the columns of numbers."""
    kinds = [' class="n"' if place in numbers else "" for place in range(len(heads))]
    head = _row("th", kinds, heads)
    lines = "".join(_row("td", kinds, row) for row in rows)
    # On a narrow screen a table scrolls; its texts are not squeezed into a column of words.
    wide = f' style="min-width: {5 * len(heads)}rem"' if len(heads) > _MANY else ""
    return f'<div class="wide first"><table{wide}><thead>{head}</thead><tbody>{lines}</tbody></table></div>'


def _row(tag: str, kinds: Sequence[str], cells: Sequence[str]) -> str:
    shown = (cell if isinstance(cell, Html) else escape(cell) for cell in cells)
    return (
        f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, shown, strict=True))}</tr>"
    )
