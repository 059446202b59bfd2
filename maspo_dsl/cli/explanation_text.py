"""An explanation as lines for a terminal or a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from maspo_dsl.notation.explanation import Explanation, ParameterRow
from maspo_dsl.notation.formula import Formula
from maspo_dsl.semantics.domains import number_text

WIDTH = 110


def explanation_lines(found: Explanation) -> Iterator[str]:
    """The whole explanation."""
    yield from _wrapped("", f"{found.name}: {found.meaning}" if found.meaning else found.name)
    yield ""
    lineage = " extends ".join([found.name, *reversed(found.extends)])
    about = [("file", found.file), ("hash", found.hash), *(("source", source) for source in found.sources)]
    about += [("lineage", lineage)] if found.extends else []
    yield from _pairs(about)
    yield from _section("Formula", formula_lines(found.formula))
    yield from _section("Parameters", _parameters(found.parameters))
    yield from _section("What the compiler does", _pairs(_compiled(found)))
    yield from _section("What others do otherwise", _list(found.differs))
    tensors = [(t.name, f"{t.shape}  {t.meaning}  (for {', '.join(t.needed_by)})") for t in found.tensors]
    yield from _section("Tensors of the batch", _pairs(tensors))
    origins = [
        (o.part, o.place + (f", inherited from {o.inherited}" if o.inherited else "")) for o in found.origins
    ]
    yield from _section("Where each part is written", _pairs(origins))
    yield from _section("What `drop NAME` does", _pairs((d.name, d.effect) for d in found.drops))
    yield from _section("Variants", _pairs((v.name, v.text) for v in found.variants))
    yield from _section("Sweeps", _pairs((s.name, s.text) for s in found.sweeps))
    yield from _section("Acknowledged warnings", _pairs((a.name, a.text) for a in found.allowed))
    yield from _section("Warnings", _list(found.warnings))


def _compiled(found: Explanation) -> Iterator[tuple[str, str]]:
    yield from ((convention.about, convention.text) for convention in found.conventions)
    yield "coupling of tokens", found.coupling.text
    yield "from hidden states", found.coupling.visits


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A title and its lines; nothing where there are none."""
    body = list(lines)
    if body:
        yield from ["", title, *body]


def _pairs(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names in a column, their texts beside, wrapped."""
    table = list(rows)
    width = max((len(name) for name, _ in table), default=0)
    for name, text in table:
        yield from _wrapped(f"  {name:<{width}}  ", text)


def _list(texts: Iterable[str]) -> Iterator[str]:
    return (line for text in texts for line in _wrapped("  ", text))


def _wrapped(start: str, text: str) -> list[str]:
    blank = " " * len(start)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=blank,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start.rstrip()]


def formula_lines(formula: Formula) -> Iterator[str]:
    """The lines of a formula, of what it calls, and of what its symbols mean."""
    width = max(len(line.symbol) for line in formula.lines)
    for line in formula.lines:
        start = f"  {line.symbol:<{width}} {'=' if line.symbol else ' '} "
        note = f"   [{line.note}]" if line.note and line.note != line.symbol else ""
        yield from _wrapped(start, line.text + note)
    if formula.helpers:
        yield "  where"
        for helper in formula.helpers:
            yield from _wrapped(f"    {helper.call} = ", helper.body)
            if helper.meaning:
                yield from _wrapped("        ", helper.meaning)
    if formula.legend:
        yield "  symbols"
        yield from (f"  {line}" for line in _pairs(formula.legend))


def _parameters(rows: Sequence[ParameterRow]) -> Iterator[str]:
    read = [row for row in rows if not row.unread]
    table = [("", "value", "in", "from", "meaning")] if read else []
    table += [(row.name, number_text(row.value), row.interval, row.origin, row.meaning) for row in read]
    widths = [max(len(row[column]) for row in table) for column in range(4)] if table else []
    for cells in table:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        yield f"  {'  '.join(padded)}  {cells[4]}".rstrip()
    unread = [row.name for row in rows if row.unread]
    if unread:
        yield f"  inherited and not read here: {', '.join(unread)}"
