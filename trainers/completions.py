"""What an engine drew, checked and in the form of what the model draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .config_error import ConfigError
from .encoding import padded
from .engine import Completion, Engine, Ways
from .sampling import Drawn


def drawn_by(
    engine: Engine, prompts: Sequence[Sequence[int]], ways: Ways, pad_id: int, device: torch.device
) -> Drawn:
    """Completions [N, T] of an engine. Raises ConfigError for what is none."""
    found = engine.sample(prompts, ways)
    if len(found) != len(prompts):
        raise ConfigError(f"the sampling engine gave {len(found)} completions to {len(prompts)} prompts")
    for completion in found:
        _check(completion, ways)
    tokens, _ = padded([completion.tokens for completion in found], pad_id, left=False)
    logp = torch.zeros(tokens.shape)
    for row, completion in zip(logp, found, strict=True):
        row[: len(completion.logp)] = torch.tensor(completion.logp)
    ended = torch.tensor([completion.tokens[-1] in ways.ends for completion in found])
    parts: tuple[Tensor, ...] = (tokens, logp, torch.zeros_like(logp), ended)
    return Drawn(*(part.to(device) for part in parts))


def _check(completion: Completion, ways: Ways) -> None:
    """Raise ConfigError for a completion that is not drawn in the ways asked for."""
    tokens, logp = completion.tokens, completion.logp
    if not 0 < len(tokens) <= ways.limit:
        why = f"{len(tokens)} tokens, of 1 to {ways.limit} asked for"
    elif len(logp) != len(tokens):
        why = f"{len(logp)} log-probs for {len(tokens)} tokens"
    elif any(token in ways.ends for token in tokens[:-1]):
        why = "tokens behind its end"
    elif len(tokens) < ways.limit and tokens[-1] not in ways.ends:
        why = "neither an end nor as many tokens as asked for"
    elif not all(math.isfinite(value) and value < 1e-3 for value in logp):
        why = f"log-probs that are none, such as {next(v for v in logp if not math.isfinite(v) or v >= 1e-3)}"
    else:
        return
    raise ConfigError(f"the sampling engine gave a completion with {why}")
