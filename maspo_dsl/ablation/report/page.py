"""The report as one HTML page that needs nothing else, and as a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison, differences, measured, remaining
from maspo_dsl.ablation.report.pictures import Picture
from maspo_dsl.ablation.report.results import FINAL_EVALUATIONS
from maspo_dsl.ablation.report.statistics import FEWEST_PAIRS, LEVEL, Difference
from maspo_dsl.pictures.page import Html, code, note, page, table
from maspo_dsl.pictures.style import svg_text

Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]


def how_to_read(rows: Sequence[Comparison], document: Mapping[str, Any]) -> str:
    """What the numbers are, and what they cannot show."""
    return (
        f"{_what_n_is(rows)} Final reward is the mean over the last tenth of the steps, mean reward over all of them "
        f"(the area under the curve), held-out greedy the mean of the last {FINAL_EVALUATIONS} measurements. "
        f"Differences are from {rows[0].name}, paired by seed{_what_a_seed_is(document)}. "
        f"Brackets are {LEVEL:.0%} bootstrap intervals over seeds, which are too narrow for a "
        "few seeds: a point is called higher or lower only if Student's paired interval leaves out 0 as well, and "
        f"with fewer than {FEWEST_PAIRS} pairs nothing is called; without a word no difference is shown. Each is "
        "looked at as if it were the only one; below the table stands what remains of all together."
    )


_MIDDLE = "IQM is the interquartile mean; P the chance that a run of the point is above a run of the base."


def _what_n_is(rows: Sequence[Comparison]) -> str:
    """The pairs of the rows; where some runs have no pair, also what is over all of them."""
    fewest, most = min(row.pairs for row in rows), max(row.pairs for row in rows)
    span = f"{fewest} to {most}" if fewest < most else str(most)
    n = f"n = {span} seed{'' if span == '1' else 's'} a point"
    if fewest == most and all(row.seeds == row.pairs for row in rows):
        return f"{n}."
    return (
        f"{n}: those that {rows[0].name} has finished too, which difference, interval, verdict and P are of. "
        "Mean and IQM are over all finished runs of a point."
    )


def _what_a_seed_is(document: Mapping[str, Any]) -> str:
    """What the runs of a seed share, which only their program knows if it is somebody's own."""
    if document.get("command"):
        return f"; what runs of a seed share, `{document['command']}` decides"
    return ": every seed starts all points from the same weights with the same prompts"


