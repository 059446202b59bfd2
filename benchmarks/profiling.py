"""Where the time of a step of training goes, beside what the model alone takes for the same tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from maspo_dsl.trainers import metrics, module, rollout_data, sampling
from maspo_dsl.trainers.callbacks import Recorder
from maspo_dsl.trainers.config import RunConfig
from maspo_dsl.trainers.policies import build_policy
from maspo_dsl.trainers.rollout_data import RolloutData
from maspo_dsl.trainers.rows import Rows, Window
from maspo_dsl.trainers.run import train, trainable_objective
from maspo_dsl.trainers.tasks import build_task
from rich.console import Console
from torch import Tensor
from transformers import DynamicCache

import maspo_dsl
from benchmarks.clock import REST, Clock, Place, charged
from benchmarks.measure import seconds

WARM_UP, STEPS = 3, 20
OBJECTIVE = "bnpo"
STEP: Place = (RolloutData, "_make_windows")
SAMPLING, FORWARD, BACKWARD = (
    "sampling: the model",
    "update: the model, forward",
    "update: the model, backward",
)
PARTS: dict[str, Place] = {
    SAMPLING: (sampling.Sampler, "_logits"),
    "sampling: draws, log-probs, texts": (rollout_data, "generate"),
    "rewards": (rollout_data, "score"),
    "old and reference log-probs": (RolloutData, "_logp"),
    "prompts, advantages, windows": STEP,
    "update: denominators": (module.PolicyTrainer, "denominators"),
    FORWARD: (module.PolicyTrainer, "loss_of"),
    "update: head and loss with their gradients": (maspo_dsl.ObjectiveLoss, "from_hidden"),
    BACKWARD: (module.PolicyTrainer, "_backward"),
    "update: norm of the gradient": (module, "clip_gradient"),
    "update: optimizer": (LightningOptimizer, "step"),
    "update: all else": (module.PolicyTrainer, "training_step"),
    "metrics of the objective": (metrics.Sums, "add"),
    "rows and samples of the run folder": (Recorder, "on_train_epoch_end"),
}


@dataclass(frozen=True)
class Profile:
    """Seconds of a step by part, the mean of some steps; and of the model alone, for its updates and its sampling."""

    parts: Mapping[str, float]
    updates_alone: float
    sampling_alone: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.parts.values())

    def share(self, *names: str) -> float:
        """The share of parts in a step."""
        return sum(self.parts[name] for name in names) / self.step


def default_config(steps: int = STEPS) -> RunConfig:
    """The default run, long enough to measure so many steps, without evaluation and early checkpoints."""
    every = WARM_UP + steps + 1
    return RunConfig(trainer={"max_steps": every, "eval_every": 0, "checkpoint_every": every})


def profile(config: RunConfig) -> Profile:
    """A run's profile. Its first steps are left out, and the last, which ends with a checkpoint."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, charged(clock, PARTS, STEP):
        train(config.model_copy(update={"run": Path(folder) / "run"}), OBJECTIVE, console=Console(quiet=True))
    spent = clock.step(WARM_UP)
    parts = {name: spent.get(name, 0.0) for name in (*PARTS, REST)}
    return Profile(parts, **alone(config))


def alone(config: RunConfig) -> dict[str, float]:
    """Median seconds that the model alone takes for the updates and for the sampling of a run's first step."""
    model, windows, rows = first_step(config)
    candidates = {
        "updates_alone": lambda: updates_alone(model, windows),
        "sampling_alone": lambda: sampling_alone(model, rows),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(config.trainer.threads)
    try:
        return seconds(candidates, turns=9)
    finally:
        torch.set_num_threads(threads)


def first_step(config: RunConfig) -> tuple[Any, list[Window], Rows]:
    """The model of a run before its first update, the windows of its first step, and the rollout they are cut from."""
    task, objective = build_task(config.task, **config.task_options), trainable_objective(config, OBJECTIVE)
    policy = build_policy(config.model, task, seed=config.seed, cache=config.cache)
    loss = maspo_dsl.compile(objective, backend="eager")
    data = RolloutData(policy, task, task.reward, objective, loss, config)
    windows = list(data)
    assert data.sampled is not None
    return policy.model, windows, data.sampled.rows


def updates_alone(model: Any, windows: Sequence[Window]) -> None:
    """Forward and backward of the states before the head, whose sum stands for a loss."""
    for part in (part for window in windows for part in window):
        model.zero_grad()
        length = part["mask"].shape[1]
        found = model.base_model(**_given(part["tokens"], part["attention"]), use_cache=False)
        found.last_hidden_state[:, -length - 1 : -1].sum().backward()
    model.zero_grad()


@torch.no_grad()
def sampling_alone(model: Any, rows: Rows) -> list[Tensor]:
    """The logits [N, V] from which each column of a rollout was drawn, by a cache; equal prompts are read once."""
    width = rows.tokens.shape[1] - rows.batch["mask"].shape[1]
    prompts = torch.cat([rows.tokens[:, :width], rows.attention[:, :width]], dim=1)
    prompts, copies = torch.unique(prompts, dim=0, return_inverse=True)
    cache = DynamicCache()
    options = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
    first = model(**_given(prompts[:, :width], prompts[:, width:]), **options)
    cache.reorder_cache(copies)
    logits = [first.logits[copies, -1]]
    for column in range(width, rows.tokens.shape[1] - 1):
        read = _given(rows.tokens[:, column : column + 1], rows.attention[:, : column + 1])
        logits.append(model(**read, **options).logits[:, -1])
    return logits


def _given(ids: Tensor, attention: Tensor) -> dict[str, Tensor]:
    """What a model reads for the last columns of `attention`; positions do not count the padding."""
    positions = (attention.long().cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return {"input_ids": ids, "attention_mask": attention.long(), "position_ids": positions}


def table(found: Profile) -> str:
    """A Markdown table of the parts of a step."""
    lines = ["| part of a step | a step | share |", "| --- " * 3 + "|"]
    for name, value in found.parts.items():
        lines.append(f"| {name} | {1e3 * value:.2f} ms | {100 * found.share(name):.1f} % |")
    return "\n".join(
        [*lines, f"| all | {1e3 * found.step:.2f} ms | {100 * found.share(*found.parts):.1f} % |"]
    )


def summary(found: Profile) -> str:
    """What the model itself takes, beside what it takes alone."""
    own = found.share(SAMPLING, FORWARD, BACKWARD)
    updates, sampling = found.parts[FORWARD] + found.parts[BACKWARD], found.parts[SAMPLING]
    return (
        f"The parts with a name cover {100 * (1 - found.share(REST)):.1f} % of a step, and the model's own passes "
        f"{100 * own:.0f} %. Alone, on the same tokens, the model takes {1e3 * found.updates_alone:.1f} ms for "
        f"forward and backward of the updates (the step's: {updates / found.updates_alone:.2f} times that), and "
        f"{1e3 * found.sampling_alone:.1f} ms for sampling ({sampling / found.sampling_alone:.2f} times)."
    )


def report() -> str:
    """The default run, measured, as text for docs/benchmarks.md."""
    config = default_config()
    found = profile(config)
    sampled = f"{config.rollout.prompts} x {config.rollout.samples} completions"
    what = f"{sampled}, {config.trainer.updates_per_rollout} updates"
    return (
        f"`{OBJECTIVE}` on the default model and task, {what}, {config.trainer.threads} thread; the mean of "
        f"{STEPS} steps after {WARM_UP}.\n\n{table(found)}\n\n{summary(found)}\n"
    )
