"""The configuration of a training run: what can be set, its defaults, and what is wrong with what was given.

Overrides are dotlists: `params.alpha=0.5 trainer.max_steps=100`. A *step* is one rollout followed by
`trainer.updates_per_rollout` optimizer updates; `max_steps`, `warmup_steps` and every `…_every` count steps.
This module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args, get_origin

from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import ErrorDetails

from maspo_dsl.language.writing import write_whole
from maspo_dsl.semantics.vocabulary import RUN_CONSTANTS

from .catalogue import MODELS, TASKS, model_row, run_defaults
from .config_error import ConfigError
from .frameworks import contradictions
from .frameworks import mistakes as unheard
from .overrides import Keys, Tree, flat, nested, read_overrides, unknown_key

Count: TypeAlias = Annotated[int, Field(ge=1, strict=True)]
Natural: TypeAlias = Annotated[int, Field(ge=0, strict=True)]
Positive: TypeAlias = Annotated[FiniteFloat, Field(gt=0, strict=True)]
Share: TypeAlias = Annotated[FiniteFloat, Field(ge=0, le=1, strict=True)]
Name: TypeAlias = Annotated[str, Field(min_length=1)]
Number: TypeAlias = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]
Scalar: TypeAlias = bool | int | float | str


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RolloutConfig(_Block):
    """How completions are sampled."""

    prompts: Count = 64
    """prompts of a rollout, over all devices"""
    samples: Count = 8
    """completions sampled for each prompt: the size of a group"""
    max_new_tokens: Count = 10
    """longest completion, in tokens; the objective knows it as `generation_limit`"""
    temperature: Positive = 1.0
    """of sampling, and of every log-prob that the objective sees"""
    engine: Literal["model", "vllm"] = "model"
    """what samples: the model that is trained, or vLLM with its weights"""
    engine_memory: Share = 0.4
    """share of the device's memory that an engine of its own may take"""
    max_resamples: Natural = 4
    """how often a rollout is refilled with new prompts after the objective's `keep` rule dropped rows"""
    candidates: Count = 4
    """prompts drawn for each that is sampled: the best by the objective's `prompt`; without one, none are drawn"""
    explore: Share = 0.1
    """share of prompts that are taken at random among their candidates"""
    reward_timeout: Positive | None = 300.0
    """longest time of one call of the reward, in seconds; null for no limit"""
    reward_failures: Share = 0.5
    """largest share of a rollout's completions whose reward may fail; beyond it the run is saved and ends"""


class TokenizerConfig(_Block):
    """What differs between the tokenizers of pretrained models."""

    strip_special: bool = False
    """leave special tokens, such as <think>, out of what rewards and samples.jsonl read; ends and padding always are"""
    end: Name | None = None
    """one more token that ends a completion, such as <|im_end|>"""


class TrainerConfig(_Block):
    """How the policy is updated, measured and saved. A step is one rollout and its updates."""

    max_steps: Count = 160
    """steps of the run; a step is one rollout and its updates"""
    updates_per_rollout: Count = 4
    """optimizer updates of a step, each on its own share of the rollout"""
    micro_batches: Count = 1
    """parts that one update is computed in, to save memory; the gradient is the same for any number"""
    learning_rate: Positive = 2e-4
    """of AdamW, after warm-up"""
    warmup_steps: Natural = 5
    """steps over which the learning rate rises linearly"""
    gradient_clip: Positive | None = 1.0
    """largest norm of the gradient; null for no limit"""
    eval_every: Natural = 5
    """steps between measurements of held-out greedy accuracy; 0 for never"""
    eval_prompts: Count = 256
    """held-out prompts of such a measurement"""
    eval_samples: Natural = 0
    """sampled completions to each held-out prompt besides the greedy one: columns eval/avg@k and eval/pass@k"""
    log_every: Count = 1
    """steps between rows of the metrics"""
    checkpoint_every: Count = 20
    """steps between checkpoints; the last step always has one"""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """what to train on"""
    devices: Count = 1
    """processes, each with its own device"""
    strategy: Name = "auto"
    """a Lightning strategy, such as ddp"""
    threads: Count = 1
    """CPU threads of a process"""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """of the learning rate after warm-up: constant, or falling to 0 at the last step"""
    weight_decay: Natural | Positive = 0
    """of AdamW, for matrices; vectors such as biases and norms have none"""
    gradient_checkpointing: bool = False
    """compute the layers again for the gradient instead of keeping what they computed: less memory, more time"""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """of everything that reads a model; weights are always float32: AdamW's steps would vanish in bfloat16"""


