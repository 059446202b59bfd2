"""The compiled loss: the generated module, its value and gradient in one `torch.compile`d graph."""

from __future__ import annotations

import builtins
import linecache
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from maspo_dsl.analysis.schedule import Schedule, schedule
from maspo_dsl.emit.template.head import as_autocast, room_for_logits
from maspo_dsl.emit.template.loss_module import LossModule, Parameters
from maspo_dsl.emit.template.metrics import LossOutput
from maspo_dsl.emit.template.names import BatchError
from maspo_dsl.objective import Objective, SpecLike, load
from maspo_dsl.runtime.checked_parameters import CheckedParameters
from maspo_dsl.runtime.compiled import CompiledLoss, eager_gradient
from maspo_dsl.runtime.from_hidden import Compiled, loss_from_hidden
from maspo_dsl.runtime.hidden_batch import check_head, hidden_batch
from maspo_dsl.runtime.linear_head import LinearHead
from maspo_dsl.runtime.log_probs import fuses
from maspo_dsl.runtime.teachers import States, check_teachers, check_tops, of_teachers

Backend: TypeAlias = Literal["inductor", "eager", "aot_eager"]


def compile(
    source: SpecLike,
    *,
    params: Mapping[str, float] | None = None,
    run: Mapping[str, float] | None = None,
    backend: Backend = "inductor",
) -> ObjectiveLoss:
    """The loss of an objective as a module without weights.

    `source` is a shipped name, a path, an open file or an Objective; `params` sets parameters, and `run` gives those
    that are bound to a constant of the run its value (see `load`). With backend `inductor` the value and the gradient
    are one fused graph for every shape; where torch cannot compile it says so once and runs eagerly. `eager` never
    compiles. Raises SpecError.
    """
    return ObjectiveLoss(load(source, params, run=run), backend)


