"""Honest measurements: candidates take turns, and the quickest of their turns are compared. Linux with glibc."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Candidate = Callable[[], object]


def seconds(candidates: Mapping[str, Candidate], *, turns: int, warm_up: int = 2) -> dict[str, float]:
    """Seconds of each candidate's quickest turn: whatever else runs on the machine only adds to one.

    They take turns, so that what slows the machine down slows all.
    Memory is as the turns before leave it, as in the loop of a training run.
    """
    for _ in range(warm_up):
        for candidate in candidates.values():
            candidate()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(turns):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            taken[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in taken.items()}


def peak_bytes(candidate: Candidate) -> int:
    """The most memory that a candidate holds above what the process held before, in bytes."""
    candidate()
    _give_memory_back()  # else what was freed and is used again would not be counted
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # begins a new high-water mark
    kept = candidate()
    peak = _status("VmHWM") - before
    del kept
    return peak


def _give_memory_back() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024
