"""Rows of a file, a data set on disk, or one of the Hugging Face hub, each with where it stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from maspo_dsl.language.diagnostics import did_you_mean

from ..config_error import ConfigError
from ..prompts import shown

Row: TypeAlias = "dict[str, Any]"
Placed: TypeAlias = "tuple[Row, str]"


def rows_of(source: str, split: str) -> Iterator[Placed]:
    """The rows that a name stands for, and their places for messages. Raises ConfigError.

    `split` is of a data set, and of no use to a file.
    """
    path = Path(source)
    if path.is_dir() and path.suffix in FORMATS:
        raise ConfigError(f"{path} is a folder; expected a file")
    if path.is_dir() or (not path.exists() and is_hub_name(source)):
        yield from _data_set(path, source, split)
        return
    if not path.exists():
        siblings = [str(each) for each in path.parent.glob("*") if each.suffix in FORMATS]
        hint = (
            did_you_mean(str(path), siblings) if siblings else f"there is no {_known()} file in that folder"
        )
        raise ConfigError(f"there is no file {path}; {hint}")
    try:
        yield from FORMATS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def is_file_name(name: str) -> bool:
    """Whether a task's name is that of a file, a folder, or a data set of the hub."""
    return Path(name).suffix in FORMATS or Path(name).exists() or "/" in name


def is_hub_name(name: str) -> bool:
    """Whether a name is an owner and a data set."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and Path(name).suffix not in FORMATS


def _json_lines(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _object(line, f"{path}:{number}"), f"{path}:{number}"


def _object(line: str, place: str) -> Row:
    """The object on one line; `place` is its file:line."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, column {error.colno}"
        raise ConfigError(f"{place}: not JSON ({reason}); expected one object a line") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: a number too long or a nesting too deep for JSON to be read") from error
    if not isinstance(row, dict):
        raise ConfigError(
            f'{place}: expected an object, as in {{"prompt": "…", "answer": "…"}}, found {shown(row)}'
        )
    return row


def _csv(path: Path) -> Iterator[Placed]:
    """Rows below a header; every value is text, an empty one None."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                place = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise ConfigError(f"{place}: its number of cells is not that of the header")
                yield {name: value or None for name, value in row.items()}, place
        except csv.Error as error:
            raise ConfigError(f"{path}:{reader.line_num}: not CSV ({error})") from error


def _parquet(path: Path) -> Iterator[Placed]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(f"task={path} needs pyarrow: pip install 'maspo-dsl[parquet]'") from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]})") from error
    for number, row in enumerate(rows):
        yield row, f"{path}, row {number}"


def _data_set(path: Path, name: str, split: str) -> Iterator[Placed]:
    """Rows of what `datasets` saved in a folder, or has by name."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"task={name} needs datasets: pip install 'maspo-dsl[datasets]'") from error
    try:
        found = datasets.load_from_disk(str(path)) if path.is_dir() else datasets.load_dataset(name)
        if isinstance(found, Mapping):
            if split not in found:
                raise ConfigError(f"{name} has no split {split}; {did_you_mean(split, list(found))}")
            found = found[split]
    except ConfigError:
        raise
    except Exception as error:  # of a library and a network
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(
            f"task={name}: datasets cannot load it ({type(error).__name__}: {reason})"
        ) from error
    for number, row in enumerate(found):
        yield dict(row), f"{name}, row {number}"


FORMATS: Mapping[str, Callable[[Path], Iterator[Placed]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _known() -> str:
    return ", ".join(FORMATS)
