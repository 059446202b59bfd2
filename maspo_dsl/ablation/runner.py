"""Runs of a grid from beginning to end: what is finished is left alone, what was stopped goes on."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from maspo_dsl.ablation.folder import GridFolder, record_runs
from maspo_dsl.ablation.jobs import Job, State, jobs_of, preparations, program_jobs_of
from maspo_dsl.ablation.launchers import Launcher
from maspo_dsl.ablation.program import Program
from maspo_dsl.ablation.worker import INTERRUPTED

_LAST_LINES = 3


@dataclass
class Board:
    """What is known of every run; the launcher writes on it, the live table reads it."""

    jobs: tuple[Job, ...]
    states: dict[Job, State] = field(default_factory=dict)
    reasons: dict[Job, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = {job: "finished" if job.finished else "waiting" for job in self.jobs}

    def take(self, job: Job | None, code: int | None) -> None:
        """A job has started, or has ended with an exit code."""
        if job is None or job not in self.states:
            return
        if code is None:
            self.states[job] = "running"
        elif code == 0 and job.finished:
            self.states[job] = "finished"
        elif code == INTERRUPTED:
            self.states[job] = "interrupted"
        else:
            self.states[job] = "failed"
            self.reasons[job] = last_lines(job)

    @property
    def counts(self) -> Counter[State]:
        """How many runs are in each state."""
        return Counter(self.states.values())


def run_grid(
    grid: GridFolder,
    overrides: Sequence[str],
    launcher: Launcher,
    show: Callable[[Board], None],
    program: Program | None = None,
    ran: str = "",
) -> Board:
    """Make every run of a grid that is not finished; `show` is called whenever something may have changed.

    `ran` is the command line that this is done for, which the grid keeps.

    All points of a seed start from the same weights and see the same prompts, unless a `program` decides otherwise.
    Raises ConfigError and SpecError before anything starts; a run that fails is noted on the board and does not stop
    the others.
    """
    board = Board(tuple(jobs_of(grid, overrides) if program is None else program_jobs_of(grid, program)))
    command = None if program is None else shlex.join(program.words)
    record_runs(grid, [job.folder for job in board.jobs], ran, command)
    unfinished = [job for job in board.jobs if board.states[job] != "finished"]
    show(board)
    if not unfinished:
        return board

    def watch(job: Job | None, code: int | None) -> None:
        board.take(job, code)
        show(board)

    shared = preparations(unfinished) if program is None else []
    for job in (*shared, *unfinished):
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        job.write()
    try:
        launcher.launch(shared, watch)
        launcher.launch(unfinished, watch)
    except KeyboardInterrupt:
        board.states |= {job: "interrupted" for job, state in board.states.items() if state == "running"}
    show(board)
    return board


def last_lines(job: Job) -> str:
    """The end of a job's log: why it failed."""
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it left no log"
    return "\n".join(lines[-_LAST_LINES:])
