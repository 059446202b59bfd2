"""The embedded task: sort the digits of a number, `sort 528190=` → `012589`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from ..config_error import ConfigError
from ..rewards import RewardFunction, exact_match
from .task import Example

# Coprime to ten, so that its multiples modulo 10 ** digits visit every number once, in scattered order.
_STRIDE = 6_180_339_887_498_948_483


@dataclass(frozen=True)
class SortTask:
    """Sort `digits` digits, drawn uniformly; the reward is 1 for the exact answer, else 0.

    About a tenth of all prompts, chosen by a hash of the prompt, is held out and never trained on.
    """

    digits: int = 6
    name: str = "sort"
    reward: RewardFunction = exact_match

    def __post_init__(self) -> None:
        """Check the options."""
        if isinstance(self.digits, bool) or not isinstance(self.digits, int) or not 2 <= self.digits <= 32:
            raise ConfigError(f"task `sort`: `digits={self.digits}`: expected a whole number from 2 to 32")

    @property
    def fingerprint(self) -> str:
        """The task and its options."""
        return f"sort digits={self.digits}"

    def train(self, seed: int) -> Iterator[Example]:
        """Endless examples whose prompts are not held out."""
        source = random.Random(f"{self.fingerprint} {seed}")
        while True:
            example = _example("".join(source.choices("0123456789", k=self.digits)))
            if not _is_held_out(example):
                yield example

    def held_out(self, count: int) -> list[Example]:
        """The first `count` held-out examples of a fixed order, all of them different."""
        numbers = (k * _STRIDE % 10**self.digits for k in range(10**self.digits))
        examples = (_example(f"{number:0{self.digits}d}") for number in numbers)
        return list(islice(filter(_is_held_out, examples), count))


def _example(digits: str) -> Example:
    return Example(f"sort {digits}=", {"answer": "".join(sorted(digits))})


def _is_held_out(example: Example) -> bool:
    return blake2b(str(example.prompt).encode(), digest_size=2).digest()[0] % 10 == 0
