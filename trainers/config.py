"""The configuration of a training run: what can be set, what it defaults to, and what is wrong with what was given.

Overrides are dotlists, `key=value`, such as `params.alpha=0.5 trainer.max_steps=100`. A *step* is one rollout followed
by `trainer.updates_per_rollout` optimizer updates; `max_steps`, `warmup_steps` and everything named `…_every` count steps.
This module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from yaml import YAMLError

from .overrides import Keys, flat, nested, read_overrides, unknown_key

Count: TypeAlias = Annotated[int, Field(ge=1, strict=True)]
CountOrNone: TypeAlias = Annotated[int, Field(ge=0, strict=True)]
Positive: TypeAlias = Annotated[FiniteFloat, Field(gt=0, strict=True)]
Scalar: TypeAlias = bool | int | float | str


class ConfigError(ValueError):
    """A run cannot start as configured; the message is a paragraph in the user's terms."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RolloutConfig(_Block):
    """How answers are sampled."""

    prompts: Count = Field(64, description="prompts of a rollout, over all devices")
    samples: Count = Field(8, description="answers sampled for each prompt: the size of a group")
    max_new_tokens: Count = Field(8, description="longest answer, in tokens; objectives see it as generation_limit")
    temperature: Positive = Field(1.0, description="of sampling, and of every log-prob the objective sees")
    max_resamples: CountOrNone = Field(
        4, description="how often a rollout is refilled with new prompts after the objective's `keep` rule dropped rows"
    )


class TrainerConfig(_Block):
    """How the policy is updated, measured and saved. A step is one rollout and its updates."""

    max_steps: Count = Field(120, description="steps; a step is one rollout and its updates")
    updates_per_rollout: Count = Field(4, description="optimizer updates of a step, each on its own share of the rollout")
    micro_batches: Count = Field(1, description="parts one update is cut into, to save memory; the gradient is the same")
    learning_rate: Positive = Field(3e-4, description="of AdamW, after warm-up")
    warmup_steps: CountOrNone = Field(5, description="steps over which the learning rate rises linearly")
    gradient_clip: Positive | None = Field(1.0, description="largest norm of the gradient; null for no limit")
    eval_every: CountOrNone = Field(5, description="steps between measurements of held-out greedy accuracy; 0 for never")
    eval_prompts: Count = Field(256, description="held-out prompts of such a measurement")
    log_every: Count = Field(1, description="steps between rows of the metrics")
    checkpoint_every: Count = Field(20, description="steps between checkpoints; the last step always has one")
    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="what to train on")
    devices: Count = Field(1, description="processes, each with its device")
    strategy: str = Field("auto", description="a Lightning strategy, such as ddp")
    threads: Count = Field(1, description="CPU threads of a process")
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = Field("32-true", description="Lightning's name of it")


class RunConfig(_Block):
    """Everything that decides a run besides the objective. Unset values depend on `model` and `task`."""

    run: Path | None = Field(None, description="folder of the run; runs/OBJECTIVE-N if null")
    resume: Path | None = Field(None, description="folder of an interrupted run to go on with")
    seed: CountOrNone = Field(0, description="of everything random")
    model: Annotated[str, Field(min_length=1)] = Field("tiny", description="tiny, smollm2, a Hugging Face id, or a folder")
    task: Annotated[str, Field(min_length=1)] = Field("sort", description="sort, addition, or a .jsonl file of prompts")
    task_options: dict[str, Scalar] = Field(default_factory=dict, description="options of the task")
    reward: str | None = Field(None, description="import path of a reward function; the task's own if null")
    params: dict[str, Scalar] = Field(default_factory=dict, description="parameters of the objective")
    rollout: RolloutConfig = Field(default_factory=lambda: RolloutConfig())
    trainer: TrainerConfig = Field(default_factory=lambda: TrainerConfig())
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile of the loss: auto leaves it off where compiling takes longer than it saves"
    )
    cache: Path = Field(default_factory=lambda: default_cache(), description="folder of warm-started and converted models")

    @model_validator(mode="before")
    @classmethod
    def _with_model_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        given = flat(values)
        return nested({**_defaults(given.get("model", "tiny"), given.get("task")), **given})

    @model_validator(mode="after")
    def _check_shares(self) -> RunConfig:
        rows = self.rollout.prompts * self.rollout.samples
        parts = self.trainer.updates_per_rollout * self.trainer.micro_batches * self.trainer.devices
        if rows < parts:
            raise ValueError(
                f"a rollout has rollout.prompts × rollout.samples = {rows} answers, too few for "
                f"trainer.updates_per_rollout × micro_batches × devices = {parts} parts"
            )
        return self


