"""The lines a run prints: a live one on a terminal, plain ones everywhere else."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from .columns import COLUMNS
from .metrics import Row

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows rows and says lines. On a terminal the latest row is drawn over and over."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        """Show nothing yet."""
        self.total = total
        self.console = console or Console()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._logged_at = time.monotonic()

    def log(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, step: int) -> None:
        """Begin at a step."""
        if not self.console.is_terminal:
            return
        if self._bar is None or self._task is None:
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TextColumn("{task.fields[stage]}", style="dim"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=self.total, completed=step, stage="")
            self._bar.start()
        self._bar.update(self._task, completed=step)

    def stage(self, text: str) -> None:
        """Show what the present step is at; nothing off a terminal."""
        if self._bar is None:
            self.start(0)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, stage=text)

    def show(self, row: Row) -> None:
        """Show a row live; as a line if it has a held-out reward or, off a terminal, steps are slow."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=int(row["step"] or 0), description=self.line(row))
        waited = self._bar is None and time.monotonic() - self._logged_at > SECONDS_BETWEEN_LINES
        if waited or row.get("eval/greedy") is not None or row["step"] == self.total:
            self._logged_at = time.monotonic()
            self.log(self.line(row))

    def line(self, row: Row) -> str:
        """A row as text."""
        width = len(str(self.total))
        if row.get("gated_neg") is not None and row.get("gated_pos") is None:  # no advantage was positive
            row = {**row, "gated_pos": 0.0}
        shown = [column for column in COLUMNS.values() if row.get(column.name) is not None]
        parts = [column.progress.format(row[column.name]) for column in shown]
        return "".join([f"step {row['step']:>{width}}/{self.total}", *parts])

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