class LoraConfig(_Block):
    """Low-rank adapters in the place of all weights, by peft."""

    rank: Natural = 0
    """rank of the adapters; 0 trains the model itself"""
    alpha: Positive = 32.0
    """what they add is multiplied by alpha / rank"""
    targets: Name = "all-linear"
    """layers that get one: all-linear, or the ends of their names, as q_proj,v_proj"""


def default_cache() -> Path:
    """The folder for models that are made once: `$XDG_CACHE_HOME/maspo-dsl`, else `~/.cache/maspo-dsl`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "maspo-dsl"


class RunConfig(_Block):
    """Everything besides the objective that decides a run. Some defaults depend on `model` and `task`."""

    run: Path | None = None
    """folder of the run; runs/OBJECTIVE-N if null"""
    resume: Path | None = None
    """folder of an earlier run to go on with"""
    engine: Literal["own", "trl", "verl"] = "own"
    """who trains: own, the package's trainer; trl or verl, which are handed the objective, task, reward and model"""
    resume_changed: bool = False
    """go on although the data, a reward, the model or a version is not what the run was made with"""
    config: Path | None = None
    """file of keys like these, such as the config.yaml of a run; what is given beside it goes first"""
    seed: Natural = 0
    """of everything random"""
    model: Name = Field("tiny", description=f"{', '.join(MODELS)}, a Hugging Face id, or a folder")
    task: Name = Field(
        "sort",
        description=f"{', '.join(TASKS)}, a .jsonl, .csv or .parquet file, a data set, or an import path",
    )
    task_options: dict[str, Scalar] = Field(default_factory=dict)
    """options of the task"""
    reward: Name | None = None
    """import path of a reward function; the task's own if null"""
    rewards: dict[str, Name] = Field(default_factory=dict)
    """import paths of several reward functions by name; a spec's `input` of that name is what one gives"""
    reward_weights: dict[str, Number] = Field(default_factory=dict)
    """of the named rewards in their sum, which is the reward; 1 unless given"""
    metrics: dict[str, Name] = Field(default_factory=dict)
    """import paths of more functions like rewards, for the greedy completions of held-out prompts: column eval/NAME"""
    logger: Name | None = None
    """where metrics go besides the run's folder: tensorboard, wandb, mlflow, trackio; several with commas"""
    params: dict[str, Number] = Field(default_factory=dict)
    """parameters of the objective"""
    teacher: dict[str, Name] = Field(default_factory=dict)
    """models of the objective's teachers, each as `model` is, with the vocabulary of the policy"""
    rollout: RolloutConfig = RolloutConfig()
    trainer: TrainerConfig = TrainerConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    lora: LoraConfig = LoraConfig()
    """low-rank adapters that are trained instead of all weights"""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the loss; `auto`: not for the tiny model, where compiling outlasts its gain"""
    cache: Path = Field(default_factory=default_cache)
    """folder of warm-started and converted models"""

    @property
    def constants(self) -> dict[str, float]:
        """What parameters can be bound to, by name."""
        return {name: attrgetter(constant.key)(self) for name, constant in RUN_CONSTANTS.items()}

    @property
    def compiles_loss(self) -> bool:
        """Whether the loss is compiled; `auto` does not for models so small that compiling would outlast its gain."""
        return self.compile == "on" or (self.compile == "auto" and model_row(self.model).compiles_loss)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: object) -> object:
        if not isinstance(values, Mapping):
            return values
        plain = {
            k: v.model_dump(exclude_unset=True) if isinstance(v, _Block) else v for k, v in values.items()
        }
        given = flat(plain)
        return nested({**run_defaults(given.get("model", "tiny"), given.get("task")), **given})

    @model_validator(mode="after")
    def _check_rewards(self) -> RunConfig:
        if self.reward is not None and self.rewards:
            raise ValueError("`reward` is one function and `rewards.NAME` are several; give one of the two")
        unknown = sorted(set(self.reward_weights) - set(self.rewards))
        if unknown:
            raise ValueError(f"`reward_weights.{unknown[0]}`: there is no `rewards.{unknown[0]}`")
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> RunConfig:
        rows = self.rollout.prompts * self.rollout.samples
        parts = self.trainer.updates_per_rollout * self.trainer.micro_batches * self.trainer.devices
        if rows < parts:
            raise ValueError(
                f"a rollout has rollout.prompts × rollout.samples = {rows} completions, too few for its "
                f"trainer.updates_per_rollout × micro_batches × devices = {parts} parts"
            )
        if self.rollout.prompts < self.trainer.devices:
            raise ValueError(
                f"rollout.prompts={self.rollout.prompts}: too few for trainer.devices={self.trainer.devices}"
            )
        if found := contradictions(self):
            raise ValueError("; ".join(found))
        return self


BLOCKS: Mapping[str, type[BaseModel]] = {
    "": RunConfig,
    "rollout.": RolloutConfig,
    "trainer.": TrainerConfig,
    "tokenizer.": TokenizerConfig,
    "lora.": LoraConfig,
}


def read_config(overrides: Sequence[str]) -> RunConfig:
    """The configuration that `key=value` overrides describe.

    With `config=FILE` the rest comes from that file. With `resume=RUN` it comes from `RUN/config.yaml`, and only what
    has not shaped the run's past may be given again. Raises ConfigError that names every mistake at once.
    """
    values, mistakes = read_overrides(overrides, known_keys())
    given = tuple(values)
    if values.get("config") is not None:
        values, more = _with_file(values)
        mistakes += more
    if values.get("resume") is not None:
        values, more = _with_saved(values)
        mistakes += more
    mistakes += unheard(values.get("engine"), given)
    try:
        config = RunConfig.model_validate(nested(values))
    except ValidationError as error:
        mistakes += [_explain(detail) for detail in error.errors()]
        wrong = {".".join(map(str, detail["loc"][:2])) for detail in error.errors()}
        values = {path: value for path, value in values.items() if path not in wrong}
    if mistakes:
        raise ConfigError(_paragraph(mistakes), values)
    return config


def write_config(config: RunConfig, path: Path) -> None:
    """Write a configuration so that `read_config(["resume=RUN"])` reads it back."""
    write_whole(path, as_yaml(config))


def as_yaml(config: RunConfig) -> str:
    """A configuration as a file of keys."""
    return str(OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json"))))


def known_keys() -> Keys:
    """Every key of a run's configuration."""
    types = {
        f"{prefix}{name}": field.annotation
        for prefix, block in BLOCKS.items()
        for name, field in block.model_fields.items()
        if field.annotation not in BLOCKS.values()
    }
    opened = frozenset(path for path, kind in types.items() if get_origin(kind) is dict)
    text = frozenset(path for path, kind in types.items() if path not in opened and _is_text(kind))
    return Keys(frozenset(types) - opened, opened, text)


