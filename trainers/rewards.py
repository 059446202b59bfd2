"""Rewards: functions with the signature of TRL, found by import path, and checked each time they answer.

A reward function is called with keywords, `f(prompts=…, completions=…, **columns)`, every value a list with
one entry a completion, and returns one number for each. Completions are strings for plain prompts and
`[{"role": "assistant", "content": …}]` for prompts of messages. A function without `**kwargs` gets what it
names.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

from maspo_dsl.language.diagnostics import did_you_mean

from .config_error import ConfigError
from .import_path import describe, load_by_path
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
    function = load_by_path("reward", path, "function")
    if not callable(function):
        raise ConfigError(f"`reward={path}` is a {type(function).__name__}, not a function")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"`reward={path}` is an `async def`; a reward is a plain function")
    return function


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


def _call(reward: RewardFunction, name: str, arguments: Mapping[str, object]) -> object:
    """What a reward function answers to the arguments it accepts."""
    accepted = _accepted(reward, name, arguments)
    try:
        return reward(**accepted)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"reward function `{name}` failed: {describe(error, __file__)}") from error


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
            _check_argument(parameter.name, name, arguments)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(arguments)
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {key: value for key, value in arguments.items() if key in named}


def _check_argument(argument: str, name: str, arguments: Mapping[str, object]) -> None:
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
