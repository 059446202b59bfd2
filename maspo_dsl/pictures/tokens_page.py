"""An inspected batch as one HTML page that needs nothing else: tokens coloured by their weight, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from maspo_dsl.analysis.inspection import Inspection, Reason

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective

MOST_TOKENS = 20_000
"""Rows of the table of tokens: a browser sorts no more of them at once."""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #555; white-space: nowrap; } td.n, th.n { text-align: right; white-space: nowrap; }
th button { font: inherit; font-weight: 600; border: 0; background: none; padding: 0; cursor: pointer; }
.wide { overflow-x: auto; } h2 { margin-top: 2rem; } .note { color: #555; max-width: 50rem; }
.t { display: inline-block; padding: 0 .25rem; margin: 1px; border-bottom: 3px solid transparent; }
.t.up { border-bottom-color: #0b3c5d; } .t.down { border-bottom: 3px dashed #a34700; }
.t.none { color: #555; text-decoration: line-through; } .row { margin: .6rem 0; overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: .5rem; overflow-x: auto; font-size: .85rem; }
"""
_SCRIPT = """
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


def tokens_page(objective: Objective, found: Inspection) -> str:
    """The page: what decided, groups, completions with their tokens, and every token as a row that can be sorted."""
    title = f"{objective.name}: {found.mask.shape[0]} completions, {int(found.mask.sum())} trained tokens"
    weighs = "What is shown as weight is minus the derivative of the policy term by the token's log-prob, over what "
    weighs += "`reduce` gives the token; gradient is minus the derivative of the whole loss."
    note = (
        "Blue, underlined: pushed up; orange, dashed: pushed down; struck through: no weight. Headings sort."
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(weighs)} {escape(note)}</p>',
        "<h2>What decided</h2>",
        _table(("tokens", "what", "line", "spec"), _decided(found), numbers=1),
        "<h2>Groups</h2>",
        _table(("group", "completions", "trained on", "rewards", "tokens with weight"), _groups(found)),
        "<h2>Completions</h2>",
        *_completions(found),
        "<h2>Tokens</h2>",
        *_tokens(found),
        f"<h2>The spec</h2><pre>{escape(objective.text)}</pre>",
    ]
    return _page(title, body)


def samples_page(objective: Objective, step: int, samples: Sequence[Mapping[str, Any]]) -> str:
    """The completions that a run kept of a step: no log-probs are among them, so no token has a weight."""
    title = f"{objective.name}: step {step}, {len(samples)} completions of the run"
    note = "A run keeps completions and rewards, and no log-probs: what a token weighed cannot be told from them."
    rows = (
        (
            _number(math.nan if each["reward"] is None else float(each["reward"])),
            str(each["prompt"]),
            str(each["completion"]),
            "cut off at the limit" if each.get("truncated") else "ended",
        )
        for each in samples
    )
    heads = ("reward", "prompt", "completion", "end")
    body = [f"<h1>{escape(title)}</h1>", f'<p class="note">{note}</p>', _table(heads, rows, numbers=1)]
    return _page(title, [*body, f"<h2>The spec</h2><pre>{escape(objective.text)}</pre>"])


def _page(title: str, body: Sequence[str]) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    text = "\n".join([*body, f"<script>{_SCRIPT}</script>"])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{text}\n</body></html>\n'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A table; the first columns are of numbers."""
    kinds = [' class="n"' if place < numbers else "" for place in range(len(heads))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, heads, strict=True))
    lines = (
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _decided(found: Inspection) -> Iterator[Sequence[str]]:
    for place, reason in enumerate(found.reasons):
        line = (
            ""
            if reason.span is None
            else " ".join(reason.span.source.text.splitlines()[reason.span.line - 1].split())
        )
        yield str(int((found.reason == place).sum())), reason.text, _place(reason), line
    yield str(int((found.reason < 0).sum())), "nothing but its ratio and its advantage", "", ""


def _place(reason: Reason | None) -> str:
    span = None if reason is None else reason.span
    return "" if span is None else f"{span.source.name}:{span.line}"


def _groups(found: Inspection) -> Iterator[Sequence[str]]:
    rows = found.batch.get("group", np.arange(len(found.mask)))
    rewards = found.batch.get("reward")
    for group in np.unique(rows):
        inside = rows == group
        told = "" if rewards is None else ", ".join(f"{value:g}" for value in rewards[inside])
        pushed = int((found.weight[inside] != 0).sum())
        yield str(group), str(int(inside.sum())), str(int(found.kept[inside].sum())), told, str(pushed)


def _completions(found: Inspection) -> Iterator[str]:
    largest = float(np.abs(found.weight).max()) or 1.0
    for row in range(len(found.mask)):
        spans = [
            _token(found, row, place, largest)
            for place in range(found.mask.shape[1])
            if found.mask[row, place]
        ]
        dropped = "" if found.kept[row] else ", dropped"
        yield f'<div class="row"><b>{row}{dropped}</b> {"".join(spans)}</div>'


def _token(found: Inspection, row: int, place: int, largest: float) -> str:
    weight = float(found.weight[row, place])
    colour = "11,60,93" if weight > 0 else "213,94,0"
    kind = "up" if weight > 0 else "down" if weight < 0 else "none"
    shade = f' style="background:rgba({colour},{0.08 + 0.42 * abs(weight) / largest:.2f})"' if weight else ""
    reason = _reason(found, row, place)
    numbers = {"weight": found.weight, "ratio": found.ratio, "A": found.advantage}
    told = ", ".join(f"{name} {_number(float(values[row, place]))}" for name, values in numbers.items())
    told += f"; {reason.text} {_place(reason)}" if reason else ""
    return f'<span class="t {kind}"{shade} title="{escape(told)}">{escape(_text(found, row, place))}</span>'


def _reason(found: Inspection, row: int, place: int) -> Reason | None:
    number = int(found.reason[row, place])
    return found.reasons[number] if number >= 0 else None


def _text(found: Inspection, row: int, place: int) -> str:
    """The token as the batch has it: its text, its id, or its place."""
    for name in ("token_text", "tokens"):
        if (words := found.batch.get(name)) is not None and words.shape == found.mask.shape:
            return str(words[row, place])
    return str(place)


def _tokens(found: Inspection) -> Iterator[str]:
    places = np.argwhere(np.ones_like(found.mask))
    if len(places) > MOST_TOKENS:
        yield f'<p class="note">The first {MOST_TOKENS} of {len(places)}.</p>'
    heads = (
        "completion",
        "place",
        "weight",
        "gradient",
        "ratio",
        "A",
        "gate",
        "token",
        "mask",
        "why",
        "line",
    )
    rows = (_token_row(found, int(row), int(place)) for row, place in places[:MOST_TOKENS])
    yield _table(heads, rows, numbers=7)


def _token_row(found: Inspection, row: int, place: int) -> Sequence[str]:
    every = (found.weight, found.gradient, found.ratio, found.advantage, found.gate)
    numbers = [_number(float(values[row, place])) for values in every]
    reason = _reason(found, row, place)
    mask = "trained" if found.mask[row, place] else "masked"
    why = "" if reason is None else reason.text
    return str(row), str(place), *numbers, _text(found, row, place), mask, why, _place(reason)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value + 0.0:.4g}".replace("-", "−")
