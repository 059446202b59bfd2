"""Policies: causal language models with their tokenizers, by the names of `catalogue.MODELS`, or from the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..catalogue import ENGINES, MODELS, model_row
from ..config import RunConfig, TokenizerConfig
from ..config_error import ConfigError
from ..tasks import Task
from .policy import Policy, Tokenizer

__all__ = [
    "Policy",
    "Tokenizer",
    "as_trained",
    "build_policy",
    "build_teacher",
    "configured_policy",
    "with_engine",
    "with_tokenizer",
]


def build_policy(model: str, task: Task, *, seed: int, cache: Path) -> Policy:
    """The policy of a name, ready to sample; what takes long to make is made once and kept in `cache`.

    `task` and `seed` shape only the policy `tiny`, whose warm start they are. Raises ConfigError.
    """
    policy = model_row(model).build(model, task, seed, cache)
    if wrong := [name for name, each in policy.model.named_parameters() if not bool(each.isfinite().all())]:
        more = f" and {len(wrong) - 1} others" if len(wrong) > 1 else ""
        raise ConfigError(f"`model={model}`: weights that are NaN or infinite: {wrong[0]}{more}")
    return policy


def configured_policy(config: RunConfig, task: Task) -> Policy:
    """The policy of a run as training begins with it, without an engine. Raises ConfigError."""
    return as_trained(build_policy(config.model, task, seed=config.seed, cache=config.cache), config)


def as_trained(policy: Policy, config: RunConfig) -> Policy:
    """A policy with what a run does to its tokenizer, its weights and its layers. Raises ConfigError."""
    policy = with_tokenizer(policy, config.tokenizer)
    if config.lora.rank:
        from .lora import with_lora

        policy = with_lora(policy, config.lora, config.seed)
    if config.trainer.gradient_checkpointing:
        if not getattr(policy.model, "supports_gradient_checkpointing", False):
            raise ConfigError(
                f"trainer.gradient_checkpointing=true: model {policy.name} cannot compute its layers again"
            )
        model: Any = policy.model
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return policy


def with_tokenizer(policy: Policy, options: TokenizerConfig) -> Policy:
    """A policy with the options of its tokenizer. Raises ConfigError for one that has none."""
    if options == TokenizerConfig():
        return policy
    from .pretrained import PretrainedTokenizer, with_options

    if not isinstance(policy.tokenizer, PretrainedTokenizer):
        raise ConfigError(
            f"policy `{policy.name}` reads characters: options of `tokenizer` are for other models"
        )
    tokenizer = with_options(policy.tokenizer, strips=options.strip_special, end=options.end)
    return replace(policy, tokenizer=tokenizer)


def with_engine(policy: Policy, config: RunConfig) -> Policy:
    """A policy that is sampled by the engine of a run. Raises ConfigError where it cannot be."""
    engine = config.rollout.engine
    if engine not in ENGINES:
        return policy
    if config.lora.rank:
        raise ConfigError(
            f"rollout.engine={engine} takes whole weights, and lora.rank={config.lora.rank} trains adapters"
        )
    if config.model in MODELS:
        raise ConfigError(
            f"rollout.engine={engine}: it loads a model from a folder or the hub, not {config.model}"
        )
    if config.trainer.devices > 1:
        raise ConfigError(f"rollout.engine={engine} samples with trainer.devices=1 only")
    return replace(policy, engine=ENGINES[engine](config.model, config.rollout.engine_memory, config.seed))


def build_teacher(model: str, policy: Policy, task: Task, *, seed: int, cache: Path) -> nn.Module:
    """A frozen model that reads what the policy writes: each token must be the same text to both.

    Raises ConfigError.
    """
    teacher = build_policy(model, task, seed=seed, cache=cache)
    size = _vocabulary(policy.model)
    if _vocabulary(teacher.model) < size or _differ(policy.tokenizer, teacher.tokenizer, size):
        raise ConfigError(
            f"teacher model {model} has another vocabulary than {policy.name}: a token must mean one text"
        )
    return teacher.model.requires_grad_(False).eval()


def _vocabulary(model: Any) -> int:
    """How many tokens a model knows."""
    return int(model.config.vocab_size)


def _differ(one: Tokenizer, other: Tokenizer, size: int) -> bool:
    return one.eos_ids != other.eos_ids or any(one.decode([n]) != other.decode([n]) for n in range(size))
