"""The Lightning module: one optimizer update from one window of micro-batches.

Optimisation is manual, because the denominators of an objective belong to the window: Lightning's own
accumulation averages over micro-batches, which weighs tokens by the company they keep. Here the window's
denominators are counted first, over all micro-batches and ranks, and the parts' gradients add up to the
window's.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from maspo_dsl.runtime.model_head import at_head, linear_head
from maspo_dsl.runtime.ranks import sum_over_ranks, world_size

from .config import TrainerConfig
from .generation import token_logp
from .metrics import Sums
from .precision import PRECISIONS, computing_in
from .rows import MicroBatch, Window
from .teachers import states_of

if TYPE_CHECKING:
    from maspo_dsl import LossOutput, ObjectiveLoss


class PolicyTrainer(LightningModule):
    """Updates a policy with an objective; a training batch is one window.

    Args:
        model: causal language model, trained in place.
        loss: the compiled objective.
        objective_hash: stands in checkpoints, so that no other objective goes on with them.
        config: learning rate, its warm-up, clipping.
        temperature: of the rollouts.
        live_entropy: whether the objective reads the entropy of the present policy, with its gradient.
        scales_steps: whether the objective has a `step` rule, which scales the learning rate of an update.
        teachers: frozen models whose whole distributions the loss reads, by name; their heads are linear.
        log: prints a line.
        stage: shows what is being done.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: ObjectiveLoss,
        objective_hash: str,
        config: TrainerConfig,
        *,
        temperature: float = 1.0,
        live_entropy: bool = False,
        scales_steps: bool = False,
        teachers: Mapping[str, nn.Module] = MappingProxyType({}),
        log: Callable[[str], None] = print,
        stage: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Keep the parts; the model is not copied."""
        super().__init__()
        self.automatic_optimization = False
        self.model, self.loss, self.config = model, loss, config
        self.temperature, self.live_entropy, self._log_line = temperature, live_entropy, log
        self.stage = stage
        self.scales_steps = scales_steps
        # In a mapping, so that they are no part of what is trained and kept.
        self.teachers = dict(teachers)
        self.objective_hash = objective_hash
        self.strict_loading = all(each.requires_grad for each in model.parameters())
        self.sums = Sums()
        self._warned = False

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW on what is trained. Weight decay, if any, is of matrices alone."""
        trained = [each for each in self.model.parameters() if each.requires_grad]
        decay = self.config.weight_decay
        if not decay:
            return torch.optim.AdamW(trained, lr=self.config.learning_rate, weight_decay=0.0)
        matrices = {"params": [each for each in trained if each.ndim > 1], "weight_decay": decay}
        vectors = {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0}
        groups = [group for group in (matrices, vectors) if group["params"]]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the objective, and leave out weights that are frozen: the model brings them."""
        checkpoint["objective"] = self.objective_hash
        for name, each in self.named_parameters(remove_duplicate=False):
            if not each.requires_grad:
                checkpoint["state_dict"].pop(name, None)

    def on_train_epoch_start(self) -> None:
        """Begin a step. The model never leaves evaluation mode: dropout would make another policy of it."""
        self.model.eval()
        self.sums = Sums()

    def training_step(self, window: Window, index: int) -> None:
        """One optimizer update, or none for an empty window."""
        if not window:
            return
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        rate = learning_rate(self.config, self.current_epoch, index) * self._step_scale(window)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        if self.config.gradient_checkpointing:
            _recompute_layers(self.model)
        denominators = self.denominators(window)
        outputs = []
        for number, part in enumerate(window):
            self.stage(f"update {index + 1} of {self.config.updates_per_rollout}")
            with self._local_until(last=number == len(window) - 1):
                outputs.append(self.loss_of(part, denominators))
                # Strategies with several ranks average gradients: the factor makes the mean a sum.
                self.manual_backward(outputs[-1].loss * world_size())
        if index == 0:
            self._check_ratio(outputs)
        if self.logs_this_step():
            for output in outputs:
                self.sums.add(output)
        norm = clip_gradient(self.model, self.config.gradient_clip)
        self.sums.add_value("grad_norm", norm)
        self.sums.add_value("learning_rate", rate)
        if not math.isfinite(norm):
            self._log_line(
                f"step {self.current_epoch + 1}: the gradient's norm is {norm}; this update is left out. "
                f"Not finite: {not_finite(outputs) or 'the gradient of a finite loss'}"
            )
            return
        optimizer.step()
        self.sums.updates += 1

    def logs_this_step(self) -> bool:
        """Whether this step's metrics are wanted."""
        step = self.current_epoch + 1
        return step % self.config.log_every == 0 or step == self.config.max_steps

    def denominators(self, window: Window) -> dict[str, Tensor]:
        """The window's denominators, over all micro-batches and ranks.

        Objectives whose denominators depend on the present policy need its log-probs first.
        """
        if not self.loss.objective.window_reads_policy:
            return sum_over_ranks(self.loss.window([_loss_batch(part) for part in window]))
        with torch.no_grad():
            return sum_over_ranks(self.loss.window([self.with_policy(part) for part in window]))

    def loss_of(self, part: MicroBatch, denominators: dict[str, Tensor]) -> LossOutput:
        """The loss of a micro-batch, from the states before the model's head if that is a linear map and no more."""
        head = linear_head(self.model)
        if head is None:
            output: LossOutput = self.loss(self.with_policy(part), denominators=denominators)
            return output
        batch, length = _loss_batch(part), part["mask"].shape[1]
        if self.live_entropy:
            del batch["entropy"]

        def compute(states: Tensor, weight: Tensor, bias: Tensor | None) -> LossOutput:
            return self.loss.from_hidden(
                states,
                weight,
                part["tokens"][:, -length:],
                batch,
                bias=bias,
                temperature=self.temperature,
                denominators=denominators,
                teachers=teachers,
            )

        with computing_in(self.config.precision, part["tokens"].device):
            teachers = {
                name: states_of(model, part["tokens"], part["attention"], length)
                for name, model in self.teachers.items()
            }
            return at_head(self.model, head, part["tokens"], part["attention"], length, compute)

    def with_policy(self, part: MicroBatch) -> dict[str, Tensor]:
        """A micro-batch as the loss reads it, with the present policy's log-probs."""
        logp, entropy = token_logp(
            self.model,
            part["tokens"],
            part["attention"],
            part["mask"].shape[1],
            temperature=self.temperature,
            entropy=self.live_entropy,
            precision=self.config.precision,
        )
        batch = {**_loss_batch(part), "logp": logp}
        return batch if entropy is None else {**batch, "entropy": entropy}

    def _check_ratio(self, outputs: Sequence[LossOutput]) -> None:
        """Say once if the first update of a step is not on policy, as it is wherever the sampler is the model."""
        sums = Sums()
        for output in outputs:
            sums.add(output)
        found = sums.means()
        apart = max(abs(found.get("ratio_max", 1.0) - 1), 1 - found.get("ess", 1.0))
        if apart > PRECISIONS[self.config.precision].rounding and not self._warned:
            self._warned = True
            self._log_line(
                f"step {self.current_epoch + 1}: before its first update `policy / old` is up to "
                f"{found['ratio_max']:.4g} and should be 1: on these completions the model says otherwise when it "
                "is trained than when it was sampled (longer than the sequences compared at the start, or "
                "changed by something since). Logged once."
            )

    def _step_scale(self, window: Window) -> float:
        """What the objective's `step` rule makes of this window, from the policy before the update."""
        if not self.scales_steps:
            return 1.0
        with torch.no_grad():
            parts = [self.with_policy(part) for part in window]
            denominators = sum_over_ranks(self.loss.window(parts))
            return float(self.loss.step(parts, denominators=denominators))

    def _local_until(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients stay on their rank until the last part of a window."""
        strategy = self.trainer.strategy
        if last or not isinstance(strategy, ParallelStrategy):
            return contextlib.nullcontext()
        return strategy.block_backward_sync()


def learning_rate(config: TrainerConfig, step: int, update: int) -> float:
    """Learning rate of an update of a step, both from 0: linear over the warm-up steps, then as scheduled.

    A schedule falls from the whole rate, at the first update after warm-up, towards 0 behind the last update.
    """
    done = step * config.updates_per_rollout + update + 1
    warmup = config.warmup_steps * config.updates_per_rollout
    if done <= warmup:
        return config.learning_rate * done / warmup
    falling = max(1, config.max_steps * config.updates_per_rollout - warmup)
    return config.learning_rate * SCHEDULES[config.schedule](min(1.0, (done - warmup - 1) / falling))


# The share of the learning rate by how much of the run after warm-up is done, from 0 to 1.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


def _recompute_layers(model: nn.Module) -> None:
    """Let layers that can be computed again do so in this update; transformers does in training mode alone.

    The mode of what is in them stays: nothing drops out.
    """
    for layer in model.modules():
        if getattr(layer, "gradient_checkpointing", False):
            layer.training = True


def clip_gradient(model: nn.Module, limit: float | None) -> float:
    """Scale the gradient down to the norm `limit`; returns its norm before that."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if limit is None else limit)
    return float(norm)


def not_finite(outputs: Sequence[LossOutput]) -> str:
    """Names of the terms and tensors that are NaN or infinite at trained tokens, sorted and joined."""
    names = {name for output in outputs for name, count in output.nonfinite.items() if bool(count > 0)}
    return ", ".join(sorted(names))


def _loss_batch(part: MicroBatch) -> dict[str, Tensor]:
    return {name: value for name, value in part.items() if name not in ("tokens", "attention")}
