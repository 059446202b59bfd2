"""What an objective keeps from rollout to rollout: one number for a run, or one for each prompt."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .config_error import ConfigError
from .prompts import Prompt

if TYPE_CHECKING:
    from maspo_dsl.semantics.objective import Memory

_RUN = 0
"""The key of what a run has one of."""


def prompt_ids(prompts: Sequence[Prompt]) -> Tensor:
    """A whole number for each prompt [N], the same whenever the prompt is."""
    return torch.tensor([_number_of(prompt) for prompt in prompts])


def _number_of(prompt: Prompt) -> int:
    digest = hashlib.sha256(json.dumps(prompt, ensure_ascii=False).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class MemoryStore:
    """The memories of an objective; those of prompts by `prompt_id`. It is the same on every rank."""

    def __init__(self, memories: Mapping[str, Memory]) -> None:
        """All at their start."""
        self._memories = memories
        self._kept: dict[str, dict[int, float]] = {name: {} for name in memories}

    def __bool__(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._memories)

    def tensors(self, prompt_id: Tensor) -> dict[str, Tensor]:
        """What a batch brings of each memory: 0-d, or [N] for the prompts [N] of its rows."""
        found = {}
        for name, memory in self._memories.items():
            kept, start = self._kept[name], memory.start
            keys = prompt_id.tolist() if memory.per == "prompt" else _RUN
            values = (
                [kept.get(key, start) for key in keys] if isinstance(keys, list) else kept.get(keys, start)
            )
            found[name] = torch.tensor(values, dtype=torch.float32, device=prompt_id.device)
        return found

    def update(self, after: Mapping[str, Tensor], prompt_id: Tensor) -> None:
        """Keep what the objective's memories are after a rollout with these prompts [N].

        Raises ConfigError for what is not finite: it would stay so for ever.
        """
        for name, memory in self._memories.items():
            keys = prompt_id.tolist() if memory.per == "prompt" else [_RUN]
            values = after[name].reshape(-1).tolist()
            if wrong := [value for value in values if not math.isfinite(value)]:
                raise ConfigError(f"the objective's `memory {name}` became {wrong[0]}; look at its formula")
            self._kept[name].update(zip(keys, values, strict=True))

    def state(self) -> dict[str, Any]:
        """Everything kept, for a checkpoint."""
        return {name: dict(kept) for name, kept in self._kept.items()}

    def restore(self, state: Mapping[str, Mapping[int, float]]) -> None:
        """Go on with what `state` gave."""
        self._kept = {name: dict(state.get(name, {})) for name in self._memories}
