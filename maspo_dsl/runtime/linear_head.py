"""The linear head of a language model at some tokens at a time: log-probs, and their gradient while logits are hot.

Logits are [C, V] for a chunk of C tokens, in one buffer that is used again and again. The exponentials stay
unscaled in it; what scales them, -c / sum for a token's coefficient c = dL/dlogp, is folded into the small
operands of the matrix products, and the one-hot part is one entry a token. With logits z = h W^T + b,
p = softmax(z) and y the token,

    dlogp / dz = onehot(y) - p

and functions of the whole distribution p, such as its entropy, have the derivatives of `logits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maspo_dsl.emit.template.head import head_dtype
from maspo_dsl.runtime.logits import (
    Asked,
    Pass,
    exponentials_and_values,
    fused,
    log_probs_,
    plain,
    residuals,
    rows_at_once,
)
from maspo_dsl.runtime.top_tokens import TopTokens, tail_of

# Below, a row of logits stays in the cache of a core, and fusing the passes over it saves nothing.
FUSED_FROM = 8192


@dataclass(frozen=True)
class HeadPass:
    """C tokens while their logits are hot.

    `exponentials` [C, V] is exp(z - max) in the buffer, `total` [C] its sum; `logp` [C]; `others` are the log-probs
    [C, V] of other policies; `asked` are functions of all these distributions, with their values [C]. `tops` are asked
    of teachers of whom a few tokens are known.
    """

    hidden: Tensor
    tokens: Tensor
    exponentials: Tensor
    total: Tensor
    logp: Tensor
    others: tuple[Tensor, ...] = ()
    asked: tuple[Asked, ...] = ()
    values: tuple[Tensor, ...] = ()
    tops: tuple[TopTokens, ...] = ()

    def found(self) -> dict[str, Tensor]:
        """Everything that is known of the tokens, [C] each, by tensor; before the exponentials are written over."""
        known = {each.tensor: value for each, value in zip(self.asked, self.values, strict=True)}
        for top in self.tops:
            own = self.of_top(top)
            known |= {top.asked.tensor: top.value(own), top.tail: tail_of(own)}
        return {"logp": self.logp, **known}

    def of_top(self, top: TopTokens) -> Tensor:
        """The policy's probabilities [C, K] of the tokens that are known of a teacher."""
        return self.exponentials[: len(self.total)].gather(1, top.index) / self.total[:, None]

    def at(self, rows: Tensor) -> HeadPass:
        """Some of the tokens; what is [C, V] stays where it is."""
        return replace(
            self,
            hidden=self.hidden[rows],
            tokens=self.tokens[rows],
            total=self.total[rows],
            logp=self.logp[rows],
            values=tuple(value[rows] for value in self.values),
            tops=tuple(top.at(rows) for top in self.tops),
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
        return head_dtype(self.weight)

    def buffer(self, memory: int, tokens: int) -> Tensor:
        """Room for the logits of as many of some tokens as fit into `memory` bytes, and of one at least."""
        fitting = memory // max(1, len(self.weight) * self.dtype.itemsize)
        return self.weight.new_empty((max(1, min(fitting, tokens)), len(self.weight)), dtype=self.dtype)

    def run(
        self,
        hidden: Tensor,
        tokens: Tensor,
        buffer: Tensor,
        *,
        asked: tuple[Asked, ...] = (),
        others: Sequence[Tensor] = (),
        tops: tuple[TopTokens, ...] = (),
    ) -> HeadPass:
        """Log-probs of `tokens` [C] after the states `hidden` [C, H], and what is asked; logits go to the buffer."""
        hidden, logits = self._logits(hidden, buffer[: len(tokens)])
        picked = logits.gather(1, tokens[:, None])[:, 0]
        top, total, *values = self.compiled(exponentials_and_values(asked))(logits, *others)
        logp = picked - top - total.log()
        return HeadPass(hidden, tokens, logits, total, logp, tuple(others), asked, tuple(values), tops)

    def log_probs(self, hidden: Tensor, buffer: Tensor) -> Tensor:
        """Log-probs [C, V] after the states `hidden` [C, H], in the buffer."""
        _, logits = self._logits(hidden, buffer[: len(hidden)])
        self.compiled(log_probs_)(logits)
        return logits

    def compiled(self, function: Pass) -> Pass:
        """A pass over logits as this head makes it."""
        return fused(function) if self.fused else plain(function)

    def _logits(self, hidden: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """The states as they enter the product, and the logits."""
        hidden = hidden.to(self.dtype) / self.temperature if self.temperature != 1 else hidden
        product_into(out, hidden, self.weight.t())
        if self.bias is not None:
            out.add_(self.bias / self.temperature)
        return hidden, out


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

    def add(self, head_pass: HeadPass, rows: Tensor, coefficients: Mapping[str, Tensor]) -> None:
        """What a pass adds, given dL/d of `logp` and of values that were asked, [C] each, by tensor.

        `rows` [C] are its tokens' places in `hidden`. Tokens at which all are 0 are left out of the products.
        """
        used = torch.stack([each != 0 for each in coefficients.values()]).any(0)
        order = moved_to_front(used, head_pass.exponentials, *head_pass.others)
        if len(order) < len(used):
            head_pass, rows = head_pass.at(order), rows[order]
            coefficients = {name: each[order] for name, each in coefficients.items()}
        if len(order):
            buffer = head_pass.exponentials[: len(order)]
            scale = self._residuals(buffer, head_pass, coefficients)
            self._add_products(buffer, scale, head_pass.hidden, rows)

    def _residuals(self, buffer: Tensor, head_pass: HeadPass, coefficients: Mapping[str, Tensor]) -> Tensor:
        """Turn exponentials in the buffer into -dL/dz, but for a factor of each token [C], which is returned."""
        logp = coefficients.get("logp", torch.zeros_like(head_pass.logp))
        known = dict(zip(head_pass.asked, head_pass.values, strict=True))
        asked = tuple(each for each in head_pass.asked if each.tensor in coefficients)
        tops = [top for top in head_pass.tops if top.asked.tensor in coefficients]
        if not asked and not tops:
            scale, own = logp / head_pass.total, head_pass.total
        else:
            constant, beyond = logp, []
            for top in tops:
                coefficient = coefficients[top.asked.tensor]
                tail, more = top.slopes(head_pass.of_top(top))
                constant = constant - coefficient * tail
                beyond.append((top.index, -coefficient[:, None] * more))
            given = [*(coefficients[each.tensor] for each in asked), *(known[each] for each in asked)]
            others = [each[: len(buffer)] for each in head_pass.others]
            self.head.compiled(residuals(asked))(buffer, head_pass.total, constant, *given, *others)
            for index, more in beyond:
                buffer.scatter_add_(1, index, more)
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


def moved_to_front(used: Tensor, *buffers: Tensor) -> Tensor:
    """Move the rows of buffers [C, V] at which `used` [C] is true to their front, in place.

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
    for buffer in buffers:
        rows = rows_at_once(buffer)
        for hole, mover in zip(torch.split(holes, rows), torch.split(movers, rows), strict=True):
            buffer.index_copy_(0, hole, torch.index_select(buffer, 0, mover))
    return order


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