# What may be given again when a run goes on, because the steps already made do not depend on it.
CHANGEABLE = frozenset(
    {
        "run",
        "resume",
        "resume_changed",
        "config",
        "cache",
        "trainer.max_steps",
        "trainer.log_every",
        "trainer.checkpoint_every",
    }
)


def _with_file(values: Tree) -> tuple[Tree, list[str]]:
    """What a file of keys says, under the values given; and the mistakes. The folder of a run is no other run's."""
    path = Path(str(values["config"]))
    if not path.is_file():
        return values, [f"`config={path}`: there is no such file"]
    found, mistakes = _read_file(path, f"config={path}")
    own = {"resume", "config", *(["run"] if (path.parent / "spec.obj").is_file() else [])}
    return {**{name: value for name, value in found.items() if name not in own}, **values}, mistakes


def _read_file(path: Path, setting: str) -> tuple[Tree, list[str]]:
    """The values of a YAML file by path, and one sentence a mistake."""
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        if not isinstance(tree, dict) or not tree:
            raise ValueError("it holds no keys")
        saved = flat({str(key): value for key, value in tree.items()})
    except Exception as error:  # a file edited by hand fails in as many ways as YAML has
        return {}, [f"`{setting}`: {path} cannot be read ({str(error).splitlines()[0]})"]
    keys = known_keys()
    mistakes = [f"{path}: {unknown_key(name, keys)}" for name in saved if name not in keys]
    return {name: value for name, value in saved.items() if name in keys}, mistakes


