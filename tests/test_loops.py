"""The loops of examples/loops: however many processes share a step, and padded or packed, the weights are the same."""

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "loops" / "own_loop.py"


@cache
def alone(*, packed: bool = False) -> dict:
    spec = importlib.util.spec_from_file_location("own_loop", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.train("alone", use_packed=packed)


def check(found: dict) -> None:
    expected = alone()
    assert found["weights"] == pytest.approx(expected["weights"], rel=1e-5)
    assert len(found["metrics"]) == len(expected["metrics"])
    for metrics, wanted in zip(found["metrics"], expected["metrics"], strict=True):
        assert metrics == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_something_is_trained():
    first, second, *_ = alone()["metrics"]
    assert first["ratio_max"] == 1 and second["ratio_max"] > 1.5 and second["gated_pos"] > 0
    assert second["loss"] < first["loss"]


def test_packed_is_padded():
    check(alone(packed=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("ddp",), ("ddp", "--packed"), ("fsdp2",), ("accelerate",)], ids=" ".join
)
def test_two_processes(options):
    if "accelerate" in options:
        pytest.importorskip("accelerate")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(SCRIPT),
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout.splitlines()[-1]))
