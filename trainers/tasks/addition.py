"""The task of the pretrained example: `What is 14 + 15?`, asked as a chat message.

A pretrained model can already add numbers this small; what it lacks is saying so within a few tokens.
Training on this task elicits the skill, it does not teach it.

Answers need about 12 tokens: SmolLM2's own form, `14 + 15 = 29`, is cut before the sum at 8, and then
hardly any sampled answer earns a reward to learn from.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from ..config_error import ConfigError
from ..prompts import Messages, completion_text
from ..rewards import RewardFunction
from .task import Example

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def contains_answer(
    completions: Sequence[str | Messages], answer: Sequence[str], **columns: object
) -> list[float | None]:
    """1 where the `answer` is one of the numbers that a completion contains, else 0.

    Both summands are at least 2, so that echoing the question never contains the answer.
    """
    return [
        float(expected in _NUMBER.findall(completion_text(completion)))
        for completion, expected in zip(completions, answer, strict=True)
    ]


@dataclass(frozen=True)
class AdditionTask:
    """Add two numbers from `low` to `high`; the reward is 1 if the sum is in the answer, else 0.

    A fifth of the unordered pairs is held out, in both orders. With `chat=false` the prompts are plain
    text, for models without a chat template.
    """

    low: int = 2
    high: int = 19
    chat: bool = True
    name: str = "addition"
    reward: RewardFunction = contains_answer

    def __post_init__(self) -> None:
        """Check the options."""
        for option, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 999:
                raise ConfigError(
                    f"task `addition`: `{option}={value}`: expected a whole number from 1 to 999"
                )
        if self.high < self.low + 3:
            raise ConfigError(
                f"task `addition`: low={self.low}, high={self.high} leave too few pairs; "
                "`high` must be at least `low` + 3"
            )
        if not isinstance(self.chat, bool):
            raise ConfigError(f"task `addition`: `chat={self.chat}`: expected true or false")

    @property
    def fingerprint(self) -> str:
        """The task and its options."""
        return f"addition low={self.low} high={self.high} chat={self.chat}"

    def train(self, seed: int) -> Iterator[Example]:
        """Endless examples of pairs that are not held out."""
        source = random.Random(f"{self.fingerprint} {seed}")
        held_out = set(self._held_out_pairs())
        while True:
            pair = source.randint(self.low, self.high), source.randint(self.low, self.high)
            if pair not in held_out:
                yield self._example(*pair)

    def held_out(self, count: int) -> list[Example]:
        """The first `count` held-out pairs of a fixed order."""
        return [self._example(*pair) for pair in self._held_out_pairs()[:count]]

    def _held_out_pairs(self) -> list[tuple[int, int]]:
        """A fifth of the unordered pairs, each in every order it has."""
        pairs = list(combinations_with_replacement(range(self.low, self.high + 1), 2))
        random.Random("addition held-out").shuffle(pairs)
        return [ordered for a, b in pairs[: len(pairs) // 5] for ordered in dict.fromkeys([(a, b), (b, a)])]

    def _example(self, a: int, b: int) -> Example:
        question = f"What is {a} + {b}?"
        columns = {"answer": str(a + b)}
        if self.chat:
            return Example([{"role": "user", "content": question}], columns)
        return Example(f"Question: {question}\nAnswer:", columns)
