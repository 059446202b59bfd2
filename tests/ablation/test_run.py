"""Runs of a grid: shared starts, nothing done twice, nothing lost when everything is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from maspo_dsl.trainers.columns import COLUMNS
from maspo_dsl.trainers.config_error import ConfigError

from maspo_dsl.ablation.folder import read_grid, write_grid
from maspo_dsl.ablation.jobs import jobs_of
from maspo_dsl.ablation.launchers import LocalProcesses, RayCluster, SlurmJobs
from maspo_dsl.ablation.request import Request
from maspo_dsl.ablation.runner import run_grid

TIMING = tuple(column.name for column in COLUMNS.values() if column.by == "clock")

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
COMMAND = str(BIN / "maspo-dsl")


@pytest.fixture(scope="module")
def brief(tmp_path_factory) -> list[str]:
    """Overrides that make a step take a moment."""
    cache = tmp_path_factory.mktemp("cache")
    small = [
        "trainer.eval_prompts=16",
        "rollout.prompts=8",
        "rollout.samples=4",
        "trainer.checkpoint_every=1",
    ]
    return [f"cache={cache}", *small, "trainer.max_steps=4"]


def metrics(grid: Path) -> dict[str, list[dict]]:
    """Rows of every run of a grid, without what the clock decides."""
    found = {}
    for name in read_grid(grid).manifest["runs"]:
        lines = (grid / name / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        found[name] = [{key: value for key, value in row.items() if key not in TIMING} for row in rows]
    return found


def run(folder: Path, overrides: list[str], launcher=None, seeds: int = 1):
    request = Request(swap={"gate": ("clip(0.8, 1.2)",)})
    grid = write_grid("maspo", request, {}, seeds, folder)
    return run_grid(grid, overrides, launcher or LocalProcesses(2), lambda board: None)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, brief) -> Path:
    """A grid of two points that ran without a stop."""
    folder = tmp_path_factory.mktemp("reference") / "grid"
    board = run(folder, brief)
    assert board.counts == {"finished": 2}, board.reasons
    return folder


def test_points_share_their_start_and_their_prompts(reference):
    base, swapped = metrics(reference).values()
    assert base[0] == swapped[0] and base[0]["reward"] is not None
    prompts = [
        json.loads((reference / name / "samples.jsonl").read_text().splitlines()[0])["prompt"]
        for name in read_grid(reference).manifest["runs"]
    ]
    assert prompts[0] == prompts[1]
    assert base[-1] != swapped[-1], "another objective, another course"


def test_what_is_finished_is_not_run_again(reference, brief):
    results = {path: path.stat().st_mtime_ns for path in reference.rglob("result.json")}
    board = run(reference, brief)
    assert board.counts == {"finished": 2}
    assert results == {path: path.stat().st_mtime_ns for path in reference.rglob("result.json")}
    # Other settings are other runs: nothing of the first ones is touched.
    other = jobs_of(read_grid(reference), [*brief, "trainer.learning_rate=1e-3"])
    assert not any(job.finished or job.folder.exists() for job in other)


def test_ten_kills_change_nothing(reference, brief, tmp_path):
    """kill -9 of everything at ten random moments; what is there in the end is what was there without."""
    folder, moments = tmp_path / "grid", random.Random(0)
    command = [COMMAND, "ablate", "maspo", "--swap", "gate=clip(0.8, 1.2)"]
    command += ["-o", str(folder), "--run", "--workers", "2", *brief]
    for _ in range(10):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.5, 12))
        except subprocess.TimeoutExpired:
            kill_everything(process, folder)
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert metrics(folder) == metrics(reference)


def test_ctrl_c_lets_the_steps_finish_and_is_gone_on_with(reference, brief, tmp_path):
    folder = tmp_path / "grid"
    command = [COMMAND, "ablate", "maspo", "--swap", "gate=clip(0.8, 1.2)"]
    command += ["-o", str(folder), "--run", "--workers", "2", *brief]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(folder.glob("runs/*/metrics.jsonl")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors and "Traceback" not in errors
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert metrics(folder) == metrics(reference)


def kill_everything(process: subprocess.Popen, folder: Path) -> None:
    """Kill the command and every process of its runs, as a machine that loses power does."""
    process.kill()
    process.wait()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in words and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)


def test_a_run_that_fails_stops_no_other(brief, tmp_path, monkeypatch):
    """The reward of one run raises; the others finish, and the command says which failed."""
    (tmp_path / "rewards.py").write_text(
        "import os\n\ndef picky(prompts, completions, **columns):\n"
        "    if os.path.exists('broken'):\n        raise RuntimeError('the judge is away')\n"
        "    return [float(len(c)) for c in completions]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "broken").write_text("")
    command = [COMMAND, "ablate", "maspo", "--swap", "gate=clip(0.8, 1.2)"]
    command += ["-o", "grid", "--run", *brief, "reward=rewards.picky"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.count("the judge is away") == 2 and "Traceback" not in failed.stderr
    (tmp_path / "broken").unlink()
    healed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert healed.returncode == 0, healed.stderr


def test_bad_settings_start_nothing(brief, tmp_path):
    grid = write_grid("maspo", Request(swap={"gate": ("clip(0.8, 1.2)",)}), {}, 1, tmp_path / "grid")
    with pytest.raises(ConfigError, match="max_steps"):
        run_grid(grid, [*brief, "trainer.max_stepz=3"], LocalProcesses(1), lambda board: None)
    assert not (grid.path / "runs").exists()


def test_slurm_of_this_machine(reference, brief, tmp_path):
    pytest.importorskip("submitit")
    folder = tmp_path / "grid"
    board = run(folder, brief, SlurmJobs(folder / "runs" / "slurm", {"timeout_min": 10}, "local"))
    assert board.counts == {"finished": 2}, board.reasons
    assert metrics(folder) == metrics(reference)


def test_ray_cluster_of_this_machine(reference, brief, tmp_path):
    pytest.importorskip("ray")
    folder, ray = tmp_path / "grid", str(BIN / "ray")
    start = [
        "start",
        "--head",
        "--port=0",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    subprocess.run([ray, *start], check=True, capture_output=True)
    try:
        board = run(folder, brief, RayCluster())
    finally:
        subprocess.run([ray, "stop", "--force"], check=False, capture_output=True)
    assert board.counts == {"finished": 2}, board.reasons
    assert metrics(folder) == metrics(reference)
