"""Value and gradient from log-probs, written by hand for one batch: what the compiler could make of it at best."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maspo_dsl.runtime.exponential import inlined_exp

if TYPE_CHECKING:
    from benchmarks.from_log_probs import Problem

Derived = tuple[Tensor, Tensor]


def clipped_by_hand(problem: Problem) -> Callable[[], Derived]:
    """`dapo`; for each completion the advantage over the number of tokens and the bounds of the ratio are known."""
    advantage, mask = problem.batch["advantage"].unsqueeze(1), problem.batch["mask"]
    low = torch.where(advantage < 0, 1 - 0.2, -torch.inf)
    high = torch.where(advantage > 0, 1 + 0.28, torch.inf)
    rows = advantage / mask.sum(), low, high
    logp, old, floats = problem.logp.detach(), problem.batch["logp_old"], mask.float()
    compiled = torch.compile(_clipped)
    return lambda: compiled(logp, old, floats, *rows)


def _clipped(logp: Tensor, old: Tensor, mask: Tensor, weight: Tensor, low: Tensor, high: Tensor) -> Derived:
    trained = mask > 0
    apart = torch.where(trained, logp - old, 0.0)
    ratio = inlined_exp(torch.clamp(apart, -20, 20))
    clipped = torch.clamp(torch.clamp(ratio, max=high), min=low)
    term = weight * clipped
    moves = trained & (clipped == ratio) & (apart.abs() <= 20)
    return -torch.where(trained, term, 0.0).sum(), torch.where(moves, -term, 0.0)


def gated_by_hand(problem: Problem) -> Callable[[], Derived]:
    """`maspo`; for each completion its weight and half of what its advantage makes of the width are known."""
    advantage, mask = problem.batch["advantage"].unsqueeze(1), problem.batch["mask"]
    risk = torch.where(advantage > 0, 1 + 0.03 * advantage, 1 / (1 - 0.03 * advantage)).clamp(0.1, 10)
    rows = advantage / mask.sum(), advantage.sign(), -0.5 / risk**2
    logp, old, floats = problem.logp.detach(), problem.batch["logp_old"], mask.float()
    compiled = torch.compile(_gated)
    return lambda: compiled(logp, old, floats, *rows)


def _gated(
    logp: Tensor, old: Tensor, mask: Tensor, weight: Tensor, sign: Tensor, sharpness: Tensor
) -> Derived:
    trained = mask > 0
    apart = torch.where(trained, logp - old, 0.0)
    ratio = inlined_exp(torch.clamp(apart, -20, 20))
    # 1 / mass^2 with mass = old^-0.3 between 1 and 10.
    narrow = inlined_exp(torch.clamp(0.6 * torch.where(trained, old, 0.0), min=-4.605170186))
    gate = inlined_exp(sharpness * narrow * (ratio - 1) ** 2)
    term = weight * ratio * torch.where(sign * (ratio - 1) > 0, gate, 1.0)
    moves = trained & (apart.abs() <= 20)
    return -torch.where(trained, term, 0.0).sum(), torch.where(moves, -term, 0.0)


BY_HAND = {"dapo": clipped_by_hand, "maspo": gated_by_hand}
