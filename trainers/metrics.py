"""Metrics of a step, gathered from micro-batches, windows and ranks, and the run folder's files of them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from maspo_dsl.emit.template.metrics import metric_value, pooled_parts
from maspo_dsl.language.writing import write_whole
from maspo_dsl.runtime.pooling import parts_of_all_ranks

from .columns import COLUMNS

if TYPE_CHECKING:
    from maspo_dsl import LossOutput

Row: TypeAlias = "dict[str, float | int | None]"


class Sums:
    """Sums and counts of a step's metrics, which add over micro-batches, windows and ranks."""

    def __init__(self) -> None:
        """Nothing has been counted."""
        self.updates = 0
        self._parts: dict[str, Tensor] = {}
        self._values: dict[str, list[float]] = {}

    def add(self, output: LossOutput) -> None:
        """Take in one micro-batch."""
        self._parts = pooled_parts([self._parts, output.metric_parts])

    def add_sum(self, name: str, total: Tensor | float, count: Tensor | float) -> None:
        """Take in a sum and how many it is over."""
        pair = torch.stack([torch.as_tensor(value).detach().double() for value in (total, count)])
        self._parts = pooled_parts([self._parts, {name: pair}])

    def add_value(self, name: str, value: float) -> None:
        """Take in one number of an update."""
        self._values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """The step's metrics; one that counted nothing is absent."""
        parts = parts_of_all_ranks(self._parts)
        counted = {name: each for name, each in parts.items() if len(each) == 1 or float(each[1]) > 0}
        means = {name: float(metric_value(each)) for name, each in counted.items()}
        return means | {name: sum(values) / len(values) for name, values in self._values.items()}


class Records:
    """A run folder's metrics.csv, metrics.jsonl and samples.jsonl, written as the rows come.

    Opening drops what was recorded after step `steps_done`: a resumed run makes those steps again.
    """

    def __init__(self, folder: Path, steps_done: int = -1, own: Sequence[str] = ()) -> None:
        """Open the files of an existing folder. `own` are columns of this run besides those of every run."""
        self.folder = folder
        self._columns = [*COLUMNS, *own]
        self._csv, self._jsonl = folder / "metrics.csv", folder / "metrics.jsonl"
        self._samples = folder / "samples.jsonl"
        self.rows: list[Row] = [row for row in read_rows(folder) if int(row["step"] or 0) <= steps_done]
        kept = _csv_lines(self._csv)[: len(self.rows)]
        write_whole(self._csv, "\n".join([",".join(self._columns), *kept]) + "\n")
        _write_lines(self._jsonl, self.rows)
        samples = _read_lines(self._samples)
        _write_lines(self._samples, [each for each in samples if int(each["step"] or 0) <= steps_done])

    def add(self, row: Row) -> None:
        """Append a row of metrics."""
        self.rows.append(row)
        with self._csv.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([_cell(row.get(name)) for name in self._columns])
        _append_line(self._jsonl, row)

    def add_sample(self, sample: Mapping[str, object]) -> None:
        """Append a sampled completion."""
        _append_line(self._samples, sample)


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run folder's metrics.jsonl, without one that was cut off; none without such a file."""
    return _read_lines(folder / "metrics.jsonl")


def _cell(value: float | int | None) -> str:
    """A value of metrics.csv; empty where there is none."""
    return "" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)


def _csv_lines(path: Path) -> list[str]:
    """The lines of a csv file below its header."""
    return path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []


def _read_lines(path: Path) -> list[dict[str, float | int | None]]:
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    # The last line has no end if the run was killed while writing it.
    return [json.loads(line) for line in lines[:-1] if line]


def _write_lines(path: Path, rows: list[Row]) -> None:
    write_whole(path, "".join(_json(row) + "\n" for row in rows))


def _append_line(path: Path, row: Mapping[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_json(row) + "\n")


def _json(row: Mapping[str, object]) -> str:
    """A row as JSON, which has no word for NaN and infinity: they become null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, ensure_ascii=False)
