"""What a task is: prompts to train on, other prompts to measure on, and a reward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..prompts import Prompt
from ..rewards import RewardFunction


@dataclass(frozen=True)
class Example:
    """A prompt with the columns that its reward reads, such as `answer`."""

    prompt: Prompt
    columns: Mapping[str, object] = field(default_factory=dict)


class Task(Protocol):
    """A source of prompts with a reward.

    One that has finitely many examples may list them as `examples`; each is looked at before a run begins.
    """

    @property
    def name(self) -> str:
        """What logs call it."""

    @property
    def fingerprint(self) -> str:
        """Text that differs whenever the examples do; names the artefacts made from them."""

    @property
    def reward(self) -> RewardFunction:
        """The task's own reward. Raises ConfigError if it has none and the user must name one."""

    def train(self, seed: int) -> Iterator[Example]:
        """Endless training examples, the same for the same seed; never a held-out prompt."""

    def held_out(self, count: int) -> list[Example]:
        """The same examples each time, at most `count`, fewer only if there are no more."""
