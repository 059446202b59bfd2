"""The loss from final hidden states and the head's weight: `[N, T, V]` is never formed.

The head is applied to chunks of tokens: logits, log-prob, coefficient c = dL/dlogp, and the gradients of states and
weight while the logits are still in the cache. That is one pass over the head if c of a token depends on the policy at
the tokens of its chunk alone: any chunk will do for token-local objectives, whole completions for those that gather
over one. Otherwise all log-probs are computed first, and a second pass takes only tokens with a coefficient.

Whole distributions of other policies come from their own states and heads: for each chunk their log-probs stand beside
the policy's logits.

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
from maspo_dsl.runtime.compiled import Gradient, live_tensors
from maspo_dsl.runtime.hidden_batch import HiddenBatch
from maspo_dsl.runtime.linear_head import HeadGradients, HeadPass, LinearHead

Tensors: TypeAlias = dict[str, Tensor]
Needs: TypeAlias = tuple[bool, bool, bool]

# Stand for what is not known yet: numbers at which most terms are finite.
_UNKNOWN_LOG_PROB, _UNKNOWN_VALUE = -1.0, 1.0


@dataclass(frozen=True)
class Compiled:
    """An objective as this module needs it: its functions, value and gradient of its loss, and its schedule.

    `gradient` maps (batch, parameters, denominators) to the loss and its gradient by live tensor. `memory` is what
    the logits of a chunk may take, in bytes, those of all policies together.
    """

    module: LossModule
    gradient: Gradient
    schedule: Schedule
    memory: int


@dataclass(frozen=True)
class Evaluated:
    """A loss, 0-d, with the batch, parameters and denominators that it was computed from.

    `skipped` are the trained tokens whose log-prob is still unknown, since the loss does not depend on it.
    """

    loss: Tensor
    x: Tensors
    p: Tensors
    d: Tensors
    skipped: Tensor


def loss_from_hidden(compiled: Compiled, given: HiddenBatch, head: LinearHead) -> LossOutput:
    """The loss with gradient to states, weight, bias, and the spec's own live inputs.

    Raises BatchError as the loss from log-probs does.
    """
    found: list[Evaluated] = []
    own = [given.batch[name] for name in own_live(compiled.module, given)]
    live = [given.hidden, head.weight, head.bias, *own]
    if not torch.is_grad_enabled():
        live = [None if each is None else each.detach() for each in live]
    loss = _FromHidden.apply(compiled, given, head, found, *live)  # type: ignore[no-untyped-call]
    versions = _versions(given, head)

    def measure() -> Any:
        (result,) = found
        if len(result.skipped):
            if versions != _versions(given, head):
                raise BatchError(
                    f"{compiled.module.name}: the metrics take in {len(result.skipped)} tokens without advantage, "
                    "which the loss did not need; read them before the optimizer changes the weight"
                )
            with torch.no_grad():
                _Passes(compiled, given, head.whole()).fill(result.x, result.skipped)
        parts, bad = compiled.module.measure(result.x, result.p, result.d)
        return {**parts, **_tails(result.x, given)}, bad

    return LossOutput(loss, measure)


def own_live(module: LossModule, given: HiddenBatch) -> list[str]:
    """Tensors of the batch that the loss has gradient to: the spec's own inputs, not what comes from the head."""
    return [name for name in live_tensors(module) if name in given.batch]


def _tails(x: Tensors, given: HiddenBatch) -> Tensors:
    """The mean of what the policy gives to tokens that are not known of a teacher, as parts of metrics."""
    mask = x["mask"]
    return {
        f"tail_{top.teacher}": torch.stack([torch.where(mask, x[top.tail], 0.0).sum(), mask.sum()]).double()
        for top in given.others.tops
    }


def _versions(given: HiddenBatch, head: LinearHead) -> list[int]:
    """What changes when states, weight or bias are written to."""
    heads = [(given.hidden, head), *((teacher.hidden, teacher.head) for teacher in given.others.teachers)]
    tensors = [tensor for hidden, each in heads for tensor in (hidden, each.weight, each.bias)]
    there = [tensor for tensor in tensors if tensor is not None and not tensor.is_inference()]
    return [tensor._version for tensor in there]


