"""Who trains: the package's own trainer, or a framework that is handed the same objective, model, task and reward.

A row an engine, and a row an option of a framework with the keys that it follows from. What no row of an engine takes,
it cannot honour: such a key is refused where it is given. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# The configuration of a run; its module reads these rows.
RunConfig: TypeAlias = Any


@dataclass(frozen=True)
class Setting:
    """An option of a framework: the keys of a run that say it, and its value."""

    option: str
    keys: tuple[str, ...]
    value: Callable[[RunConfig], object]


@dataclass(frozen=True)
class Framework:
    """A framework: its options, the keys that it is handed otherwise, and why it has no others.

    `least_samples` is the smallest group that it knows, `whole` says that an update is made of whole prompts.
    """

    name: str
    settings: tuple[Setting, ...]
    handed: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    least_samples: int = 1
    whole: bool = False
    accelerators: tuple[str, ...] = ("auto", "cpu", "cuda")

    def unheard(self, key: str) -> str | None:
        """Why the engine cannot honour a key; None where it does."""
        block = key.partition(".")[0]
        known = self.handed.union(*(setting.keys for setting in self.settings))
        if key in known or block in known:
            return None
        return self.refused.get(key) or self.refused.get(block) or f"{self.name} decides it otherwise"

    def options(self, config: RunConfig) -> dict[str, object]:
        """The framework's options of a run, by name."""
        return {setting.option: setting.value(config) for setting in self.settings}


def _parts(config: RunConfig) -> int:
    """Micro-batches of a rollout on one device."""
    return int(config.trainer.updates_per_rollout * config.trainer.micro_batches)


def _part(config: RunConfig) -> int:
    """Completions of a micro-batch."""
    return int(config.rollout.prompts * config.rollout.samples // (_parts(config) * config.trainer.devices))


def _updates(count: int, config: RunConfig) -> int:
    """Steps of ours, which are rollouts, as optimizer steps."""
    return int(count * config.trainer.updates_per_rollout)


_PART = ("rollout.prompts", "trainer.devices", "trainer.micro_batches", "trainer.updates_per_rollout")
_HANDED = frozenset({"engine", "run", "model", "task", "task_options", "reward", "params", "cache"})
_NO_TEACHERS = "it brings no teachers"
_STRIPS = "completions are decoded without special tokens, and end as the model's tokenizer says"

TRL = Framework(
    name="trl",
    settings=(
        Setting("seed", ("seed",), lambda c: c.seed),
        Setting("num_generations", ("rollout.samples",), lambda c: c.rollout.samples),
        Setting("max_completion_length", ("rollout.max_new_tokens",), lambda c: c.rollout.max_new_tokens),
        Setting("temperature", ("rollout.temperature",), lambda c: c.rollout.temperature),
        Setting("per_device_train_batch_size", _PART, _part),
        Setting("steps_per_generation", _PART, _parts),
        Setting("gradient_accumulation_steps", _PART, lambda c: c.trainer.micro_batches),
        Setting("max_steps", ("trainer.max_steps",), lambda c: _updates(c.trainer.max_steps, c)),
        Setting("learning_rate", ("trainer.learning_rate",), lambda c: c.trainer.learning_rate),
        Setting("lr_scheduler_type", (), lambda c: "constant_with_warmup"),
        Setting("warmup_steps", ("trainer.warmup_steps",), lambda c: _updates(c.trainer.warmup_steps, c)),
        # 0 is no limit there.
        Setting("max_grad_norm", ("trainer.gradient_clip",), lambda c: c.trainer.gradient_clip or 0.0),
        Setting("logging_steps", ("trainer.log_every",), lambda c: _updates(c.trainer.log_every, c)),
        Setting(
            "save_steps", ("trainer.checkpoint_every",), lambda c: _updates(c.trainer.checkpoint_every, c)
        ),
        Setting("use_cpu", ("trainer.accelerator",), lambda c: c.trainer.accelerator == "cpu"),
        Setting("bf16", ("trainer.precision",), lambda c: c.trainer.precision == "bf16-mixed"),
        Setting("weight_decay", (), lambda c: 0.0),
        Setting("shuffle_dataset", (), lambda c: False),  # the task shuffles
        Setting("report_to", (), lambda c: []),
    ),
    handed=_HANDED | {"compile", "trainer.threads", "rollout.reward_timeout", "rollout.reward_failures"},
    refused={
        "resume": "a run of TRL goes on by TRL's own resume_from_checkpoint",
        "teacher": _NO_TEACHERS,
        "tokenizer": _STRIPS,
        "rollout.max_resamples": "TRL samples nothing in the place of what is not kept",
        "trainer.eval_every": "TRL measures no greedy accuracy",
        "trainer.eval_prompts": "TRL measures no greedy accuracy",
        "trainer.strategy": "accelerate decides it: start the command by `torchrun` or `accelerate launch`",
    },
    least_samples=2,
)

_ACTOR, _ROLLOUT, _REFERENCE = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "ref"))


def _dtype(config: RunConfig) -> str:
    return "bfloat16" if config.trainer.precision == "bf16-mixed" else "float32"