def markdown(rows: Sequence[Comparison], facts: Mapping[str, str], document: Mapping[str, Any]) -> str:
    """What the page says, without its figures."""
    lines = [f"# {_title(rows)}", ""]
    lines += [f"* {name}: {_typed(name, text)}" for name, text in facts.items()]
    lines += [
        "",
        how_to_read(rows, document),
        "",
        "## Comparison",
        "",
        *_markdown_table(*_compared(rows)),
        "",
    ]
    for measure in measured(rows):
        lines += _paragraph(of_all(rows, measure))
    lines += ["## Other numbers", "", _MIDDLE, "", *_markdown_table(*_others(rows)), ""]
    lines += ["## Points", "", *_markdown_table(*_points(rows)), "", *_left_out(rows, document)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        cells = (cell.replace("|", "\\|").replace("\n", " ") for cell in row)
        yield f"| {' | '.join(cells)} |"


def _typed(name: str, text: str) -> str:
    """A fact in Markdown; commands as they are typed."""
    return f"`{text}`" if name.startswith("command") else text


def of_all(rows: Sequence[Comparison], measure: str) -> str:
    """What remains of the verdicts when the number of comparisons is counted."""
    called, kept = remaining(rows, measure)
    count = sum(row.measures[measure].difference is not None for row in rows)
    if len(called) == 0 or count == 1:
        return ""
    names = f"{', '.join(kept)} {'remains' if len(kept) == 1 else 'remain'}" if kept else "none remains"
    return (
        f"{_heading(MEASURES[measure])}: of {count} comparisons {len(called)} are called higher or lower. With the "
        f"chance of a single wrong call among all of them held at {1 - LEVEL:.0%} (Holm, on Student's paired test), "
        f"{names}."
    )


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def html(
    rows: Sequence[Comparison],
    pictures: Sequence[Picture],
    facts: Mapping[str, str],
    document: Mapping[str, Any],
) -> str:
    """The page: figures are vector graphics inside it."""
    told = (f"<dt>{escape(name)}</dt><dd>{_shown(name, text)}</dd>" for name, text in facts.items())
    parts = {"Comparison": _comparison(rows, pictures[:1] if differences(rows) else [])}
    for picture in pictures[bool(differences(rows)) :]:
        parts[_heading(picture.title)] = [_figure(picture)]
    parts["Points"] = [table(*_points(rows, code), numbers=(3, 4))]
    parts["Points"] += [f"<p>{escape(line)}</p>" for line in _left_out(rows, document)]
    links = (f'<a href="#part-{place}">{escape(name)}</a>' for place, name in enumerate(parts))
    body = [f"<dl>{''.join(told)}</dl>", f"<nav>{''.join(links)}</nav>", note(how_to_read(rows, document))]
    for place, (name, content) in enumerate(parts.items()):
        body += [f'<h2 id="part-{place}">{escape(name)}</h2>', *content]
    return page(_title(rows), body)


def _title(rows: Sequence[Comparison]) -> str:
    return f"Ablation of {rows[0].name}"


def _shown(name: str, text: str) -> str:
    return code(text) if name.startswith("command") else escape(text)


def _comparison(rows: Sequence[Comparison], pictures: Sequence[Picture]) -> list[str]:
    """The one table, the differences as a figure, and the numbers that are seldom asked for."""
    heads, cells = _compared(rows, code)
    others = table(*_others(rows, code), numbers=range(1, 1 + 2 * len(measured(rows))))
    return [
        table(heads, cells, numbers=range(1, len(heads))),
        *(note(line) for measure in measured(rows) if (line := of_all(rows, measure))),
        *(_figure(picture) for picture in pictures),
        f"<details><summary>Other numbers</summary>{note(_MIDDLE)}{others}</details>",
    ]


def _heading(text: str) -> str:
    return text[0].upper() + text[1:]


def _figure(picture: Picture) -> str:
    return f'{note(picture.caption)}<div class="wide">{svg_text(picture.figure)}</div>'


def _compared(rows: Sequence[Comparison], name: Callable[[str], str] = str) -> Table:
    """Pairs, and of each measure the mean and the difference from the base, with a verdict if there is one."""
    heads = ["point", "n"]
    for measure in measured(rows):
        heads += [MEASURES[measure], "difference"]
    return heads, [
        [
            name(row.name),
            str(row.pairs),
            *(cell for measure in measured(rows) for cell in _cells(row, measure)),
        ]
        for row in rows
    ]


def _cells(row: Comparison, measure: str) -> tuple[str, str]:
    found = row.measures[measure]
    return _plain(found.mean), _difference(found.difference)


def _others(rows: Sequence[Comparison], name: Callable[[str], str] = str) -> Table:
    """Interquartile mean and P of each measure."""
    heads = ["point"]
    for measure in measured(rows):
        heads += [f"{MEASURES[measure]}, IQM", "P"]
    cells = []
    for row in rows:
        cells.append([name(row.name)])
        for measure in measured(rows):
            found = row.measures[measure]
            known = found.difference is not None and found.difference.low is not None
            cells[-1] += [_plain(found.iqm), f"{found.improvement:.2f}" if known else ""]
    return heads, cells


def _points(rows: Sequence[Comparison], name: Callable[[str], str] = "`{}`".format) -> Table:
    heads = ["point", "what is tested", "edits", "CPU s a run", "wall s a run", "hash"]
    return heads, [
        [
            name(row.name),
            row.doc,
            Html("<br>".join(map(name, row.edits))) if name is code else "; ".join(map(name, row.edits)),
            f"{row.cpu_seconds:.0f}",
            f"{row.wall_seconds:.0f}",
            name(row.hash),
        ]
        for row in rows
    ]


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    interval = "" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    verdict = f" {found.verdict}" if found.verdict in ("higher", "lower") else ""
    return f"{found.mean:+.3f}{interval}{verdict}".replace("-", "−")


def _left_out(rows: Sequence[Comparison], document: Mapping[str, Any]) -> Iterator[str]:
    """Points with runs that have not finished, points without any, and candidates that are no points."""
    for row in rows:
        if row.missing:
            seeds = f"seed{'s' if len(row.missing) > 1 else ''} {', '.join(map(str, row.missing))}"
            yield f"{row.name}: {seeds} not finished."
    there = {row.name for row in rows}
    for point in document["points"]:
        if point["name"] not in there:
            yield f"{point['name']}: no run has finished."
    for one in (*document["impossible"], *document["idle"]):
        yield f"{one['name']}: {one['reason']}."
