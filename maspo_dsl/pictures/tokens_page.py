"""An inspected batch as one HTML page that needs nothing else: tokens coloured by their weight, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from maspo_dsl.analysis.inspection import Inspection, Reason
from maspo_dsl.pictures.page import note, page, table

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective

MOST_TOKENS = 20_000
"""Rows of the table of tokens: a browser sorts no more of them at once."""
_STYLE = """
.t { display: inline-block; padding: 0 .25rem; margin: 1px; border-bottom: 3px solid transparent; }
.t { white-space: pre-wrap; } .t.up { --hue: var(--up); border-bottom-color: var(--hue); }
.t.down { --hue: var(--down); border-bottom: 3px dashed var(--hue); }
.t.up, .t.down { background: color-mix(in srgb, var(--hue) calc(100% * var(--w)), transparent); }
.t.none { color: var(--quiet); text-decoration: line-through; } .row { margin: .6rem 0; overflow-wrap: anywhere; }
"""


def tokens_page(objective: Objective, found: Inspection) -> str:
    """The page: what decided, groups, completions with their tokens, and every token as a row that can be sorted."""
    title = f"{objective.name}: {found.mask.shape[0]} completions, {int(found.mask.sum())} trained tokens"
    weighs = "What is shown as weight is minus the derivative of the policy term by the token's log-prob, over what "
    weighs += "`reduce` gives the token; gradient is minus the derivative of the whole loss."
    marks = (
        "Blue, underlined: pushed up; orange, dashed: pushed down; struck through: no weight. Headings sort."
    )
    body = [
        note(f"{weighs} {marks}"),
        "<h2>What decided</h2>",
        table(("tokens", "what", "line", "spec"), _decided(found), numbers=(0,)),
        "<h2>Groups</h2>",
        table(("group", "completions", "trained on", "rewards", "tokens with weight"), _groups(found)),
        "<h2>Completions</h2>",
        *_completions(found),
        "<h2>Tokens</h2>",
        *_tokens(found),
        f"<h2>The spec</h2><pre>{escape(objective.text)}</pre>",
    ]
    return page(title, body, _STYLE)


def samples_page(objective: Objective, step: int, samples: Sequence[Mapping[str, Any]]) -> str:
    """The completions that a run kept of a step: no log-probs are among them, so no token has a weight."""
    title = f"{objective.name}: step {step}, {len(samples)} completions of the run"
    told = "A run keeps completions and rewards, and no log-probs: what a token weighed cannot be told from them."
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
    body = [
        note(told),
        table(heads, rows, numbers=(0,)),
        f"<h2>The spec</h2><pre>{escape(objective.text)}</pre>",
    ]
    return page(title, body, _STYLE)


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
    kind = "up" if weight > 0 else "down" if weight < 0 else "none"
    shade = f' style="--w:{0.08 + 0.42 * abs(weight) / largest:.2f}"' if weight else ""
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
        yield note(f"The first {MOST_TOKENS} of {len(places)}.")
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
    yield table(heads, rows, numbers=range(7))


def _token_row(found: Inspection, row: int, place: int) -> Sequence[str]:
    every = (found.weight, found.gradient, found.ratio, found.advantage, found.gate)
    numbers = [_number(float(values[row, place])) for values in every]
    reason = _reason(found, row, place)
    mask = "trained" if found.mask[row, place] else "masked"
    why = "" if reason is None else reason.text
    return str(row), str(place), *numbers, _text(found, row, place), mask, why, _place(reason)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value + 0.0:.4g}".replace("-", "−")