class ObjectiveLoss(nn.Module):
    """An objective's loss. `objective` is what it computes; `params` are its parameters as 0-d tensors.

    `loss.params["eps_high"] = 0.3` sets a parameter without compiling again, and what has it for its default follows; a
    value outside of its domain is refused, and so is one that was built in, because it removed a term, say. Changed
    values are part of `state_dict`. `head_memory` is what the logits of a chunk may take in
    `from_hidden`, in bytes; None is 96 MiB on a CPU and 1 GiB elsewhere. Pickled and copied it is the objective with
    the present values of its parameters: what was compiled is compiled again where it is needed.
    """

    def __init__(self, objective: Objective, backend: Backend = "inductor") -> None:
        super().__init__()
        if backend not in ("inductor", "eager", "aot_eager"):
            raise ValueError(f"backend {backend!r} is not known: inductor, eager or aot_eager")
        self.objective = objective
        self.module = loss_module(objective)
        self.backend = backend
        self.head_memory: int | None = None
        self._schedules: dict[frozenset[str], Schedule] = {}
        if backend != "eager":
            self.module.evaluate = CompiledLoss(self.module, backend)  # type: ignore[method-assign]

    def __reduce__(self) -> tuple[Any, ...]:
        """The objective, the backend, and the values of parameters and settings."""
        return _rebuilt, (self.objective, self.backend, self.module.values, self.head_memory)

    @property
    def params(self) -> Parameters:
        """Parameters that can be set, 0-d each, and are the loss's own: `fill_` changes them unchecked."""
        return CheckedParameters(self.objective.resolved, self.module)

    @property
    def compilations(self) -> int:
        """How many graphs were compiled so far."""
        evaluate = self.module.evaluate
        return evaluate.compilations if isinstance(evaluate, CompiledLoss) else 0

    def forward(
        self, batch: Mapping[str, Tensor], *, denominators: Mapping[str, Tensor] | None = None
    ) -> LossOutput:
        """The loss of a batch `[N, T]`, or of a part of a window if its `denominators` are given.

        Without denominators the batch is the whole window; with more than one rank that is an error. Raises
        BatchError: a tensor is missing or has the wrong shape.
        """
        output: LossOutput = self.module(batch, denominators=denominators)
        return _reporting(output, self.objective.name)

    def from_hidden(
        self,
        hidden: Tensor,
        weight: Tensor,
        tokens: Tensor,
        batch: Mapping[str, Tensor],
        *,
        bias: Tensor | None = None,
        temperature: float = 1.0,
        denominators: Mapping[str, Tensor] | None = None,
        on_policy: bool = False,
        entropy: bool = False,
        teachers: Mapping[str, States] = MappingProxyType({}),
    ) -> LossOutput:
        """The loss of a batch without log-probs, from the states before the head; `[N, T, V]` is never formed.

        `hidden` is [N, T, H], or packed [M, H]; row t predicts `tokens[t]` of [N, T] or [M] int64. `weight` is [V, H],
        `bias` [V]; log-probs are of softmax((hidden weight^T + bias) / temperature). `on_policy` says that the old
        policy is the present one: the batch has no `logp_old`, and it is the log-prob that is computed, detached.
        `teachers` are other policies by name, `reference` among them, as (hidden, weight, bias or None): frozen, of the
        same vocabulary and at the same temperature; their states may be of another width. What the objective reads of
        whole distributions, such as entropies, is computed where the batch has it not, and so are log-probs of the
        teachers given; `entropy` asks for entropies, for the metric, though nothing may read them. Of a teacher of whom
        the batch has `topk_logp_NAME` and `topk_index_NAME`, [N, T, K] or [M, K], `kl` and `jsd` with the policy take
        all other tokens for one. Values and gradients are those of the loss from log-probs. Raises BatchError.
        """
        name, objective = self.objective.name, self.objective.resolved
        live = self.schedule.distributions
        given = hidden_batch(name, hidden, tokens, batch, denominators, live=live, on_policy=on_policy)
        check_head(name, given, weight, bias, temperature)
        check_teachers(objective, teachers, given.batch["mask"], len(weight))
        check_tops(objective, batch, teachers, len(weight))
        device = hidden.device
        states, weight, bias = as_autocast(given.hidden, weight, bias)
        given = replace(given, hidden=states)
        head = LinearHead(weight, bias, temperature, fused=self.backend == "inductor" and fuses(weight))
        reads = self.module.reads["loss"]
        reads = reads if "advantage" in batch else {**self.module.reads["advantage"], **reads}
        given = replace(given, others=of_teachers(objective, reads, batch, teachers, head, entropy=entropy))
        with torch.autocast(device.type, enabled=False):
            computed = given.others.frozen | ({"logp_old"} if on_policy else frozenset[str]())
            output = loss_from_hidden(self._compiled(device, computed), given, head)
        return _reporting(output, name)

    def window(self, micro_batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Denominators of one optimizer window, 0-d each; over ranks, add them up (all_reduce)."""
        return self.module.window(micro_batches)

    def advantage(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The advantage, `[N]` or `[N, T]`, 0 where nothing is trained."""
        return self.module.advantage(batch)

    def keep(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Which sequences `[N]` of a rollout the `keep` rules let through."""
        return self.module.keep(batch)

    def step(
        self,
        micro_batches: Sequence[Mapping[str, Tensor]],
        *,
        denominators: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The scale of an optimizer step, 0-d, 1 without a `step`: for the training loop to apply.

        With more than one rank `denominators` are needed: those of `window`, of micro-batches with `logp`, added over
        ranks. Raises BatchError.
        """
        return self.module.step(micro_batches, denominators=denominators)

    def prompt(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The score of each sequence's prompt, `[N]`, 1 without a `prompt`: for the selection of prompts."""
        return self.module.prompt(batch)

    def memory(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each memory is after a rollout, from the whole of it, over all ranks: 0-d, or `[N]` by row's prompt.

        Values that the batch brings under the names of the memories are those from before it.
        """
        return self.module.memory(batch)

    @cached_property
    def schedule(self) -> Schedule:
        """In which passes `from_hidden` computes the loss."""
        return schedule(self.objective.graph)

    def _compiled(self, device: torch.device, computed: frozenset[str]) -> Compiled:
        """What `from_hidden` needs; `computed` are tensors without gradient that it computes as well."""
        if computed not in self._schedules:
            plan = schedule(self.objective.graph, computed) if computed else self.schedule
            self._schedules[computed] = plan
        evaluate = self.module.evaluate
        gradient = (
            evaluate.value_and_gradient if isinstance(evaluate, CompiledLoss) else eager_gradient(self.module)
        )
        memory = room_for_logits(device) if self.head_memory is None else self.head_memory
        if not isinstance(memory, int) or memory < 1:
            raise ValueError(f"head_memory is bytes, a whole number above 0, or None; not {memory!r}")
        return Compiled(self.module, gradient, self._schedules[computed], memory)

    def extra_repr(self) -> str:
        """The objective and its hash, and which parameters have other values by now."""
        changed = ", ".join(f"{name}={value:g}" for name, value in self.module.changed_params().items())
        return f"{self.objective!r}{f', changed: {changed}' if changed else ''}"


def _reporting(output: LossOutput, name: str) -> LossOutput:
    """An output that names what cannot be right, once, when its metrics are read."""

    def measure() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        parts, bad = output.metric_parts, output.nonfinite
        found = [f"{what} at {int(count)}" for what, count in bad.items() if int(count)]
        if found:
            warnings.warn(f"{name}: not finite at trained tokens: {', '.join(found)}", stacklevel=4)
        if "above_zero" in parts and (above := int(parts["above_zero"][0])):
            warnings.warn(
                f"{name}: log-probs above 0 at {above} trained tokens: a log-prob is a natural logarithm of a "
                "probability, so 0 or less",
                stacklevel=4,
            )
        return parts, bad

    return LossOutput(output.loss, measure)


def _rebuilt(
    objective: Objective, backend: Backend, values: Tensor, head_memory: int | None
) -> ObjectiveLoss:
    """A loss as it was when it was pickled."""
    loss = ObjectiveLoss(objective, backend)
    loss.module.values.copy_(values)
    loss.head_memory = head_memory
    return loss


def loss_module(objective: Objective) -> LossModule:
    """The generated module of an objective, as a standalone file would define it.

    It is entered under `sys.modules`, where torch.compile looks for the globals of what it compiles.
    """
    text = objective.torch_source()
    name = f"maspo_dsl_generated.{objective.name}_{objective.hash}"
    filename = f"<{name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(name)
    sys.modules[name] = module
    exec(builtins.compile(text, filename, "exec"), module.__dict__)
    module.BatchError = BatchError  # type: ignore[attr-defined]
    return cast(LossModule, module.Loss())
