"""A reward for mathematics: whether an answer equals the expected one, by math-verify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .config_error import ConfigError
from .prompts import Messages, completion_text
from .rewards import RewardFunction
from .time_limit import TimeLimit, time_limit

# Of one completion: computer algebra can take for ever.
_SECONDS = 5.0


def load_math_verify() -> RewardFunction:
    """The reward `math_verify`. Raises ConfigError where the package is not installed."""
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise ConfigError("`math_verify` needs math-verify: pip install 'maspo-dsl[math-verify]'") from error

    def read(text: str) -> list[Any]:
        """What a text says, as math-verify reads it; its own limits would end those of a run."""
        return list(parse(text, parsing_timeout=None))

    def equal(expected: list[Any], completion: str) -> bool:
        return bool(verify(expected, read(completion), timeout_seconds=None))

    def math_verify(
        completions: Sequence[str | Messages], answer: Sequence[object], **columns: object
    ) -> list[float | None]:
        """1 where a completion says what the `answer` says, in numbers or LaTeX; None if that says nothing."""
        return [
            _judged(completion_text(completion), str(expected), read, equal)
            for completion, expected in zip(completions, answer, strict=True)
        ]

    return math_verify


def _judged(
    completion: str,
    answer: str,
    read: Callable[[str], list[Any]],
    equal: Callable[[list[Any], str], bool],
) -> float | None:
    marked = "$" in answer or "\\boxed" in answer
    expected = (not marked and read(f"${answer}$")) or read(answer)
    if not expected:
        return None
    try:
        with time_limit(_SECONDS) as limit:
            return float(equal(expected, completion))
    except TimeLimit as error:
        if error is not limit:  # that of the whole call
            raise
        return 0.0
