"""Rewards: functions with the signature of TRL, found by import path, and checked each time they answer.

A reward function is called with keywords, `f(prompts=…, completions=…, **columns)`, every value a list with
one entry a completion, and returns one number for each. Completions are strings for plain prompts and
`[{"role": "assistant", "content": …}]` for prompts of messages. A function without `**kwargs` gets what it
names.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from numbers import Real
from typing import TypeAlias

from maspo_dsl.language.diagnostics import did_you_mean, nearest

from .config_error import ConfigError
from .import_path import describe, load_by_path
from .prompts import Messages, Prompt, as_completion, asked, completion_text, shown
from .time_limit import TimeLimit, time_limit


class RewardError(Exception):
    """A completion has no reward: why, for the user."""


class SlowRewardError(RewardError):
    """The function did not answer in time."""


HANGS = 3
"""Completions in a row for which a reward takes too long, before it is asked for no more of them."""
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


def load_reward(path: str, key: str = "reward") -> RewardFunction:
    """A reward of the catalogue, or the function at an import path such as `my_rewards.has_answer`.

    The current folder is searched first. Raises ConfigError where there is no such module or function, naming the
    nearest one.
    """
    from .catalogue import REWARDS  # whose rows name what is here

    if path in REWARDS:
        return REWARDS[path]()
    if "." not in path and (near := nearest(path, REWARDS)):
        raise ConfigError(f"`{key}={path}`: there is no such reward; did you mean `{near}`?")
    function = load_by_path(key, path, "function")
    if not callable(function):
        raise ConfigError(f"`{key}={path}` is a {type(function).__name__}, not a function")
    return function


@dataclass(frozen=True)
class Weighted:
    """A reward function with its weight in the sum."""

    function: RewardFunction
    weight: float = 1.0


Rewards: TypeAlias = Mapping[str, Weighted]


def load_rewards(paths: Mapping[str, str], weights: Mapping[str, float]) -> Rewards:
    """The functions at some import paths, by name. Raises ConfigError."""
    return {
        name: Weighted(load_reward(path, f"rewards.{name}"), float(weights.get(name, 1.0)))
        for name, path in paths.items()
    }


@dataclass(frozen=True)
class Scores:
    """One reward for each completion, NaN where there is none, and why, by index, where it failed.

    `parts` are the values of the named rewards that it is the sum of; NaN where one does not apply.
    """

    values: list[float]
    failures: dict[int, str]
    parts: Mapping[str, list[float]] = field(default_factory=dict)


def score_all(
    rewards: Rewards,
    prompts: Sequence[Prompt],
    completions: Sequence[str | Messages],
    columns: Mapping[str, Sequence[object]],
    *,
    seconds: float | None = None,
    most: int = 0,
) -> Scores:
    """The weighted sum of several rewards for each completion, over those that apply to it; as `score` otherwise.

    A completion to which none applies has no reward, and so has one for which any fails.
    """
    found = {
        name: score(each.function, prompts, completions, columns, seconds=seconds, most=most)
        for name, each in rewards.items()
    }
    failures = {index: why for scores in found.values() for index, why in scores.failures.items()}
    values = []
    for index in range(len(completions)):
        terms = [each.weight * found[name].values[index] for name, each in rewards.items()]
        known = [term for term in terms if not math.isnan(term)]
        values.append(sum(known) if known and index not in failures else math.nan)
    return Scores(values, failures, {name: scores.values for name, scores in found.items()})


def score(
    reward: RewardFunction,
    prompts: Sequence[Prompt],
    completions: Sequence[str | Messages],
    columns: Mapping[str, Sequence[object]],
    *,
    seconds: float | None = None,
    most: int = 0,
) -> Scores:
    """A finite reward for each completion, or why it has none.

    A completion given as text is wrapped in a message where its prompt is messages, behind the words of the assistant
    that the prompt ends with, as in TRL. The function gets copies. Where it raises, or takes longer than `seconds`, it
    is called with each completion alone, until more than `most` have failed, or HANGS in a row took too long; then the
    others have failed too. An answer of NaN, infinity or no number costs its completion alone; None says that the
    reward does not apply to it. Raises ConfigError for what is wrong whatever the completion: no list of as many
    answers, a column that the task has not.
    """
    shaped = [
        as_completion(prompt, completion) if isinstance(completion, str) else completion
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    given: dict[str, Sequence[object]] = {
        "prompts": [asked(prompt) for prompt in prompts],
        "completions": shaped,
        **columns,
    }
    name = reward_name(reward)
    try:
        answers = _answers(reward, name, given, range(len(shaped)), seconds)
    except RewardError as error:
        answers = _one_by_one(reward, name, given, str(error), seconds, most)
    values, failures = [], {}
    for index, answer in enumerate(answers):
        if answer is None:
            values.append(math.nan)
            continue
        try:
            values.append(_number(answer, name, index, shaped[index]))
        except RewardError as error:
            values.append(math.nan)
            failures[index] = str(error)
    return Scores(values, failures)


def reward_name(reward: RewardFunction) -> str:
    """What messages call a reward function: its import path."""
    name = getattr(reward, "__qualname__", type(reward).__qualname__)
    return f"{getattr(reward, '__module__', '?')}.{name}"


def _one_by_one(
    reward: RewardFunction,
    name: str,
    given: Mapping[str, Sequence[object]],
    reason: str,
    seconds: float | None,
    most: int,
) -> list[object]:
    """What a function that failed for all completions answers to each; its failures are among the answers."""
    size = len(given["completions"])
    if size == 1:
        return [RewardError(reason)]
    answers: list[object] = []
    failed = hung = 0
    for index in range(size):
        if failed > most or hung == HANGS:
            return [*answers, *(RewardError(reason) for _ in range(index, size))]
        try:
            answers += _answers(reward, name, given, [index], seconds)
            hung = 0
        except RewardError as error:
            answers.append(error)
            failed += 1
            hung = hung + 1 if isinstance(error, SlowRewardError) else 0
    return answers


def _answers(
    reward: RewardFunction,
    name: str,
    given: Mapping[str, Sequence[object]],
    rows: Sequence[int],
    seconds: float | None,
) -> list[object]:
    """What a function answers to copies of some rows. Raises RewardError."""
    # One by one: several rows may hold one list, and a copy of all would again.
    arguments = {key: [copy.deepcopy(values[row]) for row in rows] for key, values in given.items()}
    accepted = _accepted(reward, name, arguments)
    try:
        with time_limit(seconds):
            answer = reward(**accepted)
            if inspect.iscoroutine(answer):
                answer = _awaited(answer)
    except ConfigError:
        raise
    except TimeLimit as error:
        raise SlowRewardError(
            f"reward function `{name}` did not answer within {seconds:g} seconds (rollout.reward_timeout)"
        ) from error
    except (Exception, SystemExit) as error:
        raise RewardError(f"reward function `{name}` failed: {describe(error, __file__)}") from error
    return _values(answer, name, len(rows))


def _awaited(answer: Coroutine[object, object, object]) -> object:
    """What an `async def` comes to; in a thread of its own where this one has a loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(answer)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, answer).result()


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
    """A reward function's answer as a list of the expected length. Raises ConfigError: no completion is at fault."""
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
    if isinstance(value, RewardError):
        raise value
    place = f"for completion {index}, {shown(completion)}"
    value = getattr(value, "item", lambda: value)()  # of a scalar of numpy or torch
    if not isinstance(value, Real):
        raise RewardError(f"reward function `{name}` returned {shown(value)} {place}; expected a number")
    try:
        number = float(value)
    except OverflowError:  # of a whole number
        number = math.inf
    if not abs(number) <= _LARGEST:
        raise RewardError(
            f"reward function `{name}` returned {number} {place}; a reward is a finite number in 32 bits"
        )
    return number