class _Passes:
    """The passes of one call."""

    def __init__(self, compiled: Compiled, given: HiddenBatch, head: LinearHead) -> None:
        self.module, self.gradient, self.plan = compiled.module, compiled.gradient, compiled.schedule
        self.given, self.head = given, head
        buffers = 1 + len(given.others.teachers)
        self.buffer = head.buffer(compiled.memory // buffers, len(given.tokens))
        self.others = [torch.empty_like(self.buffer) for _ in given.others.teachers]
        self.own_live = own_live(compiled.module, given)
        # What the last evaluation has for them: by then every log-prob that matters is known.
        self.own: list[Tensor] = []
        self.chunk = len(self.buffer)
        self.teachers = [teacher.like(head) for teacher in given.others.teachers]
        others = given.others
        self.computed = ("logp", *(each.tensor for each in others.values), *others.log_probs)
        self.tails = tuple(dict.fromkeys(top.tail for top in others.tops))

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
            loss, coefficients = self._coefficients(x, p, d)
            self._second_pass(gradients, rows, coefficients)
            return Evaluated(loss, x, p, d, rows[:0])
        d = self._denominators(x)
        active = self._active(x, rows, reach)
        known = None
        for block in blocks(reach, rows[active], self._sequences(x), self.chunk):
            known = self._pass_over_block(gradients, block, x, p, d)
        loss = self._coefficients(x, p, d)[0] if known is None else known
        skipped = rows[~active]
        if len(skipped) and not loss.isfinite():  # a term that is not defined at what stands for a log-prob
            self.fill(x, skipped)
            loss, skipped = self._coefficients(x, p, d)[0], skipped[:0]
        return Evaluated(loss, x, p, d, skipped)

    def fill(self, x: Tensors, rows: Tensor) -> None:
        """Put the log-probs (and entropies) of some tokens into the batch, and keep nothing else."""
        for chunk in torch.split(rows, self.chunk):
            self._store(x, chunk, self._head_pass(chunk))

    # ---- passes

    def _pass_over_block(
        self, gradients: HeadGradients, block: Tensor, x: Tensors, p: Tensors, d: Tensors
    ) -> Tensor:
        """One pass over the tokens of a block, or two if their logits do not fit together; the loss so far."""
        if len(block) > self.chunk:
            self.fill(x, block)
            loss, coefficients = self._coefficients(x, p, d)
            self._second_pass(gradients, block, coefficients)
            return loss
        head_pass = self._head_pass(block)
        self._store(x, block, head_pass)
        loss, coefficients = self._coefficients(x, p, d)
        self._add(gradients, head_pass, block, coefficients)
        return loss

    def _second_pass(self, gradients: HeadGradients | None, rows: Tensor, coefficients: Tensors) -> None:
        """Pass over the tokens that have a coefficient, now that it is known."""
        if gradients is None or not len(rows):
            return
        slopes = [slope for name, slope in coefficients.items() if name in {"logp", *self.plan.distributions}]
        used = torch.stack([_flat(slope)[rows] != 0 for slope in slopes]).any(0)
        for chunk in torch.split(rows[used], self.chunk):
            self._add(gradients, self._head_pass(chunk, again=True), chunk, coefficients)

    def _head_pass(self, rows: Tensor, *, again: bool = False) -> HeadPass:
        """A pass over some tokens; `again` asks for no more than what carries gradient."""
        asked = tuple(
            each for each in self.given.others.asked if each.tensor in self.plan.distributions or not again
        )
        others = [] if again and not asked else self.teachers
        tops = tuple(top.at(rows) for top in self.given.others.tops)
        logs = [
            teacher.head.log_probs(teacher.hidden[rows], buffer)
            for teacher, buffer in zip(others, self.others, strict=False)
        ]
        return self.head.run(
            self.given.hidden[rows], self.given.tokens[rows], self.buffer, asked=asked, others=logs, tops=tops
        )

    def _add(
        self, gradients: HeadGradients, head_pass: HeadPass, rows: Tensor, coefficients: Tensors
    ) -> None:
        wanted = {"logp", *self.plan.distributions}
        gradients.add(
            head_pass,
            rows,
            {name: _flat(each)[rows] for name, each in coefficients.items() if name in wanted},
        )

    def _store(self, x: Tensors, rows: Tensor, head_pass: HeadPass) -> None:
        """Write what a pass found into the batch."""
        found = head_pass.found()
        tokens = head_pass.tokens[:, None]
        for name, place in self.given.others.log_probs.items():
            found[name] = head_pass.others[place - 1].gather(1, tokens)[:, 0]
        for name, value in found.items():
            _flat(x[name])[rows] = value.to(x[name].dtype)

    def _coefficients(self, x: Tensors, p: Tensors, d: Tensors) -> tuple[Tensor, Tensors]:
        """The loss and its derivatives by live tensor with the log-probs known so far."""
        if x["mask"].numel() == 0:
            self.own = [torch.zeros_like(x[name]) for name in self.own_live]
            return x["logp"].new_zeros(()), {name: torch.zeros_like(x["logp"]) for name in self.computed}
        known = {name: each for name, each in x.items() if name not in self.tails}
        loss, slopes = self.gradient(known, p, d)
        self.own = [slopes[name] for name in self.own_live]
        return loss, slopes

    # ---- the batch

    def _prepared(self) -> Tensors:
        """The batch, with numbers of its own for what is to be computed."""
        mask = self.given.batch["mask"]
        unknown = {
            name: torch.full_like(mask, _unknown(name), dtype=self.head.dtype) for name in self.computed
        }
        x = self.module.prepare(self._with(unknown), "loss")
        tails = {name: torch.zeros_like(x["logp"]) for name in self.tails}
        return {**x, **tails, **self._found({name: x[name].clone() for name in self.computed})}

    def _prepared_late(self, x: Tensors) -> Tensors:
        """The batch with an advantage that is computed from the policy."""
        return {**self.module.prepare(self._with(x), "loss"), **{name: x[name] for name in self.tails}}

    def _with(self, x: Tensors) -> Tensors:
        """The batch as it came, with what is computed."""
        return {**self.given.batch, **self._found({name: x[name] for name in self.computed})}

    def _found(self, computed: Tensors) -> Tensors:
        """What is computed, under each of its names: on policy the old log-probs are the same numbers."""
        return {**computed, "logp_old": computed["logp"].detach()} if self.given.on_policy else computed

    def _estimates_late(self) -> bool:
        """Whether the advantage needs what is to be computed."""
        late = {*self.computed, "logp_old"} if self.given.on_policy else {*self.computed}
        return "advantage" not in self.given.batch and bool(late & set(self.module.reads["advantage"]))

    def _denominators(self, x: Tensors) -> Tensors:
        if self.given.denominators is not None:
            return self.given.denominators
        self.module.check_one_rank()
        return self.module.window([self._with(x)])

    def _active(self, x: Tensors, rows: Tensor, reach: Reach) -> Tensor:
        """Which of some tokens have a part in the loss: all, unless those without advantage are known to have none."""
        if not self.plan.skips_zero_advantage or "advantage" not in x:
            return torch.ones_like(rows, dtype=torch.bool)
        found = _flat((x["advantage"] != 0).expand_as(x["mask"]))[rows]
        if reach is not Reach.SEQUENCE:
            return found
        sequences = self._sequences(x)[rows]
        active = torch.zeros_like(x["present"])
        active[sequences[found]] = True
        return active[sequences]

    def _sequences(self, x: Tensors) -> Tensor:
        """Which sequence each token belongs to, [M]."""
        if "sequence" in x:
            return x["sequence"]
        rows, length = x["mask"].shape
        return torch.arange(rows, device=x["mask"].device).repeat_interleave(length)


def _unknown(name: str) -> float:
    return _UNKNOWN_LOG_PROB if name.startswith("logp") else _UNKNOWN_VALUE


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
        needs: Needs = ctx.needs_input_grad[4:7]
        whole = head.whole()
        gradients = HeadGradients.zeros(whole, given.hidden, needs) if any(needs) else None
        passes = _Passes(compiled, given, whole)
        result = passes.run(gradients)
        found.append(result)
        ctx.needs = ctx.needs_input_grad[4:]
        head_sums = (None,) * 3 if gradients is None else (gradients.hidden, gradients.weight, gradients.bias)
        sums = [
            value if needed else None
            for value, needed in zip((*head_sums, *passes.own), ctx.needs, strict=True)
        ]
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
