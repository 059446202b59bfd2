"""The report as one HTML page that needs nothing else, and as a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from maspo_dsl.ablation.report.comparison import MEASURES, Comparison, Measure, remaining
from maspo_dsl.ablation.report.pictures import Picture
from maspo_dsl.ablation.report.results import FINAL_EVALUATIONS
from maspo_dsl.ablation.report.statistics import FEWEST_PAIRS, LEVEL, Difference

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #555; white-space: nowrap; } td.n, th.n { text-align: right; white-space: nowrap; }
code { font-size: .85em; } .wide { overflow-x: auto; } svg { max-width: 100%; min-width: 44rem; height: auto; }
h2 { margin-top: 2.5rem; } .note { color: #555; max-width: 50rem; }
"""


def how_to_read(rows: Sequence[Comparison], document: Mapping[str, Any]) -> str:
    """What the numbers are, and what they cannot show."""
    return (
        f"{_what_n_is(rows)} Final reward is the mean over the last tenth of the steps, mean reward over all of them "
        f"(the area under the curve), held-out greedy the mean of the last {FINAL_EVALUATIONS} measurements. "
        f"Differences are from {rows[0].name}, paired by seed{_what_a_seed_is(document)}. "
        f"Brackets are {LEVEL:.0%} bootstrap intervals over seeds, which are too narrow for a "
        "few seeds: a point is called higher or lower only if Student's paired interval leaves out 0 as well, and "
        f"with fewer than {FEWEST_PAIRS} pairs nothing is called. Each is looked at as if it were the only one; below "
        "a table stands what remains of all together. IQM is the interquartile mean; P the chance that a run of the "
        "point is above a run of the base."
    )


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
    if "command" in document:
        return f"; what runs of a seed share, `{document['command']}` decides"
    return ": every seed starts all points from the same weights with the same prompts"


def markdown(rows: Sequence[Comparison], document: Mapping[str, Any]) -> str:
    """The table, a section for each measure, and what it means."""
    lines = [f"# Ablation of {rows[0].name}", "", how_to_read(rows, document), ""]
    for measure, title in MEASURES.items():
        if all(math.isnan(row.measures[measure].mean) for row in rows):
            continue
        lines += [f"## {title.capitalize()}", "", "| point | n | mean | IQM | difference | | P |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        for row in rows:
            lines.append(f"| {row.name} | {row.pairs} | {' | '.join(_cells(row.measures[measure]))} |")
        lines += ["", *_paragraph(of_all(rows, measure))]
    lines += ["## Points", "", "| point | edits | CPU seconds a run | wall seconds a run |"]
    lines += ["| --- | --- | --- | --- |"]
    for row in rows:
        edits = "; ".join(f"`{edit}`" for edit in row.edits).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row.name} | {edits} | {row.cpu_seconds:.0f} | {row.wall_seconds:.0f} |")
    lines += ["", *_left_out(rows, document)]
    return "\n".join(lines).rstrip() + "\n"


def of_all(rows: Sequence[Comparison], measure: str) -> str:
    """What remains of the verdicts when the number of comparisons is counted."""
    called, kept = remaining(rows, measure)
    count = sum(row.measures[measure].difference is not None for row in rows)
    if len(called) == 0 or count == 1:
        return ""
    names = f"{', '.join(kept)} {'remains' if len(kept) == 1 else 'remain'}" if kept else "none remains"
    return (
        f"Of {count} comparisons {len(called)} are called higher or lower. With the chance of a single wrong call "
        f"among all of them held at {1 - LEVEL:.0%} (Holm, on Student's paired test), {names}."
    )


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def html(rows: Sequence[Comparison], pictures: Sequence[Picture], document: Mapping[str, Any]) -> str:
    """The page: figures are vector graphics inside it."""
    title = f"Ablation of {rows[0].name}"
    body = [f"<h1>{escape(title)}</h1>", f'<p class="note">{escape(how_to_read(rows, document))}</p>']
    for measure, name in MEASURES.items():
        if not all(math.isnan(row.measures[measure].mean) for row in rows):
            body += [f"<h2>{_heading(name)}</h2>", _html_table(rows, measure)]
            body += [
                f'<p class="note">{escape(line)}</p>' for line in _paragraph(of_all(rows, measure)) if line
            ]
            body += [_figure(picture) for picture in pictures if picture.measure == measure]
    for picture in pictures:
        if picture.measure is None:
            body += [f"<h2>{_heading(picture.title)}</h2>", _figure(picture)]
    body += ["<h2>Points</h2>", _points(rows)]
    body += [f"<p>{escape(line)}</p>" for line in _left_out(rows, document) if line]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{chr(10).join(body)}\n</body></html>\n'
    )


def _heading(text: str) -> str:
    return escape(text[0].upper() + text[1:])


def _figure(picture: Picture) -> str:
    return f'<p class="note">{escape(picture.caption)}</p><div class="wide">{picture.svg}</div>'


def _html_table(rows: Sequence[Comparison], measure: str) -> str:
    heads = ("n", "mean", "IQM", "difference", "", "P")
    lines = ["<th>point</th>" + "".join(f'<th class="n">{head}</th>' for head in heads)]
    for row in rows:
        cells = [str(row.pairs), *_cells(row.measures[measure])]
        numbers = "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
        lines.append(f"<td><code>{escape(row.name)}</code></td>{numbers}")
    return '<div class="wide"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _points(rows: Sequence[Comparison]) -> str:
    heads = ("point", "what is tested", "edits", "hash", "CPU s", "wall s")
    lines = ["".join(f"<th>{head}</th>" for head in heads)]
    for row in rows:
        edits = "<br>".join(f"<code>{escape(edit)}</code>" for edit in row.edits)
        cost = f'<td class="n">{row.cpu_seconds:.0f}</td><td class="n">{row.wall_seconds:.0f}</td>'
        names = f"<td><code>{escape(row.name)}</code></td><td>{escape(row.doc)}</td>"
        lines.append(f"{names}<td>{edits}</td><td><code>{row.hash}</code></td>{cost}")
    return '<div class="wide"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _cells(measure: Measure) -> tuple[str, str, str, str, str]:
    """Mean, IQM, difference, verdict and P as text."""
    found = measure.difference
    chance = "" if found is None or found.low is None else f"{measure.improvement:.2f}"
    verdict = "" if found is None else found.verdict
    return f"{measure.mean:.3f}", f"{measure.iqm:.3f}", _difference(found), verdict, chance


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    interval = "" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.mean:+.3f}{interval}".replace("-", "−")


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
