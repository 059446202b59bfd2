"""Rewards: functions with the signature of TRL, found by import path, and checked each time they answer.

A reward function is called with keywords, `f(prompts=…, completions=…, **columns)`, every value a list with
one entry a completion, and returns one number for each. Completions are strings for plain prompts and
`[{"role": "assistant", "content": …}]` for prompts of messages. A function without `**kwargs` gets what it
names.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from maspo_dsl.language.diagnostics import did_you_mean

from .config import ConfigError
from .prompts import Messages, Prompt, as_completion, completion_text, shown

RewardFunction: TypeAlias = Callable[..., "list[float | None]"]

_LARGEST = (2 - 2**-23) * 2.0**127  # of float32, which rewards are kept in


def exact_match(
    completions: Sequence[str | Messages], answer: Sequence[str], **columns: object
) -> list[float | None]:
    """1 where a completion, stripped of surrounding white space, is the `answer` column's text, else 0."""
    return [
        float(completion_text(completion).strip() == str(expected).strip())
        for completion, expected in zip(completions, answer, strict=True)
    ]


def load_reward(path: str) -> RewardFunction:
    """The function at an import path such as `my_rewards.has_answer`; the current folder is searched first.

    Raises ConfigError where there is no such module or function, naming the nearest one.
    """
    module_name, dot, name = path.rpartition(".")
    if not dot or "/" in path or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigError(
            f"`reward={path}` is not an import path: write `module.function`; "
            "a function `score` in rewards.py of the current folder is `rewards.score`"
        )
    function = getattr(module := _import(module_name, path), name, None)
    if function is None:
        hint = did_you_mean(name, _functions(module)) or "the module defines no function"
        raise ConfigError(f"`reward={path}`: module `{module_name}` has no function `{name}`; {hint}")
    if not callable(function):
        raise ConfigError(f"`reward={path}` is a {type(function).__name__}, not a function")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"`reward={path}` is an `async def`; a reward is a plain function")
    return function  # type: ignore[no-any-return]


def score(
    reward: RewardFunction,
    prompts: Sequence[Prompt],
    completions: Sequence[str | Messages],
    columns: Mapping[str, Sequence[object]],
) -> list[float]:
    """One finite reward for each completion.

    A completion given as text is wrapped in a message where its prompt is messages. Raises ConfigError,
    naming the function, the index and the completion, for an answer that is None, too short or long, not a
    number, NaN or infinite; and naming the column for a function that needs one which the task does not
    have.
    """
    shaped = [
        as_completion(prompt, completion) if isinstance(completion, str) else completion
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    name = reward_name(reward)
    arguments: dict[str, list[Any]] = {"prompts": list(prompts), "completions": list(shaped)}
    arguments |= {column: list(values) for column, values in columns.items()}
    values = _values(_call(reward, name, arguments), name, len(shaped))
    return [_number(value, name, index, shaped[index]) for index, value in enumerate(values)]


def reward_name(reward: RewardFunction) -> str:
    """What messages call a reward function: its import path."""
    name = getattr(reward, "__qualname__", type(reward).__qualname__)
    return f"{getattr(reward, '__module__', '?')}.{name}"


def _import(module_name: str, path: str) -> ModuleType:
    """Import a reward's module with the current folder in front, as `python -m` does."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise ConfigError(
                f"`reward={path}`: module `{module_name}` imports `{missing}`, which is not installed"
            ) from error
        neighbours = [file.stem for file in Path.cwd().glob("*.py")]
        hint = (
            did_you_mean(module_name, neighbours)
            if neighbours
            else "there is no Python file in the current folder"
        )
        raise ConfigError(
            f"`reward={path}`: there is no module `{missing}` in {folder} or installed; {hint}"
        ) from error
    except (Exception, SystemExit) as error:  # a script that exits is not a Ctrl-C
        raise ConfigError(
            f"`reward={path}`: importing `{module_name}` failed: {_described(error)}"
        ) from error


def _functions(module: ModuleType) -> list[str]:
    """Names of the functions that a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


def _call(reward: RewardFunction, name: str, arguments: Mapping[str, object]) -> object:
    """What a reward function answers to the arguments it accepts."""
    accepted = _accepted(reward, name, arguments)
    try:
        return reward(**accepted)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"reward function `{name}` failed: {_described(error)}") from error


def _accepted(reward: RewardFunction, name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments that a function names, or all of them if it takes `**kwargs`."""
    try:
        parameters = inspect.signature(reward).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return dict(arguments)
    for parameter in parameters:
        required = parameter.default is parameter.empty
        if required and parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(
                f"reward function `{name}` takes `{parameter.name}` by position; it is called with keywords"
            )
        if required and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            _require(parameter.name, name, arguments)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(arguments)
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {key: value for key, value in arguments.items() if key in named}


def _require(argument: str, name: str, arguments: Mapping[str, object]) -> None:
    """Refuse a function that needs a column which is not there."""
    if argument not in arguments:
        raise ConfigError(
            f"reward function `{name}` needs `{argument}`, and the task has no such column; "
            f"it can take {', '.join(f'`{key}`' for key in arguments)} ({did_you_mean(argument, arguments)})"
        )


def _values(answer: object, name: str, expected: int) -> list[object]:
    """A reward function's answer as a list of the expected length."""
    if answer is None:
        raise ConfigError(
            f"reward function `{name}` returned None; expected a list of {expected} numbers, one for each "
            "completion (is a `return` missing?)"
        )
    answer = getattr(answer, "tolist", lambda: answer)()  # of a tensor or an array
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes | Mapping):
        raise ConfigError(
            f"reward function `{name}` returned {shown(answer)}; expected a list of {expected} numbers, "
            "one for each completion"
        )
    values = list(answer)
    if len(values) != expected:
        raise ConfigError(
            f"reward function `{name}` returned {len(values)} values for {expected} completions"
        )
    return values


def _number(value: object, name: str, index: int, completion: object) -> float:
    """One value of a reward function as a finite float."""
    place = f"for completion {index}, {shown(completion)}"
    if value is None:
        raise ConfigError(f"reward function `{name}` returned None {place}; every completion needs a number")
    value = getattr(value, "item", lambda: value)()  # of a scalar of numpy or torch
    if not isinstance(value, Real):
        raise ConfigError(f"reward function `{name}` returned {shown(value)} {place}; expected a number")
    try:
        number = float(value)
    except OverflowError:  # of a whole number
        number = math.inf
    if not abs(number) <= _LARGEST:
        raise ConfigError(
            f"reward function `{name}` returned {number} {place}; a reward is a finite number in 32 bits"
        )
    return number


def _described(error: BaseException) -> str:
    """An exception of the user's code in one line, with the place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else "unknown place"
    return f"{type(error).__name__}: {error} ({place})"
