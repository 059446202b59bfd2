"""The linear head of a language model at some tokens at a time: log-probs, and their gradient while logits are hot.

Logits are [C, V] for a chunk of C tokens, in one buffer that is used again and again. The exponentials stay
unscaled in it; what scales them, -c / sum for a token's coefficient c = dL/dlogp, is folded into the small
operands of the matrix products, and the one-hot part is one entry a token. With logits z = h W^T + b,
p = softmax(z), y the token and H the entropy:

    dlogp / dz = onehot(y) - p            dH / dz = -p (log p + H)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

# Below, a row of logits stays in the cache of a core, and fusing the passes over it saves nothing.
FUSED_FROM = 8192
# Rows that are moved or looked at together: few, so that what is held beside the buffer stays small, but enough for
# a call to pay.
_ROWS_AT_ONCE, _NUMBERS_AT_ONCE = 32, 2**18
# exp of the one is 0, and the log of the other finite: 0 times infinity never comes up.
_NOTHING, _TINY = -1000.0, 1e-38


@dataclass(frozen=True)
class HeadPass:
    """C tokens while their logits are hot.

    `exponentials` [C, V] is exp(z - max) in the buffer, `total` [C] its sum; `logp` [C]; `entropy` [C] or None.
    """

    hidden: Tensor
    tokens: Tensor
    exponentials: Tensor
    total: Tensor
    logp: Tensor
    entropy: Tensor | None

    def at(self, rows: Tensor) -> HeadPass:
        """Some of the tokens; the exponentials stay where they are."""
        entropy = None if self.entropy is None else self.entropy[rows]
        return HeadPass(
            self.hidden[rows],
            self.tokens[rows],
            self.exponentials,
            self.total[rows],
            self.logp[rows],
            entropy,
        )


@dataclass(frozen=True)
class LinearHead:
    """`weight` [V, H] and `bias` [V] or None; `fused` compiles the passes over logits.

    Products and sums are in float32, or float64 if the weight is.
    """

    weight: Tensor
    bias: Tensor | None
    temperature: float
    fused: bool

    def whole(self) -> LinearHead:
        """The head in the dtype of its products, where the device has none that sums in a wider one."""
        if self.weight.is_cuda or self.weight.dtype == self.dtype:
            return self
        bias = None if self.bias is None else self.bias.to(self.dtype)
        return replace(self, weight=self.weight.to(self.dtype), bias=bias)

    @property
    def dtype(self) -> torch.dtype:
        """What logits and gradients are computed in."""
        return torch.promote_types(torch.float32, self.weight.dtype)

    def buffer(self, memory: int, tokens: int) -> Tensor:
        """Room for the logits of as many of some tokens as fit into `memory` bytes, and of one at least."""
        fitting = memory // max(1, len(self.weight) * self.dtype.itemsize)
        return self.weight.new_empty((max(1, min(fitting, tokens)), len(self.weight)), dtype=self.dtype)

    def run(self, hidden: Tensor, tokens: Tensor, buffer: Tensor, *, entropy: bool) -> HeadPass:
        """Log-probs (and entropies) of `tokens` [C] after the states `hidden` [C, H]; logits go to the buffer."""
        logits = buffer[: len(tokens)]
        hidden = hidden.to(self.dtype) / self.temperature if self.temperature != 1 else hidden
        product_into(logits, hidden, self.weight.t())
        if self.bias is not None:
            logits.add_(self.bias / self.temperature)
        picked = logits.gather(1, tokens[:, None])[:, 0]
        passes = _fused if self.fused else _plain
        if not entropy:
            top, total = passes(exponentials_)(logits)
            return HeadPass(hidden, tokens, logits, total, picked - top - total.log(), None)
        top, total, moment = passes(exponentials_and_moment_)(logits)
        return HeadPass(
            hidden, tokens, logits, total, picked - top - total.log(), total.log() - moment / total
        )


@dataclass(frozen=True)
class HeadGradients:
    """Sums of gradients over passes: of every state [M, H], the weight [V, H] and the bias [V], where wanted."""

    head: LinearHead
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @staticmethod
    def zeros(head: LinearHead, hidden: Tensor, needs: tuple[bool, bool, bool]) -> HeadGradients:
        """Nothing yet, for those of states, weight and bias that need a gradient."""
        return HeadGradients(
            head,
            torch.zeros_like(hidden) if needs[0] else None,
            torch.zeros_like(head.weight, dtype=head.dtype) if needs[1] else None,
            torch.zeros_like(head.bias, dtype=head.dtype) if needs[2] and head.bias is not None else None,
        )

    def add(self, head_pass: HeadPass, rows: Tensor, logp: Tensor, entropy: Tensor | None) -> None:
        """What a pass adds, given dL/dlogp [C] and dL/dentropy [C]; `rows` [C] are its tokens' places in `hidden`.

        Tokens at which both are 0 are left out of the products.
        """
        used = logp != 0 if entropy is None else (logp != 0) | (entropy != 0)
        order = moved_to_front(head_pass.exponentials, used)
        buffer = head_pass.exponentials[: len(order)]
        if len(order) < len(used):
            head_pass, rows, logp = head_pass.at(order), rows[order], logp[order]
            entropy = None if entropy is None else entropy[order]
        if len(order):
            self._add_products(
                buffer, self._residuals(buffer, head_pass, logp, entropy), head_pass.hidden, rows
            )

    def _residuals(self, buffer: Tensor, head_pass: HeadPass, logp: Tensor, entropy: Tensor | None) -> Tensor:
        """Turn exponentials in the buffer into -dL/dz, but for a factor of each token [C], which is returned."""
        if entropy is None or head_pass.entropy is None:
            scale, own = logp / head_pass.total, head_pass.total
        else:
            slope = entropy / head_pass.total
            constant = logp / head_pass.total + slope * (head_pass.entropy - head_pass.total.log())
            (_fused if self.head.fused else _plain)(residuals_)(buffer, constant, slope)
            scale, own = torch.ones_like(logp), logp
        places = head_pass.tokens[:, None]
        buffer.scatter_(1, places, buffer.gather(1, places) - own[:, None])
        return scale

    def _add_products(self, residuals: Tensor, scale: Tensor, states: Tensor, rows: Tensor) -> None:
        if self.hidden is not None:
            gradient = product(residuals, self.head.weight).mul_(-scale[:, None] / self.head.temperature)
            self.hidden.index_copy_(0, rows, gradient.to(self.hidden.dtype))
        if self.weight is not None:
            scaled = states.to(self.head.dtype) * scale[:, None]
            subtract_product(self.weight, residuals.t(), scaled, self.head.weight.dtype)
        if self.bias is not None:
            self.bias.sub_((scale / self.head.temperature) @ residuals)


def moved_to_front(buffer: Tensor, used: Tensor) -> Tensor:
    """Move the rows of a buffer [C, V] at which `used` [C] is true to its front, in place.

    Returns which rows stand there now, in their new order. The device is waited for once.
    """
    kept = used.nonzero()[:, 0]
    count = len(kept)
    if count == len(used):
        return kept
    order = torch.arange(count, device=used.device)
    holes = (~used[:count]).nonzero()[:, 0]
    movers = kept[kept >= count]
    order[holes] = movers
    rows = _rows_at_once(buffer)
    for hole, mover in zip(torch.split(holes, rows), torch.split(movers, rows), strict=True):
        buffer.index_copy_(0, hole, torch.index_select(buffer, 0, mover))
    return order


def _rows_at_once(buffer: Tensor) -> int:
    return max(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // max(1, buffer.shape[1]))


# ---- matrix products


def product_into(out: Tensor, left: Tensor, right: Tensor) -> None:
    """left @ right into `out`, summed in the dtype of `out`."""
    if right.dtype == out.dtype:
        torch.mm(left.to(out.dtype), right, out=out)
    else:
        out.copy_(torch.mm(left.to(right.dtype), right, out_dtype=out.dtype))


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right in the dtype of `left`."""
    out = left.new_empty((len(left), right.shape[1]))
    product_into(out, left, right)
    return out


