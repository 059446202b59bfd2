"""Grids whose runs a program of somebody's own makes: its commands, how its runs end, and what is read of them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.folder import read_grid, write_grid
from maspo_dsl.ablation.launchers import LocalProcesses
from maspo_dsl.ablation.program import read_program
from maspo_dsl.ablation.report.comparison import compare
from maspo_dsl.ablation.report.formats import ColumnNames, columns_of, read_steps
from maspo_dsl.ablation.report.page import how_to_read
from maspo_dsl.ablation.report.results import read_results
from maspo_dsl.ablation.request import Request
from maspo_dsl.ablation.runner import run_grid

COMMAND = str(Path(sys.executable).parent / "maspo-dsl")
# Writes what it was called with, and rewards that depend on the objective's text and the seed.
TRAINER = """
import json, os, pathlib, sys, time
file, seed, run, mode = sys.argv[1:]
run = pathlib.Path(run)
if mode == "hang" and not (run / "stopped").exists():
    (run / "begun").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        (run / "stopped").touch()
        raise
if mode == "fails" and "\\nswap " in pathlib.Path(file).read_text():
    sys.exit("the gate is gone")
if mode != "silent":
    better = 0.5 if "\\nswap " in pathlib.Path(file).read_text() else 0.25
    history = [{"step": step, "reward": better + int(seed) / 100} for step in range(1, 21)]
    history.append({"step": 20, "eval_reward": better})
    (run / "trainer_state.json").write_text(json.dumps({"global_step": 20, "log_history": history}))