VERL = Framework(
    name="verl",
    settings=(
        Setting("data.seed", ("seed",), lambda c: c.seed),
        Setting(f"{_ACTOR}.data_loader_seed", ("seed",), lambda c: c.seed),
        Setting(f"{_ROLLOUT}.seed", ("seed",), lambda c: c.seed),
        Setting("data.train_batch_size", ("rollout.prompts",), lambda c: c.rollout.prompts),
        Setting("data.max_response_length", ("rollout.max_new_tokens",), lambda c: c.rollout.max_new_tokens),
        Setting("data.shuffle", (), lambda c: False),  # the task shuffles
        Setting("data.truncation", (), lambda c: "error"),
        Setting(f"{_ROLLOUT}.name", (), lambda c: "vllm"),
        Setting(f"{_ROLLOUT}.tensor_model_parallel_size", (), lambda c: 1),
        Setting(f"{_ROLLOUT}.n", ("rollout.samples",), lambda c: c.rollout.samples),
        Setting(f"{_ROLLOUT}.temperature", ("rollout.temperature",), lambda c: c.rollout.temperature),
        Setting(f"{_ROLLOUT}.dtype", ("trainer.precision",), _dtype),
        Setting(f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu", _PART, _part),
        Setting(f"{_REFERENCE}.log_prob_micro_batch_size_per_gpu", _PART, _part),
        Setting(f"{_REFERENCE}.fsdp_config.dtype", ("trainer.precision",), _dtype),
        Setting(
            f"{_ACTOR}.ppo_mini_batch_size",
            _PART,
            lambda c: c.rollout.prompts // c.trainer.updates_per_rollout,
        ),
        Setting(f"{_ACTOR}.ppo_micro_batch_size_per_gpu", _PART, _part),
        Setting(f"{_ACTOR}.fsdp_config.dtype", ("trainer.precision",), _dtype),
        Setting(f"{_ACTOR}.grad_clip", ("trainer.gradient_clip",), lambda c: c.trainer.gradient_clip or 1e30),
        Setting(f"{_ACTOR}.optim.lr", ("trainer.learning_rate",), lambda c: c.trainer.learning_rate),
        # Its rate moves once a rollout.
        Setting(
            f"{_ACTOR}.optim.lr_warmup_steps", ("trainer.warmup_steps",), lambda c: c.trainer.warmup_steps
        ),
        Setting(f"{_ACTOR}.optim.weight_decay", (), lambda c: 0.0),
        Setting("trainer.total_training_steps", ("trainer.max_steps",), lambda c: c.trainer.max_steps),
        # What `keep` leaves out needs more prompts than a pass over them has.
        Setting("trainer.total_epochs", ("rollout.max_resamples",), lambda c: 1 + c.rollout.max_resamples),
        Setting(
            "trainer.test_freq",
            ("trainer.eval_every", "trainer.eval_prompts"),
            lambda c: c.trainer.eval_every or -1,
        ),
        Setting("trainer.val_before_train", ("trainer.eval_every",), lambda c: c.trainer.eval_every > 0),
        Setting("trainer.save_freq", ("trainer.checkpoint_every",), lambda c: c.trainer.checkpoint_every),
        Setting(
            "trainer.n_gpus_per_node", ("trainer.devices", "trainer.accelerator"), lambda c: c.trainer.devices
        ),
        Setting("trainer.nnodes", (), lambda c: 1),
        Setting("trainer.logger", (), lambda c: "[console,file]"),
    ),
    handed=_HANDED | {"rollout.reward_timeout"},
    refused={
        "resume": "verl goes on by itself: start the folder's run.sh again",
        "teacher": _NO_TEACHERS,
        "tokenizer": _STRIPS,
        "compile": "verl's workers compile the loss",
        "rollout.reward_failures": "verl asks for one reward at a time, and one that fails ends its run",
        "trainer.threads": "verl's workers decide it",
        "trainer.strategy": "verl trains by FSDP",
        "trainer.log_every": "verl logs every step",
    },
    whole=True,
    accelerators=("auto", "cuda"),
)

OWN = "own"
FRAMEWORKS: Mapping[str, Framework] = {engine.name: engine for engine in (TRL, VERL)}


def mistakes(engine: object, given: Collection[str]) -> list[str]:
    """A sentence for each key that was given and that the engine cannot honour."""
    row = FRAMEWORKS.get(str(engine))
    if row is None:
        return []
    reasons = {key: row.unheard(key) for key in given}
    return [f"`{key}` does nothing with engine={engine}: {why}" for key, why in reasons.items() if why]


def contradictions(config: RunConfig) -> list[str]:
    """What is wrong with the values of a configuration for the engine that it names."""
    row = FRAMEWORKS.get(config.engine)
    if row is None:
        return []
    rollout, trainer, found = config.rollout, config.trainer, []
    prompts, updates = rollout.prompts, trainer.updates_per_rollout
    rows, parts = prompts * rollout.samples, _parts(config) * trainer.devices
    if rows % parts:
        found.append(
            f"rollout.prompts × rollout.samples = {rows} completions do not split evenly into "
            f"trainer.updates_per_rollout × micro_batches × devices = {parts} parts"
        )
    if row.whole and prompts % updates:
        found.append(
            f"rollout.prompts = {prompts} do not split evenly into trainer.updates_per_rollout = {updates}"
        )
    if rollout.samples < row.least_samples:
        found.append(
            f"rollout.samples={rollout.samples}: a group has at least {row.least_samples} completions"
        )
    if trainer.accelerator not in row.accelerators:
        found.append(f"trainer.accelerator={trainer.accelerator}: expected {' or '.join(row.accelerators)}")
    return [f"engine={row.name}: {each}" for each in found]
