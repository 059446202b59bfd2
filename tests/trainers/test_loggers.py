"""Loggers by name: each gets every row, and what is not installed or not known is named before anything is made."""

import json
import sqlite3
import sys
import time

import pytest
from maspo_dsl.trainers import loggers
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.loggers import LOGGERS, Loggers, logger_names

ROWS = [{"step": 0, "reward": 0.25, "eval/greedy": None}, {"step": 1, "reward": 0.5, "eval/greedy": 0.75}]


def log_rows(folder, name):
    """What a run does with a logger."""
    folder.mkdir()
    made = Loggers(read_config([f"logger={name}", "params.alpha=0.5"]), folder)
    for row in ROWS:
        made.add(row)
    made.close("success")


def test_tensorboard_gets_every_row(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_rows(tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("reward")] == [(0, 0.25), (1, 0.5)]
    assert [(each.step, each.value) for each in events.Scalars("eval/greedy")] == [(1, 0.75)]


@pytest.mark.slow
def test_wandb_gets_every_row_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log_rows(tmp_path / "run", "wandb")
    [file] = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    until = time.monotonic() + 20  # another process writes it
    while b"eval/greedy" not in file.read_bytes() and time.monotonic() < until:
        time.sleep(0.2)
    content = file.read_bytes()
    assert b"eval/greedy" in content and b"0.75" in content and b"alpha" in content


@pytest.mark.slow
def test_mlflow_gets_every_row(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    log_rows(tmp_path / "run", "mlflow")
    with sqlite3.connect(tmp_path / "run" / "mlflow.db") as data:
        found = data.execute("select step, value from metrics where key = 'reward' order by step").fetchall()
        settings = dict(data.execute("select key, value from params").fetchall())
    assert found == [(0, 0.25), (1, 0.5)]
    assert settings["params/alpha"] == "0.5"


def test_trackio_gets_every_row(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    log_rows(tmp_path / "run", "trackio")
    [file] = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as data:
        found = data.execute("select step, metrics from metrics order by step").fetchall()
    assert [step for step, _ in found] == [0, 1]
    assert json.loads(found[1][1])["reward"] == 0.5


class Kept:
    """A logger that remembers."""

    def __init__(self, folder):
        self.rows, self.settings, self.status, self.folder = [], None, None, folder

    def log_hyperparams(self, settings):
        self.settings = settings

    def log_metrics(self, metrics, step):
        self.rows.append((step, metrics))

    def finalize(self, status):
        self.status = status


@pytest.fixture
def kept(monkeypatch):
    made = []
    monkeypatch.setattr(loggers, "LOGGERS", {"pytest": lambda folder: made.append(Kept(folder)) or made[-1]})
    return made


def test_a_run_tells_its_loggers_what_metrics_have(stand_in, tmp_path, kept, here):
    """The rows of metrics.jsonl with what is none left out, the settings, and how it ended."""
    here("run=run", "logger=pytest", "trainer.eval_every=2", steps=2, spec="clip")
    [logger] = kept
    assert [step for step, _ in logger.rows] == [0, 1, 2]
    assert "eval/greedy" in logger.rows[0][1] and "eval/greedy" not in logger.rows[1][1]
    assert logger.settings["trainer"]["max_steps"] == 2
    assert (logger.status, str(logger.folder)) == ("success", "run")


def test_loggers_hear_that_a_run_failed(here, tmp_path, kept):
    """One answer too few, once there are metrics: loggers are made after the first rollout."""
    (tmp_path / "judges.py").write_text(
        "from pathlib import Path\nrows = Path('run/metrics.jsonl')\n"
        "def letters(completions, **columns):\n"
        "    return [float(len(c)) for c in completions][rows.exists() and rows.stat().st_size > 0:]\n"
    )
    with pytest.raises(ConfigError, match="values for"):
        here("run=run", "logger=pytest", "trainer.eval_every=0")
    assert kept[0].status == "failed"


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_that_is_not_installed_is_named_with_the_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ConfigError, match=rf"`logger={name}` needs {name}: pip install 'maspo-dsl\[{name}\]'"
    ):
        logger_names(read_config([f"logger={name}"]))


def test_names_of_loggers(kept):
    with pytest.raises(ConfigError, match=r"`logger=pytes`: there is no such logger; did you mean `pytest`"):
        logger_names(read_config(["logger=pytest,pytes"]))
    assert logger_names(read_config(["logger=[pytest, pytest]"])) == ["pytest", "pytest"]
    assert logger_names(read_config([])) == []
