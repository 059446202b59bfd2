"""What others have for a head and the log-probs of its tokens, as a careful user of them would put our loss on top."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeAlias

import torch
from torch import Tensor

Scored: TypeAlias = tuple[Tensor, Tensor | None]
Scoring: TypeAlias = Callable[[Tensor, Tensor, Tensor], Scored]
"""States [M, H], weight [V, H] and tokens [M] to log-probs [M], and entropies [M] where they are asked for."""


def plain(*, entropy: bool) -> Scoring:
    """Logits of all tokens, as plain torch forms them."""

    def score(states: Tensor, weight: Tensor, tokens: Tensor) -> Scored:
        logp = torch.log_softmax(torch.nn.functional.linear(states, weight).float(), -1)
        chosen = logp.gather(1, tokens[:, None])[:, 0]
        return chosen, -(logp.exp() * logp).sum(-1) if entropy else None

    return score


def liger(*, entropy: bool) -> Scoring | None:
    """Liger's scaled cross entropy, which verl uses since #7461; on a CPU it is verl's chunks of 512 tokens."""
    if not (find_spec("liger_kernel") and find_spec("triton")):
        return None
    from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction as Function

    def score(states: Tensor, weight: Tensor, tokens: Tensor) -> Scored:
        found: Any = Function.apply(states, weight, tokens, return_entropy=entropy)
        return (-found[0], found[1]) if entropy else (-found, None)

    return score


def verl(*, entropy: bool) -> Scoring | None:
    """verl's Triton kernel, which has no other form than one with entropies, and runs on a GPU alone."""
    if not (entropy and torch.cuda.is_available() and find_spec("verl")):
        return None
    from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

    def score(states: Tensor, weight: Tensor, tokens: Tensor) -> Scored:
        logp, entropies = linear_cross_entropy(states, weight, tokens, 1.0, "none")
        return logp, entropies

    return score


def cut(*, entropy: bool) -> Scoring | None:
    """cut-cross-entropy: its kernel on a GPU, on a CPU what it compiles, which forms the logits. It has no entropy."""
    if entropy or not (find_spec("cut_cross_entropy") and find_spec("triton")):
        return None
    from cut_cross_entropy import linear_cross_entropy

    def score(states: Tensor, weight: Tensor, tokens: Tensor) -> Scored:
        way = "cce" if states.is_cuda else "torch_compile"
        return -linear_cross_entropy(states, weight, tokens, reduction="none", impl=way), None

    return score


SCORINGS: dict[str, Callable[..., Scoring | None]] = {
    "Liger's scaled cross entropy": liger,
    "verl's kernel": verl,
    "cut-cross-entropy": cut,
}
"""By name; each is None where it is not installed, does not run or has no entropy."""


def torch_chunks(states: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """torch's `linear_cross_entropy` in chunks, summed: the one form that has them, less than a loss of RL needs."""
    options = torch.nn.LinearCrossEntropyOptions()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it forms the logits after all
        value: Tensor = torch.nn.functional.linear_cross_entropy(
            states, weight, tokens, reduction="sum", options=options
        )
    return value
