"""What is shown while a grid runs: a table on a terminal, a line for each change elsewhere."""

import io
import json

import pytest
from rich.console import Console

from maspo_dsl.ablation.jobs import Job
from maspo_dsl.ablation.runner import Board
from maspo_dsl.cli.board import BoardView


@pytest.fixture
def board(tmp_path) -> Board:
    """Two points and two seeds, of which one run has finished before."""
    jobs = []
    for seed in (0, 1):
        for name in ("base", "other"):
            folder = tmp_path / f"{name}-s{seed}"
            folder.mkdir()
            jobs.append(Job(name, f"{name}.obj", seed, (), folder, f"{name}{seed}", 60))
    result = {
        "key": "base0",
        "point": "base",
        "seed": 0,
        "steps": 60,
        "cpu_seconds": 9.0,
        "wall_seconds": 9.0,
    }
    (jobs[0].folder / "result.json").write_text(json.dumps(result))
    return Board(tuple(jobs))


def test_lines_say_what_changed_and_only_that(board):
    text = io.StringIO()
    with BoardView(Console(file=text, width=120)) as view:
        view.show(board)
        board.take(board.jobs[1], None)
        view.show(board)
        view.show(board)
        board.take(board.jobs[1], 1)
        board.take(board.jobs[2], 130)
        view.show(board)
    assert text.getvalue().splitlines() == [
        "1 of 4 had finished before",
        "[1/4] other seed 0: running",
        "[1/4] other seed 0: failed",
        "[1/4] base seed 1: interrupted",
    ]


def test_table_shows_steps_of_runs(board):
    text = io.StringIO()
    board.take(board.jobs[1], None)
    rows = "".join(f"{step}\n" for step in ("step", *range(31)))
    (board.jobs[1].folder / "metrics.csv").write_text(rows)
    with BoardView(Console(file=text, width=100, force_terminal=True, color_system=None)) as view:
        view.show(board)
    lines = [line.split("│") for line in text.getvalue().splitlines()]
    cells = [[cell.strip() for cell in line[1:-1]] for line in lines if len(line) == 5]
    assert ["base", "finished", "waiting"] in cells and ["other", "30/60", "waiting"] in cells
    assert "4 runs, 1 finished" in text.getvalue()
