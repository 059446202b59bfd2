"""Drawing tokens: a model reads the prompts once, and then each new token, with what it keeps of those before.

What a model keeps is its own: keys and values, states of recurrent layers, or both. Transformers makes it from the
model's configuration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from maspo_dsl.runtime.model_head import model_logits


@dataclass(frozen=True)
class Drawn:
    """Completions [n, T] with their log-probs and entropies, and which rows ended, [n]."""

    tokens: Tensor
    logp: Tensor
    entropy: Tensor
    ended: Tensor


def _nothing(count: int) -> None:
    """For those who need not know."""


@dataclass(frozen=True)
class Sampler:
    """How tokens are drawn: greedily without a generator, until one of `ends` or for `limit` tokens.

    A model that is not `cached` reads whole sequences for each token. `told` hears how many tokens each has.
    """

    model: nn.Module
    pad_id: int
    ends: tuple[int, ...]
    limit: int
    generator: torch.Generator | None
    temperature: float
    cached: bool = True
    told: Callable[[int], None] = _nothing

    def sample(self, ids: Tensor, attention: Tensor) -> Drawn:
        """Completions of some prompts; T is the longest of them."""
        ends = torch.tensor(self.ends, device=ids.device)
        ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        logits, kept = self._read(ids, attention)
        drawn: list[tuple[Tensor, Tensor, Tensor]] = []
        while True:
            token, logp, entropy = self._draw(logits)
            token = torch.where(ended, self.pad_id, token)
            drawn.append((token, logp, entropy))
            self.told(len(drawn))
            ids = torch.cat([ids, token[:, None]], dim=1)
            attention = torch.cat([attention, ~ended[:, None]], dim=1)
            ended = ended | torch.isin(token, ends)
            if len(drawn) == self.limit or ended.all():
                break
            logits = self._logits(ids[:, -1:] if self.cached else ids, attention, kept)
        tokens, logps, entropies = (torch.stack(column, dim=1) for column in zip(*drawn, strict=True))
        return Drawn(tokens, logps, entropies, ended)

    def _read(self, ids: Tensor, attention: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Logits [n, V] after the prompts, and what the model keeps of them; equal prompts are read once."""
        rows, copies = torch.unique(torch.cat([ids, attention], dim=1), dim=0, return_inverse=True)
        width = ids.shape[1]
        kept = _nothing_kept(self.model) if self.cached else {"use_cache": False}
        logits = self._logits(rows[:, :width], rows[:, width:].bool(), kept)
        for cache in kept.values():
            if isinstance(cache, Cache):
                cache.reorder_cache(copies)
        return logits[copies], kept

    def _logits(self, ids: Tensor, attention: Tensor, kept: dict[str, Any]) -> Tensor:
        """Logits [n, V] after the last of `ids`, which the cache takes in."""
        if "cache_params" in kept:  # models of states alone are told what to mask of that which they read now
            attention = attention[:, -ids.shape[1] :]
        return model_logits(self.model, ids, attention, keep=1, **kept)[:, -1]

    def _draw(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One token for each row of logits [n, V], its log-prob, and the entropy of what it was drawn from."""
        logp = torch.log_softmax(logits.float() / self.temperature, dim=-1)
        if self.generator is None:
            token = logp.argmax(dim=-1)
        else:  # drawn where the generator lives, so that a CPU generator serves a model on any device
            chances = logp.exp().to(self.generator.device)
            token = torch.multinomial(chances, 1, generator=self.generator)[:, 0].to(logits.device)
        return token, logp.gather(1, token[:, None])[:, 0], entropies(logp)


def _nothing_kept(model: nn.Module) -> dict[str, Any]:
    """The arguments with which a model begins to keep what it reads, such as keys and values, or states."""
    config: Any = getattr(model, "config", None)
    layers = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else None
    accepted = inspect.signature(model.forward).parameters
    name = "cache_params" if "cache_params" in accepted else "past_key_values"
    return {name: DynamicCache(config=layers), "use_cache": True}


def entropies(logp: Tensor) -> Tensor:
    """Entropy [..., T] of log-probs [..., T, V], in nats; a token that the model forbids, -inf, has no share in it."""
    # At the input: 0 times infinity would be in the gradient.
    allowed = torch.where(logp > -torch.inf, logp, 0.0)
    return -(logp.exp() * allowed).sum(dim=-1)
