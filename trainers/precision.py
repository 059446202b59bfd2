"""The precisions that a run can compute in, a row each: one for sampling, for old and reference, and for updates."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """Weights are float32; products are computed in `products`.

    `rounding` is what the log-prob of a token may differ by, in nats, when a model computes it in two ways: the mean
    over some tokens.
    """

    products: torch.dtype
    rounding: float


PRECISIONS = {
    # Two ways of summing differ by some 1e-5 nats in float32. bfloat16 keeps 8 bits: of a logit of 20, 0.06.
    "32-true": Precision(torch.float32, 1e-3),
    "bf16-mixed": Precision(torch.bfloat16, 0.1),
}


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of everything that reads a model.

    Enter it anew for each reading: within one, weights that were rounded without a gradient are kept for later
    readings that need it.
    """
    products = PRECISIONS[precision].products
    return torch.autocast(device.type, products, enabled=products != torch.float32)
