"""Prompts as tokens: each checked, and several as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .config_error import ConfigError
from .policies.policy import Policy
from .prompts import Prompt, shown


def encode(policy: Policy, prompts: Sequence[Prompt], max_new_tokens: int) -> list[list[int]]:
    """Tokens of the prompts, each checked."""
    if not prompts:
        raise ConfigError("no prompts to sample from")
    room = positions(policy.model)
    encoded = []
    for index, prompt in enumerate(prompts):
        ids = policy.tokenizer.encode(prompt)
        if not ids:
            raise ConfigError(f"prompt {index}, {shown(prompt)}, is empty: it has no tokens to continue")
        if room is not None and len(ids) + max_new_tokens > room:
            raise ConfigError(
                f"prompt {index}, {shown(prompt)}, is too long: its {len(ids)} tokens and {max_new_tokens} "
                f"new ones exceed the {room} positions of model `{policy.name}`"
            )
        encoded.append(ids)
    return encoded


def positions(model: nn.Module) -> int | None:
    """How many tokens a model can read, if it says so."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    found = getattr(text, "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def padded(rows: Sequence[Sequence[int]], pad_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Rows of tokens as [N, P] int64, padded on the left or the right, and where it holds tokens, [N, P] bool."""
    width = max(len(row) for row in rows)
    fillers = [[pad_id] * (width - len(row)) for row in rows]
    filled = [[*f, *row] if left else [*row, *f] for f, row in zip(fillers, rows, strict=True)]
    lengths, columns = torch.tensor([len(row) for row in rows])[:, None], torch.arange(width)
    return torch.tensor(filled), columns >= width - lengths if left else columns < lengths
