"""Policies by name: `tiny` (embedded), `smollm2` (from a package), a Hugging Face id, or a local folder."""

from __future__ import annotations

from pathlib import Path

from ..tasks import Task
from .policy import Policy, Tokenizer
from .pretrained import load_pretrained

__all__ = ["Policy", "Tokenizer", "build_policy"]


def build_policy(model: str, task: Task, *, seed: int, cache: Path) -> Policy:
    """The policy of a name, ready to sample; what takes long to make is made once and kept in `cache`.

    `task` and `seed` shape only the policy `tiny`, whose warm start they are. Raises ConfigError.
    """
    if model == "tiny":
        from .tiny import build_tiny

        return build_tiny(task, seed=seed, cache=cache)
    if model == "smollm2":
        from .smollm2 import load_smollm2

        return load_smollm2(cache)
    return load_pretrained(model)
