"""Engines that sample for a run: what is asked of one.

An engine has its own copy of the weights, kernels and precision. So its log-probs are those of the sampler, `rollout`,
and no others; the old policy's are computed by the model that is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn


@dataclass(frozen=True)
class Ways:
    """How completions are drawn: until one of `ends` or for `limit` tokens, from the whole distribution."""

    limit: int
    temperature: float
    ends: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Completion:
    """Tokens, with the one that ends them, and the log-prob of each at the temperature it was drawn at, in nats."""

    tokens: Sequence[int]
    logp: Sequence[float]


class Engine(Protocol):
    """Something that samples."""

    def load(self, model: nn.Module) -> None:
        """Take over the weights of the policy, before each rollout."""

    def sample(self, prompts: Sequence[Sequence[int]], ways: Ways) -> Sequence[Completion]:
        """One completion for each prompt of tokens, in their order; two equal prompts have two of their own."""
