"""Columns: consecutive statements of one kind are written like a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

WIDTH = 100
"""Columns a line may have before a pipe is broken or a column given up."""

TEXT_COLUMN = 80
"""The last column at which the texts of a table begin one under the other."""


@dataclass(frozen=True)
class Cell:
    """A piece of a line and the blanks before it."""

    text: str
    gap: int = 1


@dataclass(frozen=True)
class Row:
    """A statement to be written: its first line in cells and a text, the lines after it, and its comments.

    Rows of one `kind`, one under the other, share their first column and that of their texts; those with as
    many cells share all.
    """

    kind: str | None
    cells: tuple[Cell, ...]
    text: str = ""
    below: tuple[str, ...] = ()
    above: tuple[str | None, ...] = ()
    beside: str | None = None

    @property
    def line(self) -> str:
        """The first line without columns and without its text."""
        return _written(self.cells, {})

    @property
    def follows_blank(self) -> bool:
        """Whether a blank line stands before its text, so that it starts a new table."""
        return None in self.above


def aligned(rows: Sequence[Row]) -> list[Row]:
    """The rows with every table's cells in columns, each row's line now being one cell."""
    tables: list[list[Row]] = []
    for row in rows:
        last = tables[-1][-1] if tables else None
        if last is None or row.kind is None or row.kind != last.kind or row.follows_blank:
            tables.append([])
        tables[-1].append(row)
    return [row for table in tables for row in _with_texts(list(_in_columns(table)))]


def _in_columns(rows: list[Row]) -> Iterable[Row]:
    first = max(len(row.cells[0].text) for row in rows)
    for _, group in groupby(rows, key=lambda row: len(row.cells)):
        alike = list(group)
        widths = {0: first} | _widths(alike)
        if any(len(_written(row.cells, widths)) > WIDTH >= len(row.line) for row in alike):
            widths = {0: first}
        for row in alike:
            yield replace(row, cells=(Cell(_written(row.cells, widths)),))


def _with_texts(rows: list[Row]) -> Iterable[Row]:
    """The texts one under the other, unless a long line would push them too far."""
    width = max((len(row.line) for row in rows if row.text), default=0)
    if width + 2 > TEXT_COLUMN:
        width = 0
    for row in rows:
        yield (
            replace(row, cells=(Cell(f"{row.line.ljust(width)}  {row.text}"),), text="") if row.text else row
        )


def _widths(rows: list[Row]) -> dict[int, int]:
    """The width of each column but the first, counting only rows that go on after it."""
    widths = {}
    for column in range(1, len(rows[0].cells) - 1):
        texts = [r.cells[column].text for r in rows if any(cell.text for cell in r.cells[column + 1 :])]
        widths[column] = max(map(len, texts), default=0)
    return widths


def _written(cells: Sequence[Cell], widths: dict[int, int]) -> str:
    """One line. An empty cell of a column leaves its place empty; without a column it takes none."""
    line = ""
    for column, cell in enumerate(cells):
        width = widths.get(column, 0)
        if cell.text or width:
            line += (" " * cell.gap if line else "") + cell.text.ljust(width)
    return line.rstrip()
