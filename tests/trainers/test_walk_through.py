"""What a new user does with docs/training.md alone: the commands of its section, one after another."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from maspo_dsl.trainers.metrics import read_rows

ROOT = Path(__file__).parents[2]
COMMANDS = re.compile(r"^```sh walk\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_a_folder_and_a_parquet_become_a_model(tmp_path):
    for package in ("peft", "pyarrow", "tensorboard"):
        pytest.importorskip(package)
    shutil.copytree(ROOT / "examples" / "training", tmp_path, dirs_exist_ok=True)
    commands = COMMANDS.findall((ROOT / "docs" / "training.md").read_text())
    text = run("\n".join(commands), tmp_path)
    assert "stopping after this step" in text and "go on with `maspo-dsl train resume=first`" in text
    assert "done after step 60" in text and "done after step 5" in text
    assert re.search(r"^merged: '.*'$", text, re.MULTILINE)
    steps = [row["step"] for row in read_rows(tmp_path / "first")]
    assert steps == [*range(61)]
    first, last = (read_rows(tmp_path / "first")[part] for part in (slice(1, 11), slice(-10, None)))
    assert mean(last) > mean(first) + 0.1  # 0.46 and 0.70
    assert list((tmp_path / "first" / "tensorboard").glob("events*"))
    samples = [json.loads(line) for line in (tmp_path / "first" / "samples.jsonl").read_text().splitlines()]
    assert {"reward/close", "reward/brief"} <= set().union(*samples)
    assert not all("reward/brief" in sample for sample in samples)  # sums that carry have none


def mean(rows):
    return sum(row["reward/close"] for row in rows) / len(rows)


def run(commands, folder):
    """The output of commands of bash, of which only the one that is stopped may fail."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", commands.replace("wait $!", "wait $! || true")],
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
