"""An inspected batch as one HTML page that needs nothing else: tokens coloured by their weight, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from maspo_dsl.analysis.inspection import Inspection, Reason, decided
from maspo_dsl.pictures.page import note, page, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Samples:
    """What a run kept of the completions of a step: a record each, and their tokens; without those, `why` not.

    `beside` are ids of groups and rewards [N] of all completions that were kept beside them.
    """

    step: int
    records: Sequence[Mapping[str, Any]]
    tokens: Inspection | None = None
    beside: tuple[NDArray[Any], NDArray[Any]] | None = None
    why: str = ""


def tokens_page(objective: Objective, found: Inspection) -> str:
    """The page: what decided, groups, completions with their tokens, and every token as a row that can be sorted."""
    title = f"{objective.name}: {found.mask.shape[0]} completions, {int(found.mask.sum())} trained tokens"
    heads = ("group", "completions", "trained on", "rewards", "tokens with weight")
    headings = (f"{row}{'' if kept else ', dropped'}" for row, kept in enumerate(found.kept))
    body = [
        *_weights(found, None, headings, table(heads, _groups(found))),
        *_tokens(found, np.ones_like(found.mask)),
        _spec(objective),
    ]
    return page(title, body, _STYLE)


def samples_page(objective: Objective, samples: Samples) -> str:
    """The completions that a run kept of a step, as its update saw them; without their tokens the texts alone."""
    title = f"{objective.name}: step {samples.step}, {len(samples.records)} completions of the run"
    rows = (
        (
            *(_number(_or_nan(each.get(name))) for name in ("reward", "advantage")),
            str(each["prompt"]),
            str(each["completion"]),
            "cut off at the limit" if each.get("truncated") else "ended",
        )
        for each in samples.records
    )
    texts = table(("reward", "A", "prompt", "completion", "end"), rows, numbers=(0, 1))
    found = samples.tokens
    if found is None or samples.beside is None:
        return page(title, [note(samples.why), texts, _spec(objective)], _STYLE)
    told = (
        "The ratio of a token is that before the update that trained on it; each is trained on once a step."
    )
    headings = (
        f"{each['prompt']}: reward {_number(_or_nan(each.get('reward')))}" for each in samples.records
    )
    groups = table(("group", "completions", "rewards"), _rewards(*samples.beside))
    body = [note(told), *_weights(found, found.mask, headings, groups), *_tokens(found, found.mask)]
    return page(title, [*body, "<h2>Texts</h2>", texts, _spec(objective)], _STYLE)


def _weights(
    found: Inspection, where: NDArray[np.bool_] | None, headings: Iterable[str], groups: str
) -> list[str]:
    weighs = "What is shown as weight is minus the derivative of the policy term by the token's log-prob, over what "
    weighs += "`reduce` gives the token; gradient is minus the derivative of the whole loss."
    marks = (
        "Blue, underlined: pushed up; orange, dashed: pushed down; struck through: no weight. Headings sort."
    )
    return [
        note(f"{weighs} {marks}"),
        "<h2>What decided</h2>",
        table(("tokens", "what", "line", "spec"), _decided(found, where), numbers=(0,)),
        "<h2>Groups</h2>",
        groups,
        "<h2>Completions</h2>",
        *_completions(found, headings),
        "<h2>Tokens</h2>",
    ]


def _spec(objective: Objective) -> str:
    return f"<h2>The spec</h2><pre>{escape(objective.text)}</pre>"


def _decided(found: Inspection, where: NDArray[np.bool_] | None) -> Iterator[Sequence[str]]:
    for count, reason in decided(found, where):
        span = reason.span
        line = "" if span is None else " ".join(span.source.text.splitlines()[span.line - 1].split())
        yield str(count), reason.text, _place(reason), line


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


def _rewards(groups: NDArray[Any], rewards: NDArray[Any]) -> Iterator[Sequence[str]]:
    for group in np.unique(groups):
        inside = rewards[groups == group]
        yield str(group), str(len(inside)), ", ".join(f"{value:g}" for value in inside)


def _completions(found: Inspection, headings: Iterable[str]) -> Iterator[str]:
    largest = float(np.abs(found.weight).max(initial=0)) or 1.0
    for row, heading in enumerate(headings):
        spans = [
            _token(found, row, place, largest)
            for place in range(found.mask.shape[1])
            if found.mask[row, place]
        ]
        yield f'<div class="row"><b>{escape(heading)}</b> {"".join(spans)}</div>'


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


def _tokens(found: Inspection, shown: NDArray[np.bool_]) -> Iterator[str]:
    places = np.argwhere(shown)
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


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value + 0.0:.4g}".replace("-", "−")
