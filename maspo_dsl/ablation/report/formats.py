"""Metrics of a run as trainers write them: ours, Hugging Face's, verl's, TensorBoard's. Steps are rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.trainers.columns import COLUMNS

Curve: TypeAlias = NDArray[np.float64]
Row: TypeAlias = Mapping[str, Any]
Steps: TypeAlias = dict[int, dict[str, float]]

# What a report calls a column, and how trainers call it: TRL, verl, and both in TensorBoard.
_OTHER_NAMES = {
    "reward": ("train/reward", "critic/score/mean", "critic/rewards/mean"),
    "learning_rate": ("actor/lr",),
    "eval/greedy": ("eval_reward", "eval/reward", "val-core/*/mean@*", "val/test_score/*"),
}
# Before the names of our metrics, in a host's logs.
_PREFIXES = ("objective/", "train/objective/", "actor/objective/", "train/", "actor/")


@dataclass(frozen=True)
class ColumnNames:
    """Which columns of a run are its reward and its held-out reward; None: as trainers call them."""

    reward: str | None = None
    held_out: str | None = None

    def of(self, column: str) -> tuple[str, ...]:
        """ColumnNames that a column may have, the likeliest first."""
        said = {"reward": self.reward, "eval/greedy": self.held_out}.get(column)
        if said is not None:
            return (said,)
        return (column, *(f"{prefix}{column}" for prefix in _PREFIXES), *_OTHER_NAMES.get(column, ()))


def read_steps(folder: Path) -> Steps:
    """What a run measured at each step; where a step is written twice, what was written last holds.

    Raises ValueError and OSError: the folder has no metrics, or they cannot be read.
    """
    steps: Steps = {}
    for row in _rows(folder):
        step = row.get("step")
        if isinstance(step, bool) or not isinstance(step, (int, float)) or step < 0:
            raise ValueError("a row has no step")
        steps.setdefault(int(step), {}).update(_numbers(row))
    if not steps:
        raise ValueError("it is empty")
    return steps


def columns_of(steps: Steps, names: ColumnNames) -> dict[str, Curve]:
    """The columns of a report by their names here, over steps 0, 1, …; NaN where nothing was measured.

    Raises ValueError: none of them is the reward, or one that was named is not there.
    """
    found = {name for row in steps.values() for name in row}
    columns = {"step": np.arange(max(steps) + 1, dtype=np.float64)}
    for column in COLUMNS:
        if column != "step" and (name := _find(found, names.of(column))) is not None:
            columns[column] = _dense(steps, name)
    for column, said in (("reward", names.reward), ("eval/greedy", names.held_out)):
        if column not in columns and (said is not None or column == "reward"):
            there = ", ".join(sorted(found)) or "none"
            raise ValueError(f"no column is called {said or column}; there are: {there}")
    return columns


def _rows(folder: Path) -> Iterator[Row]:
    """Rows of the first format that a folder has."""
    for pattern, read in _FORMATS.items():
        if files := sorted(folder.glob(pattern)):
            yield from read(files)
            return
    raise ValueError(f"it has none of {', '.join(_FORMATS)}")


def _jsonl(files: Sequence[Path]) -> Iterator[Row]:
    """A row a line: a step and its metrics, which verl (0.9, utils/tracking.py) puts under `data`."""
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a row has no step")
            data = row.pop("data", None)
            yield {**row, **data} if isinstance(data, dict) else row


def _logs(files: Sequence[Path]) -> Iterator[Row]:
    """Rows of the files that are metrics; a run may keep its samples beside them."""
    for file in files:
        rows = list(_jsonl([file]))
        if rows and all("step" in row and _numbers(row) for row in rows):
            yield from rows


def _trainer_state(files: Sequence[Path]) -> Iterator[Row]:
    """`log_history` of the state that got furthest (transformers.TrainerState)."""
    states = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    yield from max(states, key=lambda state: int(state.get("global_step", 0))).get("log_history", [])


def _tensorboard(files: Sequence[Path]) -> Iterator[Row]:
    """Scalars of event files, those written first to those written last."""
    try:
        accumulator = import_module("tensorboard.backend.event_processing.event_accumulator")
        make_ndarray = import_module("tensorboard.util.tensor_util").make_ndarray
    except ImportError:
        needed = "pip install 'maspo-dsl[tensorboard]'"
        raise ValueError(f"event files of TensorBoard need it to be read: {needed}") from None
    for file in files:
        events = accumulator.EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            yield from ({"step": event.step, name: event.value} for event in events.Scalars(name))
        for name in events.Tags()["tensors"]:
            for event in events.Tensors(name):
                if (value := make_ndarray(event.tensor_proto)).size == 1:
                    yield {"step": event.step, name: float(value.item())}


_FORMATS: dict[str, Callable[[Sequence[Path]], Iterator[Row]]] = {
    "metrics.jsonl": _jsonl,
    "trainer_state.json": _trainer_state,
    "checkpoint-*/trainer_state.json": _trainer_state,
    "**/*.jsonl": _logs,
    "**/events.out.tfevents.*": _tensorboard,
}


def _numbers(row: Row) -> dict[str, float]:
    """What a row measured."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _find(there: set[str], names: Sequence[str]) -> str | None:
    matching = (sorted(name for name in there if fnmatchcase(name, pattern)) for pattern in names)
    return next((found[0] for found in matching if found), None)


def _dense(steps: Steps, name: str) -> Curve:
    curve = np.full(max(steps) + 1, np.nan)
    for step, row in steps.items():
        curve[step] = row.get(name, np.nan)
    return curve
