"""The lines a run prints: a live bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .metrics import Row

# Names of metrics as a line shows them, and how.
SHOWN = {
    "reward": ("reward", "{:.3f}"),
    "eval/greedy": ("greedy", "{:.3f}"),
    "loss": ("loss", "{:+.4f}"),
    "gated_pos": ("gated+", "{:.1%}"),
    "gated_neg": ("gated-", "{:.1%}"),
    "kl": ("kl", "{:.4f}"),
    "entropy": ("entropy", "{:.3f}"),
    "tokens_per_second": ("tokens/s", "{:.0f}"),
}
SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows rows and says lines. On a terminal the latest row stands in a bar that is drawn over and over."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        """Show nothing yet."""
        self.total = total
        self.console = console or Console()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._greedy: float | int | None = None
        self._said_at = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, step: int) -> None:
        """Begin at a step."""
        if self.console.is_terminal:
            columns = (BarColumn(12), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
            self._bar = Bar(*columns, console=self.console)
            self._task = self._bar.add_task("", total=self.total, completed=step)
            self._bar.start()

    def show(self, row: Row) -> None:
        """Show a row in the bar; as a line if it has a held-out reward or, without a bar, steps are slow."""
        if self._bar is not None and self._task is not None:
            self._greedy = self._greedy if row.get("eval/greedy") is None else row["eval/greedy"]
            shown = self.line({**row, "eval/greedy": self._greedy})
            self._bar.update(self._task, completed=int(row["step"] or 0), description=shown)
        waited = self._bar is None and time.monotonic() - self._said_at > SECONDS_BETWEEN_LINES
        if waited or row.get("eval/greedy") is not None or row["step"] == self.total:
            self._said_at = time.monotonic()
            self.say(self.line(row))

    def line(self, row: Row) -> str:
        """A row as text."""
        width = len(str(self.total))
        parts = [
            f"{name} {form.format(row[key])}"
            for key, (name, form) in SHOWN.items()
            if row.get(key) is not None
        ]
        return "  ".join([f"step {row['step']:>{width}}/{self.total}", *parts])

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
