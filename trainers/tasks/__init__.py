"""Tasks: those of `catalogue.TASKS` by name, rows of a file or data set, or a class by its import path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from maspo_dsl.language.diagnostics import did_you_mean

from ..catalogue import TASKS
from ..config_error import ConfigError
from ..import_path import describe, load_by_path
from .jsonl import read_table_task
from .tables import is_file_name
from .task import Example, Task

__all__ = ["Example", "Task", "build_task"]

_MEMBERS = ("name", "fingerprint", "reward", "train", "held_out")


def build_task(task: str, **options: object) -> Task:
    """The task of a name, a file of prompts or an import path, with its options, such as `digits=6`.

    An import path such as `my_tasks.Riddles` names a class with the members of `Task`; it is called with the
    options. Raises ConfigError for an unknown name or option, naming the nearest one, for options out of range,
    and for a class that is no task.
    """
    if task in TASKS:
        return _configured(TASKS[task].load(), task, options)
    if is_file_name(task):
        return _configured(partial(read_table_task, task), task, options)
    if "." in task:
        return _imported(task, options)
    raise ConfigError(
        f"there is no task `{task}`; {did_you_mean(task, TASKS)}; a .jsonl file of prompts is a task too, "
        "and so is a class `module.Class`"
    )


def _configured(build: Callable[..., Task], name: str, options: Mapping[str, object]) -> Task:
    """A task built with options that it has; what it is called, and its reward, are no options."""
    parameters = inspect.signature(build).parameters.values()
    known = [each.name for each in parameters if each.name not in ("name", "reward")]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    for option in options:
        if option not in known and not takes_any:
            hint = did_you_mean(option, known) or "it has none"
            raise ConfigError(f"task `{name}` has no option `{option}`; {hint}")
    return build(**options)


def _imported(path: str, options: Mapping[str, object]) -> Task:
    """A task of the user's own, tried: one that cannot give an example fails before a run is started."""
    kind = load_by_path("task", path, "class")
    if not callable(kind):
        raise ConfigError(f"`task={path}` is a {type(kind).__name__}, not a class")
    try:
        task = _configured(cast("Callable[..., Task]", kind), path, options)
        missing = [name for name in _MEMBERS if inspect.getattr_static(task, name, None) is None]
        if missing:
            raise ConfigError(f"`task={path}`: a task needs {', '.join(f'`{name}`' for name in missing)}")
        tried = [next(task.train(0), None), *task.held_out(1)]
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"`task={path}` failed: {describe(error, __file__)}") from error
    if not all(isinstance(example, Example) for example in tried):
        raise ConfigError(
            f"`task={path}`: `train` and `held_out` give maspo_dsl.trainers.tasks.Example objects"
        )
    return task
