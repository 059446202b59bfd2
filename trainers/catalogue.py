"""The models, tasks and rewards that a run can name, a row each: the only place that knows their names.

What builds them is imported when it is called, so that reading a configuration loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine
    from .policies.policy import Policy
    from .rewards import RewardFunction
    from .tasks.task import Task


@dataclass(frozen=True)
class ModelRow:
    """A model that a policy is made of.

    `build` makes the policy from the model's name, the task, the seed and the cache folder; `defaults` are values
    of the run's configuration that suit it, by path; `cached` says that it is made once and kept; `compiles_loss`
    whether `compile=auto` compiles the loss.
    """

    build: Callable[[str, Task, int, Path], Policy]
    defaults: Mapping[str, object] = field(default_factory=dict)
    cached: bool = False
    compiles_loss: bool = True


@dataclass(frozen=True)
class TaskRow:
    """A task that comes with the package: its class, and the tokens that a pretrained model needs to complete it."""

    load: Callable[[], Callable[..., Task]]
    pretrained_tokens: int


def _tiny(name: str, task: Task, seed: int, cache: Path) -> Policy:
    from .policies.tiny import build_tiny

    return build_tiny(task, seed=seed, cache=cache)


def _smollm2(name: str, task: Task, seed: int, cache: Path) -> Policy:
    from .policies.smollm2 import load_smollm2

    return load_smollm2(cache)


def _pretrained(name: str, task: Task, seed: int, cache: Path) -> Policy:
    from .policies.pretrained import load_pretrained

    return load_pretrained(name)


def _vllm(model: str, memory: float, seed: int) -> Engine:
    from .vllm_engine import VllmEngine

    return VllmEngine(model, memory, seed)


def _sort() -> Callable[..., Task]:
    from .tasks.sort import SortTask

    return SortTask


def _addition() -> Callable[..., Task]:
    from .tasks.addition import AdditionTask

    return AdditionTask


def _reasoning_gym() -> Callable[..., Task]:
    from .tasks.reasoning_gym import ReasoningGymTask

    return ReasoningGymTask


def _exact_match() -> RewardFunction:
    from .rewards import exact_match

    return exact_match


def _math_verify() -> RewardFunction:
    from .math_reward import load_math_verify

    return load_math_verify()


# Measured on two CPU cores with SmolLM2.
_PRETRAINED_DEFAULTS: Mapping[str, object] = {
    "task": "addition",
    "rollout.prompts": 8,
    "rollout.max_new_tokens": 128,
    "trainer.max_steps": 12,
    "trainer.updates_per_rollout": 2,
    "trainer.micro_batches": 2,
    "trainer.learning_rate": 2e-5,
    "trainer.warmup_steps": 0,
    "trainer.eval_every": 4,
    "trainer.eval_prompts": 64,
    "trainer.checkpoint_every": 4,
}

MODELS: Mapping[str, ModelRow] = {
    # Compiling the loss takes 15 to 30 seconds, a good part of a whole run of the tiny model.
    "tiny": ModelRow(_tiny, cached=True, compiles_loss=False),
    "smollm2": ModelRow(_smollm2, _PRETRAINED_DEFAULTS, cached=True),
}
_ANY_OTHER = ModelRow(_pretrained, _PRETRAINED_DEFAULTS)

# What samples instead of the model that is trained: made from the model's name, a share of memory, and the seed.
ENGINES: Mapping[str, Callable[[str, float, int], Engine]] = {"vllm": _vllm}

TASKS: Mapping[str, TaskRow] = {
    "sort": TaskRow(_sort, pretrained_tokens=12),
    # SmolLM2 repeats the question: `14 + 15 = 29` is cut off before the sum at 8 tokens, and never rewarded.
    "addition": TaskRow(_addition, pretrained_tokens=12),
    "reasoning_gym": TaskRow(_reasoning_gym, pretrained_tokens=256),
}

# Rewards that need no import path.
REWARDS: Mapping[str, Callable[[], RewardFunction]] = {
    "exact_match": _exact_match,
    "math_verify": _math_verify,
}


def model_row(name: str) -> ModelRow:
    """The row of a model; a Hugging Face id or a folder has that of any pretrained one."""
    return MODELS.get(name, _ANY_OTHER)


def run_defaults(model: object, task: object) -> dict[str, object]:
    """Values of a run's configuration that depend on its model and task, as given and not yet checked, by path."""
    defaults = dict(model_row(str(model)).defaults)
    row = TASKS.get(str(task or defaults.get("task")))
    if defaults and row is not None:
        defaults["rollout.max_new_tokens"] = row.pretrained_tokens
    return defaults
