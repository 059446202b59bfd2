"""Policies: causal language models with their tokenizers, by the names of `catalogue.MODELS`, or from the hub."""

from __future__ import annotations

from pathlib import Path

from ..catalogue import model_row
from ..tasks import Task
from .policy import Policy, Tokenizer

__all__ = ["Policy", "Tokenizer", "build_policy"]


def build_policy(model: str, task: Task, *, seed: int, cache: Path) -> Policy:
    """The policy of a name, ready to sample; what takes long to make is made once and kept in `cache`.

    `task` and `seed` shape only the policy `tiny`, whose warm start they are. Raises ConfigError.
    """
    return model_row(model).build(model, task, seed, cache)
