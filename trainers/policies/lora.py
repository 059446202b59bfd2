"""Low-rank adapters, by peft: the model stays the class that it is, with adapters in its linear layers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch

from ..config import LoraConfig
from ..config_error import ConfigError
from .policy import Policy


def with_lora(policy: Policy, config: LoraConfig, seed: int) -> Policy:
    """A policy whose adapters alone are trained; they add nothing at first. In place. Raises ConfigError."""
    try:
        import peft
    except ImportError as error:
        raise ConfigError(f"lora.rank={config.rank} needs peft: pip install 'maspo-dsl[lora]'") from error
    targets = config.targets if config.targets == "all-linear" else config.targets.split(",")
    options: Any = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=targets,
        lora_dropout=0.0,  # with dropout the policy would not be the one that was sampled
        bias="none",
        task_type="CAUSAL_LM",
    )
    model: Any = policy.model
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers, about what peft calls
            torch.manual_seed(seed)
            wrapped = peft.get_peft_model(model, options)
    except (ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"lora.targets={config.targets}: {policy.name} cannot have these adapters ({reason})"
        ) from error
    wrapped.eval()
    return replace(policy, model=wrapped.base_model.model, adapter=wrapped)
