"""What a run asks for, before anything of it is made: tokens, memory, and what its objective needs besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from maspo_dsl.emit.template.head import room_for_logits

from .config import RunConfig
from .config_error import ConfigError
from .generation import rows_at_once
from .rollout_data import reads_reference

if TYPE_CHECKING:
    from maspo_dsl import Objective

_FLOAT = 4
"""Bytes of a weight; all are float32."""


def estimate(config: RunConfig, objective: Objective) -> list[str]:
    """Lines for the user. What depends on prompts is said for each token of one."""
    return [
        *_tokens(config),
        *_needs(config, objective),
        *_keep(config, objective),
        *_memory(config, objective),
    ]


def _tokens(config: RunConfig) -> Iterator[str]:
    """What a step samples and trains."""
    rollout, trainer = config.rollout, config.trainer
    completions = rollout.prompts * rollout.samples
    updates = trainer.updates_per_rollout
    yield (
        f"a step: {rollout.prompts} prompts x {rollout.samples} completions of at most {rollout.max_new_tokens} "
        f"tokens, up to {completions * rollout.max_new_tokens:,} new tokens; {updates} updates of about "
        f"{completions // updates} completions, each in {trainer.micro_batches} parts"
    )
    whole = trainer.max_steps * completions * rollout.max_new_tokens
    yield f"the run: {trainer.max_steps} steps, up to {whole:,} new tokens"


def _needs(config: RunConfig, objective: Objective) -> Iterator[str]:
    """What the objective reads that costs a model, or a pass of one."""
    if reads_reference(objective):
        yield "the objective reads `reference`: a frozen copy of the model, which reads each completion"
    for name in objective.resolved.flat.teachers:
        yield f"the objective reads teacher `{name}`: {config.teacher.get(name, '?')}, which reads each completion"
    if "logp_rollout" in objective.training_inputs or config.trainer.precision != "32-true":
        yield "log-probs of the old policy are computed again: the model reads each completion once more"
    if objective.resolved.parts.get("step") is not None:
        yield "the objective has a `step` rule: the model reads each completion once more in each update"
    if objective.resolved.parts.get("prompt") is not None:
        yield f"the objective chooses prompts: {config.rollout.candidates} are drawn for each that is sampled"


def _keep(config: RunConfig, objective: Objective) -> Iterator[str]:
    """What a `keep` rule may cost."""
    if not objective.keeps:
        return
    most = 1 + config.rollout.max_resamples
    completions = config.rollout.prompts * config.rollout.samples
    yield (
        f"a `keep` rule drops completions; others are sampled for them, at most {config.rollout.max_resamples} times: "
        f"a step samples {completions:,} to {most * completions:,} completions"
    )


def _memory(config: RunConfig, objective: Objective) -> Iterator[str]:
    """Memory of a device, by what it is for; activations of the layers are not known beforehand."""
    try:
        model, text = _outline(config.model)
    except Exception as error:  # a configuration fails in as many ways as there are models
        yield f"memory: not known, the model's configuration cannot be read here ({str(error).splitlines()[0]})"
        return
    everything = sum(each.numel() for each in model.parameters())
    trained = _adapters(model, config) if config.lora.rank else everything
    frozen = everything * reads_reference(objective)
    adapters = trained if config.lora.rank else 0
    yield f"the model: {everything:,} weights; {trained:,} are trained{', of adapters' if adapters else ''}"
    parts = {
        "weights": _FLOAT * (everything + adapters),
        "gradients": _FLOAT * trained,
        "AdamW": 2 * _FLOAT * trained,
        **({"reference": _FLOAT * frozen} if frozen else {}),
        **_while_computing(config, text),
    }
    listed = ", ".join(f"{name} {_shown(size)}" for name, size in parts.items())
    yield f"memory: {listed}; together {_shown(sum(parts.values()))}, and activations, and teachers"
    yield f"the cache grows by {_shown(_cache(config, text))} for each token of a prompt"


def _while_computing(config: RunConfig, text: Any) -> Mapping[str, int]:
    """What sampling and the head take for a while."""
    accelerated = config.trainer.accelerator == "cuda" or (
        config.trainer.accelerator == "auto" and torch.cuda.is_available()
    )
    chunk = room_for_logits(torch.device("cuda" if accelerated else "cpu"))
    updates = config.trainer.updates_per_rollout * config.trainer.micro_batches
    tokens = max(1, _rows(config) // updates) * config.rollout.max_new_tokens
    return {
        "logits": min(chunk, _FLOAT * text.vocab_size * tokens),
        "cache of new tokens": _cache(config, text) * config.rollout.max_new_tokens,
    }


def _rows(config: RunConfig) -> int:
    """Completions of a device."""
    return max(1, config.rollout.prompts // config.trainer.devices) * config.rollout.samples


def _cache(config: RunConfig, text: Any) -> int:
    """Bytes of keys and values of a token of each completion that is sampled at once, if every layer keeps both."""
    heads = getattr(text, "num_attention_heads", 1)
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    kept = 2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * size
    return int(kept * _FLOAT * min(_rows(config), rows_at_once(text.vocab_size)))


def _outline(model: str) -> tuple[nn.Module, Any]:
    """A model without memory for its weights, and the configuration of its text part."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from .catalogue import MODELS
    from .policies.pretrained import source_of
    from .policies.tiny import tiny_config

    if model in MODELS and model != "tiny":
        raise ConfigError(f"{model} is made when it is first used")
    config: Any = tiny_config() if model == "tiny" else AutoConfig.from_pretrained(source_of(model))
    with torch.device("meta"):
        found: nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    found.tie_weights()  # type: ignore[operator]
    return found, config.get_text_config(decoder=True)


def _adapters(model: Any, config: RunConfig) -> int:
    """Weights of low-rank adapters."""
    head, targets = model.get_output_embeddings(), config.lora.targets.split(",")
    return sum(
        config.lora.rank * (each.in_features + each.out_features)
        for name, each in model.named_modules()
        if isinstance(each, nn.Linear)
        and each is not head
        and (config.lora.targets == "all-linear" or name.rpartition(".")[2] in targets)
    )


def _shown(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1024
    raise AssertionError
