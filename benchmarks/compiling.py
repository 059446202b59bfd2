"""What it costs to get to a loss: graphs over many shapes, specs checked and emitted, a command from start to end."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch

import maspo_dsl
from benchmarks.measure import seconds
from benchmarks.table import Row

SHAPES = tuple(itertools.product((1, 2, 4, 8, 16, 32), (1, 7, 16, 33, 64, 100, 128, 256)))
"""48 shapes [N, T] of a run whose batches and completions vary in length."""
SPECS = 100


def graphs() -> int:
    """Graphs compiled for all shapes, with gradient and without."""
    loss = maspo_dsl.compile("maspo")
    for rows, length in SHAPES:
        batch = {
            "logp": (-torch.rand(rows, length)).requires_grad_(),
            "logp_old": -torch.rand(rows, length),
            "mask": torch.ones(rows, length, dtype=torch.bool),
            "advantage": torch.randn(rows),
        }
        torch.autograd.grad(loss(batch).loss, batch["logp"])
        with torch.no_grad():
            loss(batch)
    return loss.compilations


def emitted() -> None:
    """A hundred different specs parsed, checked and emitted."""
    shipped = maspo_dsl.shipped()
    for number in range(SPECS):
        base = shipped[number % len(shipped)]
        maspo_dsl.parse(f'objective mine{number} extends {base}\n"One of many"\n').torch_source()


def rows() -> list[Row]:
    """The rows of the table."""
    start = time.perf_counter()
    emitted()
    took = time.perf_counter() - start
    command = [str(Path(sys.executable).with_name("maspo-dsl")), "check", "maspo"]
    # An installed program has its byte code beside it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = partial(subprocess.run, command, check=True, capture_output=True, env=environment)
    whole = seconds({"check": run}, turns=7)
    return [
        Row(f"compilations over {len(SHAPES)} shapes, train and eval", "1", graphs(), 1, 2, unit=""),
        Row(f"{SPECS} specs parsed, checked, emitted", "1 s", took, 1, 2),
        Row("`maspo-dsl check maspo`, whole process", "1 s", whole["check"], 1, 0.6),
    ]