"""


@pytest.fixture
def trainer(tmp_path):
    """The command of a trainer that ends in some way."""
    file = tmp_path / "my trainer.py"
    file.write_text(TRAINER)
    return lambda mode: f"{sys.executable} '{file}' {{file}} {{seed}} {{run}} {mode}"


def run(folder, command, seeds=1):
    request = Request(swap={"gate": ("clip(0.8, 1.2)",)})
    grid = write_grid("maspo", request, {}, seeds, folder)
    return run_grid(grid, (), LocalProcesses(2), lambda board: None, read_program(command, seeds))


def test_a_grid_is_run_once_and_reported(trainer, tmp_path):
    board = run(tmp_path / "grid", trainer("well"), seeds=2)
    assert board.counts["finished"] == len(board.jobs) == 2 * len(read_grid(tmp_path / "grid").points)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.glob("grid/runs/*/trainer_state.json")}
    again = run(tmp_path / "grid", trainer("well"), seeds=2)
    assert again.counts == board.counts
    assert all(file.stat().st_mtime_ns == when for file, when in written.items())
    grid = read_grid(tmp_path / "grid")
    rows = compare(read_results(grid))
    assert rows[0].measures["final_reward"].mean == pytest.approx(0.255)
    assert rows[1].measures["final_greedy"].mean == 0.5
    assert rows[1].measures["mean_reward"].difference.mean == pytest.approx(0.25)
    assert rows[0].wall_seconds > 0 and rows[0].cpu_seconds > 0
    assert "what runs of a seed share, `" in how_to_read(rows, grid.manifest)
    other = run(tmp_path / "grid", trainer("silent"), seeds=2)
    assert not {job.key for job in other.jobs} & {job.key for job in board.jobs}, (
        "another command, other runs"
    )


def test_a_run_that_fails_or_measures_nothing_has_not_finished(trainer, tmp_path):
    board = run(tmp_path / "one", trainer("fails"))
    failed = {job.name: why for job, why in board.reasons.items()}
    assert board.counts["finished"] == len(board.jobs) - len(failed) > 0
    assert (
        "the gate is gone" in failed["maspo_gate_clip_0_8_1_2"]
        and "ended with 1" in failed["maspo_gate_clip_0_8_1_2"]
    )
    board = run(tmp_path / "two", trainer("silent"))
    assert board.counts == {"failed": len(board.jobs)}
    assert all(
        "no metrics that can be read: it has none of metrics.jsonl" in why for why in board.reasons.values()
    )


def test_ctrl_c_reaches_the_program_and_the_next_command_goes_on(trainer, tmp_path):
    typed = [COMMAND, "ablate", "maspo", "--swap", "gate=clip(0.8, 1.2)", "--run", "--workers", "2"]
    typed += ["--command", trainer("hang"), "-o", str(tmp_path / "grid")]
    process = subprocess.Popen(typed, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len([*tmp_path.glob("grid/runs/*/begun")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert len([*tmp_path.glob("grid/runs/*/stopped")]) == 2
    assert subprocess.run(typed, capture_output=True, check=False).returncode == 0
    kept = read_grid(tmp_path / "grid").manifest
    assert (kept["ran"], kept["command"]) == (
        shlex.join(["maspo-dsl", *typed[1:]]),
        shlex.join(shlex.split(typed[-3])),
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "--command names no program"),
        ("train 'x", "no closing quotation"),
        ("train {file} {runs}", "no run has a `{runs}`; did you mean `run`?"),
        ("train {run}", "--command names no {file}"),
        ("train {file}", "--command names no {run}"),
        ("train {file} {run}", "--command names no {seed}"),
    ],
)
def test_commands_that_cannot_be(command, message):
    with pytest.raises(GridError) as error:
        read_program(command, seeds=2)
    assert message in str(error.value)


def test_braces_of_a_command_are_kept():
    program = read_program("""train --options '{{"run": "{run}", "file": {"a b": "{file}"}}}'""", seeds=1)
    assert program.command({"run": "r s", "file": "f"}) == (
        "train",
        "--options",
        '{"run": "r s", "file": {"a b": "f"}}',
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--command", "true {file} {run}"], "--command is of the runs"),
        (
            ["--run", "--command", "true {file} {run}", "trainer.max_steps=3"],
            "`trainer.max_steps=3` is of `maspo-dsl",
        ),
        (["--run", "--command", "no-such-program {file} {run}"], "no program `no-such-program`"),
    ],
)
def test_options_that_mean_nothing_write_nothing(options, message, tmp_path):
    typed = [COMMAND, "ablate", "maspo", "--leave-one-out", "-o", str(tmp_path / "grid"), *options]
    done = subprocess.run(typed, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "grid").exists()


def jsonl(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_verl_writes(tmp_path):
    rows = [{"step": 0, "data": {"val-core/gsm8k/acc/mean@4": 0.1}}]
    rows += [{"step": 2, "data": {"critic/score/mean": 0.7, "actor/entropy": 1.5, "critic/score/max": 1}}]
    jsonl(tmp_path / "project/experiment.jsonl", rows)
    jsonl(tmp_path / "rollout/2.jsonl", [{"step": 2, "output": "text"}])
    columns = columns_of(read_steps(tmp_path), ColumnNames())
    assert columns["reward"][2] == 0.7 and columns["eval/greedy"][0] == 0.1 and columns["entropy"][2] == 1.5
    assert [len(column) for column in columns.values()] == [3] * len(columns)


def test_the_state_that_got_furthest_is_read_and_metrics_of_ours_first(tmp_path):
    for steps in (9, 10):
        folder = tmp_path / f"checkpoint-{steps}"
        folder.mkdir()
        history = [{"step": steps, "reward": steps, "objective/gated_pos": 0.25}]
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": steps, "log_history": history}))
    columns = columns_of(read_steps(tmp_path), ColumnNames())
    assert columns["reward"][-1] == 10 and columns["gated_pos"][10] == 0.25
    jsonl(
        tmp_path / "metrics.jsonl", [{"step": 1, "return": 3.0}, {"step": 1, "return": 4.0, "reward": None}]
    )
    steps = read_steps(tmp_path)
    assert columns_of(steps, ColumnNames(reward="return"))["reward"][1] == 4
    with pytest.raises(ValueError, match="no column is called reward; there are: return"):
        columns_of(steps, ColumnNames())
    with pytest.raises(ValueError, match="no column is called accuracy"):
        columns_of(steps, ColumnNames("return", "accuracy"))


def test_event_files_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    for first in (0, 2):
        with SummaryWriter(tmp_path / "events" / str(first)) as writer:
            for step in range(first, first + 2):
                writer.add_scalar("train/reward", step / 4, step)
    columns = columns_of(read_steps(tmp_path), ColumnNames())
    assert columns["reward"].tolist() == [0, 0.25, 0.5, 0.75]