def default_cache() -> Path:
    """The folder for models that are made once: `$XDG_CACHE_HOME/maspo-dsl`, else `~/.cache/maspo-dsl`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "maspo-dsl"


def read_config(overrides: Sequence[str]) -> RunConfig:
    """The configuration that `key=value` overrides describe.

    With `resume=RUN` the rest comes from `RUN/config.yaml`, and only what cannot change the run's past may be
    given again. Raises ConfigError that names every mistake at once.
    """
    values, mistakes = read_overrides(overrides, known_keys())
    if "resume" in values and values["resume"] is not None:
        values, more = _resumed(values)
        mistakes += more
    config: RunConfig | None = None
    try:
        config = RunConfig.model_validate(nested(values))
    except ValidationError as error:
        mistakes += [_explain(detail) for detail in error.errors()]
    if mistakes or config is None:
        raise ConfigError(_paragraph(mistakes))
    return config


def known_keys() -> Keys:
    """Every key of a run's configuration."""
    paths, opened, text = set(), set(), set()
    for prefix, block in (("", RunConfig), ("rollout.", RolloutConfig), ("trainer.", TrainerConfig)):
        for name, field in block.model_fields.items():  # type: ignore[attr-defined]
            annotation = str(field.annotation)
            if "dict" in annotation:
                opened.add(name)
            elif not annotation.endswith("Config'>"):
                paths.add(f"{prefix}{name}")
                if any(kind in annotation for kind in ("str", "Path", "Literal")):
                    text.add(f"{prefix}{name}")
    return Keys(frozenset(paths), frozenset(opened), frozenset(text))


# What may differ when a run goes on: nothing that has already shaped its past.
CHANGEABLE = frozenset(
    {"resume", "cache", "trainer.max_steps", "trainer.log_every", "trainer.checkpoint_every", "trainer.threads"}
)


def write_config(config: RunConfig, path: Path) -> None:
    """Write a configuration so that `read_config(["resume=…"])` reads it back."""
    OmegaConf.save(OmegaConf.create(config.model_dump(mode="json")), path)


def _resumed(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The saved values of the run to go on with, under those given, and the mistakes."""
    folder = Path(str(values["resume"]))
    path = folder / "config.yaml"
    if not path.is_file():
        return {}, [f"`resume={folder}`: no run is there ({path} does not exist)"]
    try:
        saved = flat(OmegaConf.to_container(OmegaConf.load(path), resolve=True))  # type: ignore[arg-type]
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, AttributeError) as error:
        return {}, [f"`resume={folder}`: {path} cannot be read ({str(error).splitlines()[0]})"]
    keys = known_keys()
    mistakes = [f"{path}: {unknown_key(name, keys)}" for name in saved if name not in keys and name not in keys.open_blocks]
    saved = {name: value for name, value in saved.items() if name in keys}
    mistakes += [
        f"`{name}={value}` cannot change when a run goes on (it was {saved.get(name)}); start a new run instead"
        for name, value in values.items()
        if name not in CHANGEABLE and saved.get(name) != value
    ]
    return {**saved, "run": str(folder), **values}, mistakes


def _defaults(model: Any, task: Any) -> dict[str, Any]:
    """Defaults that depend on the model and the task (measured on two CPU cores), by path."""
    if model == "tiny":
        return {}
    defaults: dict[str, Any] = {
        "task": "addition",
        "rollout.prompts": 8,
        "rollout.samples": 8,
        "trainer.max_steps": 12,
        "trainer.updates_per_rollout": 2,
        "trainer.micro_batches": 2,
        "trainer.learning_rate": 2e-5,
        "trainer.warmup_steps": 0,
        "trainer.eval_every": 4,
        "trainer.eval_prompts": 64,
        "trainer.checkpoint_every": 4,
    }
    if task not in (None, "addition", "sort"):
        defaults["rollout.max_new_tokens"] = 128
    return defaults


def _explain(detail: Any) -> str:
    """One finding of pydantic in the words of an override."""
    path = ".".join(str(part) for part in detail["loc"] if str(part) not in ("int", "float", "str", "bool", "constrained-float"))
    if not path:
        return str(detail["msg"]).removeprefix("Value error, ")
    expected = str(detail["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return f"`{path}={detail['input']}`: expected {expected}"


def _paragraph(mistakes: Sequence[str]) -> str:
    """The mistakes, one a line if there are several."""
    unique = list(dict.fromkeys(mistakes))
    if len(unique) == 1:
        return unique[0]
    return "\n".join([f"{len(unique)} mistakes in the configuration:", *(f"  {mistake}" for mistake in unique)])