def _with_saved(values: Tree) -> tuple[Tree, list[str]]:
    """The saved configuration of the run to go on with, under the values given; and the mistakes."""
    path = Path(str(values["resume"])) / "config.yaml"
    if not path.is_file():
        return {}, [f"`resume={values['resume']}`: no run is there ({path} does not exist)"]
    saved, mistakes = _read_file(path, f"resume={values['resume']}")
    if not saved and mistakes:
        return {}, mistakes
    mistakes += [
        f"`{name}={value}` cannot change when a run goes on: it was {saved.get(name)}"
        for name, value in values.items()
        if name not in CHANGEABLE and value != saved.get(name)
    ]
    if values.get("run") is not None and Path(str(values["run"])) != path.parent:
        mistakes.append(
            f"`run={values['run']}`: a run goes on in its own folder, {path.parent}; leave `run` out"
        )
    steps = saved.get("trainer.max_steps")
    falls = saved.get("trainer.schedule", "constant") != "constant"
    if falls and values.get("trainer.max_steps", steps) != steps:
        mistakes.append(
            f"`trainer.max_steps={values['trainer.max_steps']}` cannot change when a run with trainer.schedule="
            f"{saved['trainer.schedule']} goes on: the learning rates of the steps made were those of {steps} steps"
        )
    return {
        **saved,
        **values,
        "run": values["resume"],
    }, mistakes


def _is_text(kind: object) -> bool:
    """Whether a type is made of text: str, Path or names to choose from."""
    if get_origin(kind) is Literal:
        return True
    inner = [part for part in get_args(kind) if part is not type(None)]
    return _is_text(inner[0]) if inner else kind in (str, Path)


_KINDS = {
    "params": "a number",
    "task_options": "a number, true, false or text",
    "teacher": "a model",
    "rewards": "the import path of a function",
    "reward_weights": "a number",
    "metrics": "the import path of a function",
}
EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_too_short": "a name",
}


def _explain(detail: ErrorDetails) -> str:
    """One finding of pydantic in the words of an override."""
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    block, *rest = (str(part) for part in detail["loc"])
    kinds = _KINDS.get(block)
    if kinds is not None:
        return f"`{block}.{rest[0]}={detail['input']}`: expected {kinds}"
    expected = EXPECTED.get(detail["type"], detail["msg"].removeprefix("Input should be "))
    return f"`{'.'.join([block, *rest[:1]])}={detail['input']}`: expected {expected}"


def _paragraph(mistakes: Sequence[str]) -> str:
    """The mistakes, one a line if there are several."""
    unique = list(dict.fromkeys(mistakes))
    if len(unique) == 1:
        return unique[0]
    return "\n".join([f"{len(unique)} mistakes in the configuration:", *(f"  {each}" for each in unique)])
