"""Tasks by name: `sort` (the default), `addition` (for a pretrained model), or a .jsonl file of prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from maspo_dsl.language.diagnostics import did_you_mean

from ..config import ConfigError
from .addition import AdditionTask
from .jsonl import read_jsonl_task
from .sort import SortTask
from .task import Example, Task

__all__ = ["TASKS", "Example", "Task", "build_task"]

TASKS: Mapping[str, type[SortTask] | type[AdditionTask]] = {"sort": SortTask, "addition": AdditionTask}


def build_task(name_or_path: str, **options: object) -> Task:
    """The task of a name or a .jsonl file, with its options, such as `digits=6` or `held_out="test.jsonl"`.

    Raises ConfigError for an unknown name or option, naming the nearest one, and for options out of range.
    """
    if name_or_path in TASKS:
        task = TASKS[name_or_path]
        known = [field.name for field in fields(task) if field.name not in ("name", "reward")]
        return _configured(task, name_or_path, known, options)
    path = Path(name_or_path)
    if path.suffix == ".jsonl" or path.exists() or "/" in name_or_path:
        if path.suffix not in (".jsonl", ".ndjson"):
            raise ConfigError(f"task `{name_or_path}`: expected a .jsonl file, one JSON object a line")
        return _configured(
            lambda **given: read_jsonl_task(path, **given), name_or_path, ["held_out"], options
        )
    raise ConfigError(
        f"there is no task `{name_or_path}`; {did_you_mean(name_or_path, TASKS)}; "
        "a .jsonl file of prompts is a task too"
    )


def _configured(
    build: Callable[..., Task], name: str, known: list[str], options: Mapping[str, object]
) -> Task:
    """A task built with options that it has."""
    for option in options:
        if option not in known:
            raise ConfigError(f"task `{name}` has no option `{option}`; {did_you_mean(option, known)}")
    return build(**options)