def subtract_product(out: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype) -> None:
    """Take left @ right from `out`; the factors are rounded to `dtype`, the weight's."""
    if dtype == out.dtype:
        out.addmm_(left, right, alpha=-1)
    else:
        out.sub_(torch.mm(left.to(dtype), right.to(dtype), out_dtype=out.dtype))


# ---- passes over logits, in place

# Written as if everything fitted beside the logits: compiled, nothing does; otherwise few rows are taken at a time.


def exponentials_(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits [C, V] into exp(logits - max); gives the maxima and the sums, [C] each."""
    top = logits.amax(1)
    exponentials = (logits - top[:, None]).exp()
    logits.copy_(exponentials)
    return top, exponentials.sum(1)


def exponentials_and_moment_(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `exponentials_`, with the sum over exp(d) * d of d = logits - max; a forbidden token has no share in it."""
    top = logits.amax(1)
    below = (logits - top[:, None]).clamp(min=_NOTHING)
    exponentials = below.exp()
    logits.copy_(exponentials)
    return top, exponentials.sum(1), (exponentials * below).sum(1)


def residuals_(exponentials: Tensor, constant: Tensor, slope: Tensor) -> tuple[()]:
    """Turn exponentials e [C, V] into e * (constant + slope * log e), 0 where e is 0."""
    logs = exponentials.clamp(min=_TINY).log()
    exponentials.copy_(exponentials * (constant[:, None] + slope[:, None] * logs))
    return ()


def _plain(function: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """A pass in a few rows at a time."""

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        rows = _rows_at_once(tensors[0])
        parts = [function(*part) for part in zip(*(torch.split(each, rows) for each in tensors), strict=True)]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    return run


@cache
def _fused(function: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """A pass compiled for any number of rows but one, which torch.compile takes for another shape."""
    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        if len(tensors[0]) == 1:
            return function(*tensors)
        for each in tensors:
            torch._dynamo.decorators.mark_dynamic(each, 0)
        found: tuple[Tensor, ...] = compiled(*tensors)
        return found

    return run
