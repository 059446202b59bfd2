"""The live table of a grid's runs; without a terminal, a line for each change."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from maspo_dsl.cli.output import counted

if TYPE_CHECKING:
    from maspo_dsl.ablation.jobs import Job, State
    from maspo_dsl.ablation.runner import Board

_STYLES = {"finished": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "waiting": "dim"}


class BoardView:
    """Shows a board on standard error while it is entered."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        self.shown: dict[Job, State] = {}

    def __enter__(self) -> BoardView:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, board: Board) -> None:
        """Bring the table up to date, or say what has changed."""
        if self.live is not None:
            self.live.update(board_table(board))
            return
        if not self.shown:
            self.shown = dict(board.states)
            if board.counts["finished"]:
                self.console.print(f"{board.counts['finished']} of {len(board.jobs)} had finished before")
        for job, state in board.states.items():
            if self.shown[job] != state:
                done = board.counts["finished"]
                self.console.print(
                    f"[{done}/{len(board.jobs)}] {job.name} seed {job.seed}: {state}", highlight=False
                )
                self.shown[job] = state


def board_table(board: Board) -> Table:
    """Points down, seeds across: steps done of each run, or how it ended."""
    seeds = sorted({job.seed for job in board.jobs})
    table = Table(title=f"{counted(len(board.jobs), 'run')}, {board.counts['finished']} finished")
    table.add_column("point")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for name in dict.fromkeys(job.name for job in board.jobs):
        cells = {job.seed: _cell(board, job) for job in board.jobs if job.name == name}
        table.add_row(name, *[cells.get(seed, "") for seed in seeds])
    return table


def _cell(board: Board, job: Job) -> str:
    state = board.states[job]
    text = f"{job.steps_done}/{job.steps}" if state == "running" and job.steps else state
    return f"[{_STYLES[state]}]{text}[/]"
