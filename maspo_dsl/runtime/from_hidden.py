"""The loss from final hidden states and the head's weight: `[N, T, V]` is never formed.

Tokens are visited in chunks: logits, log-prob, coefficient c = dL/dlogp, and the gradients of states and weight while
the logits are hot. That takes one visit if c of a token depends on the policy at the tokens of its chunk alone: any
chunk will do for token-local objectives, whole completions for those that gather over one. Otherwise all log-probs
are computed first, and only tokens with a coefficient are visited again.

A coefficient comes from the very graph of the loss from log-probs, evaluated on the whole batch with the log-probs
known so far; what stands for the others has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from maspo_dsl.analysis.coupling import Reach
from maspo_dsl.analysis.schedule import Schedule
from maspo_dsl.emit.template.loss_module import LossModule
from maspo_dsl.emit.template.metrics import LossOutput
from maspo_dsl.emit.template.names import BatchError
from maspo_dsl.runtime.blocks import blocks
from maspo_dsl.runtime.compiled import Gradient
from maspo_dsl.runtime.hidden_batch import HiddenBatch
from maspo_dsl.runtime.linear_head import HeadGradients, LinearHead, Visit

Tensors: TypeAlias = dict[str, Tensor]
Needs: TypeAlias = tuple[bool, bool, bool]

# Stand for what is not known yet: numbers at which most terms are finite.
_UNKNOWN = {"logp": -1.0, "entropy": 1.0}


@dataclass(frozen=True)
class Compiled:
    """An objective as this module needs it: its functions, value and gradient of its loss, and its schedule.

    `gradient` maps (batch, parameters, denominators) to the loss and its gradient by live tensor. `memory` is what
    the logits of a chunk may take, in bytes.
    """

    module: LossModule
    gradient: Gradient
    schedule: Schedule
    memory: int


@dataclass(frozen=True)
class Evaluated:
    """A loss, 0-d, with the batch, parameters and denominators that it was computed from.

    `unvisited` are the trained tokens whose log-prob is still unknown, since the loss does not depend on it.
    """

    loss: Tensor
    x: Tensors
    p: Tensors
    d: Tensors
    unvisited: Tensor


def loss_from_hidden(compiled: Compiled, given: HiddenBatch, head: LinearHead) -> LossOutput:
    """The loss with gradient to states, weight and bias. Raises BatchError as the loss from log-probs does."""
    found: list[Evaluated] = []
    live = [given.hidden, head.weight, head.bias]
    if not torch.is_grad_enabled():
        live = [None if each is None else each.detach() for each in live]
    loss = _FromHidden.apply(compiled, given, head, found, *live)  # type: ignore[no-untyped-call]
    versions = _versions(given, head)

    def measure() -> Any:
        (result,) = found
        if len(result.unvisited):
            if versions != _versions(given, head):
                raise BatchError(
                    f"{compiled.module.name}: the metrics take in {len(result.unvisited)} tokens without advantage, "
                    "which the loss did not need; read them before the optimizer changes the weight"
                )
            with torch.no_grad():
                _Visits(compiled, given, head.whole()).fill(result.x, result.unvisited)
        return compiled.module.measure(result.x, result.p, result.d)

    return LossOutput(loss, measure)


def _versions(given: HiddenBatch, head: LinearHead) -> list[int]:
    """What changes when states, weight or bias are written to."""
    return [tensor._version for tensor in (given.hidden, head.weight, head.bias) if tensor is not None]


class _Visits:
    """The visits of one call."""

    def __init__(self, compiled: Compiled, given: HiddenBatch, head: LinearHead) -> None:
        self.module, self.gradient, self.plan = compiled.module, compiled.gradient, compiled.schedule
        self.given, self.head = given, head
        self.buffer = head.buffer(compiled.memory, len(given.tokens))
        self.chunk = len(self.buffer)
        self.computed = ("logp", "entropy") if self._computes_entropy() else ("logp",)

    def run(self, gradients: HeadGradients | None) -> Evaluated:
        """The loss; gradients are added to what is given."""
        x = self._prepared()
        p = self.module.parameters_in(x)
        rows = _flat(x["mask"]).nonzero()[:, 0]
        late = self._estimates_late()
        reach = self.plan.reach if self.given.denominators is None else self.plan.reach_given
        if gradients is None or late or reach > Reach.SEQUENCE:
            self.fill(x, rows)
            x = self._prepared_late(x) if late else x
            d = self._denominators(x)
            loss, slopes = self._slopes(x, p, d)
            self._visit_again(gradients, rows, slopes)
            return Evaluated(loss, x, p, d, rows[:0])
        d = self._denominators(x)
        heard = self._heard(x, rows, reach)
        known = None
        for block in blocks(reach, rows[heard], self._sequences(x), self.chunk):
            known = self._visit_block(gradients, block, x, p, d)
        loss = self._slopes(x, p, d)[0] if known is None else known
        silent = rows[~heard]
        if len(silent) and not loss.isfinite():  # a term that is not defined at what stands for a log-prob
            self.fill(x, silent)
            loss, silent = self._slopes(x, p, d)[0], silent[:0]
        return Evaluated(loss, x, p, d, silent)

    def fill(self, x: Tensors, rows: Tensor) -> None:
        """Put the log-probs (and entropies) of some tokens into the batch, and keep nothing else."""
        for chunk in torch.split(rows, self.chunk):
            self._note(x, chunk, self._visit(chunk, entropy="entropy" in self.computed))

    # ---- visits

    def _visit_block(
        self, gradients: HeadGradients, block: Tensor, x: Tensors, p: Tensors, d: Tensors
    ) -> Tensor:
        """One visit to the tokens of a block, or two if their logits do not fit together; the loss so far."""
        if len(block) > self.chunk:
            self.fill(x, block)
            loss, slopes = self._slopes(x, p, d)
            self._visit_again(gradients, block, slopes)
            return loss
        visit = self._visit(block, entropy="entropy" in self.computed)
        self._note(x, block, visit)
        loss, slopes = self._slopes(x, p, d)
        self._add(gradients, visit, block, slopes)
        return loss

    def _visit_again(self, gradients: HeadGradients | None, rows: Tensor, slopes: Tensors) -> None:
        """Visit the tokens that have a coefficient, now that it is known."""
        if gradients is None or not len(rows):
            return
        used = torch.stack([_flat(slope)[rows] != 0 for slope in slopes.values()]).any(0)
        for chunk in torch.split(rows[used], self.chunk):
            self._add(gradients, self._visit(chunk, entropy=self.plan.entropy), chunk, slopes)

    def _visit(self, rows: Tensor, *, entropy: bool) -> Visit:
        return self.head.visit(self.given.hidden[rows], self.given.tokens[rows], self.buffer, entropy=entropy)

    def _add(self, gradients: HeadGradients, visit: Visit, rows: Tensor, slopes: Tensors) -> None:
        entropy = _flat(slopes["entropy"])[rows] if self.plan.entropy else None
        gradients.add(visit, rows, _flat(slopes["logp"])[rows], entropy)

    def _note(self, x: Tensors, rows: Tensor, visit: Visit) -> None:
        """Write down what a visit found."""
        for name, value in (("logp", visit.logp), ("entropy", visit.entropy)):
            if value is not None and name in self.computed:
                _flat(x[name])[rows] = value.to(x[name].dtype)

    def _slopes(self, x: Tensors, p: Tensors, d: Tensors) -> tuple[Tensor, Tensors]:
        """The loss and dL/dlogp (and dL/dentropy) with the log-probs known so far."""
        if x["mask"].numel() == 0:
            return x["logp"].new_zeros(()), {name: torch.zeros_like(x["logp"]) for name in self.computed}
        return self.gradient(x, p, d)

    # ---- the batch

    def _prepared(self) -> Tensors:
        """The batch, with numbers of its own for what is to be computed."""
        mask = self.given.batch["mask"]
        unknown = {
            name: torch.full_like(mask, _UNKNOWN[name], dtype=self.head.dtype) for name in self.computed
        }
        x = self.module.prepare({**self.given.batch, **unknown}, "loss")
        return {**x, **{name: x[name].clone() for name in self.computed}}

    def _prepared_late(self, x: Tensors) -> Tensors:
        """The batch with an advantage that is computed from the policy."""
        return self.module.prepare({**self.given.batch, **{name: x[name] for name in self.computed}}, "loss")

    def _estimates_late(self) -> bool:
        """Whether the advantage needs what is to be computed."""
        return "advantage" not in self.given.batch and bool(
            {*self.computed} & set(self.module.reads["advantage"])
        )

    def _computes_entropy(self) -> bool:
        """Whether the entropy is read and not given."""
        estimated = "entropy" in self.module.reads["advantage"] and "advantage" not in self.given.batch
        return "entropy" not in self.given.batch and (estimated or "entropy" in self.module.reads["loss"])

    def _denominators(self, x: Tensors) -> Tensors:
        if self.given.denominators is not None:
            return self.given.denominators
        self.module.refuse_several_ranks()
        return self.module.window([{**self.given.batch, **{name: x[name] for name in self.computed}}])

    def _heard(self, x: Tensors, rows: Tensor, reach: Reach) -> Tensor:
        """Which of some tokens have a part in the loss: all, unless those without advantage are known to have none."""
        if not self.plan.silent or "advantage" not in x:
            return torch.ones_like(rows, dtype=torch.bool)
        found = _flat((x["advantage"] != 0).expand_as(x["mask"]))[rows]
        if reach is not Reach.SEQUENCE:
            return found
        sequences = self._sequences(x)[rows]
        heard = torch.zeros_like(x["present"])
        heard[sequences[found]] = True
        return heard[sequences]

    def _sequences(self, x: Tensors) -> Tensor:
        """Which sequence each token belongs to, [M]."""
        if "sequence" in x:
            return x["sequence"]
        rows, length = x["mask"].shape
        return torch.arange(rows, device=x["mask"].device).repeat_interleave(length)


def _flat(value: Tensor) -> Tensor:
    return value.reshape(-1)


class _FromHidden(torch.autograd.Function):
    """Computes loss and gradients forward, and hands the gradients out backward."""

    @staticmethod
    def forward(
        ctx: Any,
        compiled: Compiled,
        given: HiddenBatch,
        head: LinearHead,
        found: list[Evaluated],
        *live: Tensor | None,
    ) -> Tensor:
        """The loss; gradients of states, weight and bias are kept for the backward pass."""
        needs: Needs = ctx.needs_input_grad[4:]
        whole = head.whole()
        gradients = HeadGradients.zeros(whole, given.hidden, needs) if any(needs) else None
        result = _Visits(compiled, given, whole).run(gradients)
        found.append(result)
        ctx.needs = needs
        if gradients is not None:
            sums = (gradients.hidden, gradients.weight, gradients.bias)
            wanted = [(value, like) for value, like in zip(sums, live, strict=True) if value is not None]
            ctx.save_for_backward(*(value.to(like.dtype) for value, like in wanted if like is not None))
        return result.loss.to(result.x["logp"].dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> Any:
        """The kept gradients times what comes from above; it is mostly 1, and then no weight is copied."""
        kept = iter(ctx.saved_tensors)
        one = bool(incoming == 1)
        gradients = [(next(kept) if needed else None) for needed in ctx.needs]
        scaled = [each if each is None or one else each * incoming for each in gradients]
        return (None, None, None, None, *scaled)
