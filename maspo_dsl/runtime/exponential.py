"""exp of float32 in a few products, which a compiler keeps inside its loop: torch's own is a call for every vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor.decomposition import select_decomp_table

# exp(r) - 1 - r over r^2 for |r| <= log(2) / 2: expf of Cephes 2.2 (S. L. Moshier).
_POLYNOMIAL = (
    5.0000001201e-1,
    1.6666665459e-1,
    4.1665795894e-2,
    8.3334519073e-3,
    1.3981999507e-3,
    1.9875691500e-4,
)
# log(2) as a number of few bits, whose products with whole numbers are exact, and the rest of it.
_LOG_2_HIGH, _LOG_2_LOW = 0.693145751953125, 1.428606765330187e-06
# From here to there the result is a normal number; at the other side it is 0, or infinite.
_LOWEST, _HIGHEST = -87.33654, 88.37626
_EXPONENT_BIAS, _EXPONENT_BITS = 127, 23


def inlined_exp(x: Tensor) -> Tensor:
    """exp of float32, elementwise, to 2 units in the last place; exactly 1 at 0, and NaN at NaN.

    exp(x) is 2^n exp(r) with x = n log(2) + r, n whole (W. J. Cody and W. Waite, 1980). Subnormal results are 0.
    """
    n = torch.round(x * (1 / math.log(2)))
    r = x - n * _LOG_2_HIGH - n * _LOG_2_LOW
    c0, c1, c2, c3, c4, c5 = _POLYNOMIAL
    square = r * r
    # Pairs of terms at a time: one after the other each would wait for the one before it.
    polynomial = (c5 * r + c4) * (square * square) + ((c3 * r + c2) * square + (c1 * r + c0))
    power = ((n.to(torch.int32) + _EXPONENT_BIAS) << _EXPONENT_BITS).view(torch.float32)
    result = (polynomial * square + (r + 1)) * power
    return torch.where(x > _HIGHEST, torch.inf, torch.where(x < _LOWEST, 0.0, result))


def _decomposed(x: Tensor) -> Tensor:
    """For float32 on a CPU; elsewhere a compiler's own is inlined already, or as good."""
    return inlined_exp(x) if x.dtype == torch.float32 and x.device.type == "cpu" else NotImplemented


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What torch.compile writes in simpler operations, exp among it.

    Graphs that torch keeps on disk are not told apart by this table: who changes it clears them.
    """
    return {**select_decomp_table(), torch.ops.aten.exp.default: _decomposed}
