"""One training run by TRL: the objective, task, reward and model of a configuration in TRL's trainer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from maspo_dsl.hosts.shared import HostError

from .config import RunConfig
from .config_error import ConfigError
from .frameworks import TRL
from .handed import Handed, handed, rewards_of
from .policies import build_policy
from .rewards import reward_name

if TYPE_CHECKING:
    from .policies import Policy


@dataclass(frozen=True)
class TrlPlan:
    """What would run: the parts, and TRL's configuration."""

    parts: Handed
    arguments: Any

    def lines(self) -> list[str]:
        """The plan, a line each."""
        settings = TRL.options(self.parts.config)
        return [
            *self.parts.lines(),
            "by maspo_dsl.hosts.trl.ObjectiveGRPOTrainer with GRPOConfig:",
            *(f"  {name} = {value}" for name, value in settings.items()),
        ]

    def start(self) -> str:
        """Train, and save the weights into the run's folder."""
        config = self.parts.config
        torch.set_num_threads(config.trainer.threads)
        with self.parts.claimed():
            trainer = _trainer(self)
            trainer.train()
            trainer.save_model()
            trainer.save_state()
        return f"done after {trainer.state.global_step} optimizer steps of TRL; see {self.parts.folder}"


def plan(config: RunConfig, objective_source: str) -> TrlPlan:
    """Check everything that can be checked before a model is built.

    Raises ConfigError, also where TRL is not installed or cannot bring what the objective reads, and SpecError.
    """
    try:
        from trl import GRPOConfig

        from maspo_dsl.hosts.trl import check
    except ImportError as error:
        raise ConfigError(f"engine=trl needs TRL: pip install 'maspo-dsl[trl]' ({error})") from error
    _check_processes(config)
    parts = handed(config, objective_source)
    try:
        arguments = GRPOConfig(output_dir=str(parts.folder), **TRL.options(config))
        check(parts.objective, arguments, {"reward_funcs": [parts.reward]})
    except (HostError, ValueError) as error:
        raise ConfigError(str(error)) from error
    return TrlPlan(parts, arguments)


def _trainer(planned: TrlPlan) -> Any:
    from datasets import Dataset

    from maspo_dsl.hosts.trl import ObjectiveGRPOTrainer

    parts, config = planned.parts, planned.parts.config
    policy = build_policy(config.model, parts.task, seed=config.seed, cache=config.cache)
    prompts = [example.prompt for example in parts.examples]
    for prompt in prompts:
        policy.tokenizer.encode(prompt)  # says which prompt the model cannot read
    with _saved(policy):
        return ObjectiveGRPOTrainer(
            objective=parts.objective,
            backend="inductor" if config.compiles_loss else "eager",
            model=policy.model,
            reward_funcs=[_reward(parts)],
            args=planned.arguments,
            train_dataset=Dataset.from_dict({"prompt": prompts, "example": list(range(len(prompts)))}),
            processing_class=policy.tokenizer.hugging_face(),
        )


def _reward(parts: Handed) -> Callable[..., list[float]]:
    """A reward function as TRL calls it, checked as ever; columns are looked up, since TRL's must have one type."""

    def scored(completions: Sequence[Any], example: Sequence[int], **_: object) -> list[float]:
        asked = [parts.examples[number] for number in example]
        return rewards_of(parts.reward, asked, completions, parts.config)

    scored.__name__ = reward_name(parts.reward)
    return scored


@contextmanager
def _saved(policy: Policy) -> Iterator[None]:
    """A place on the disk for a model that has none, since TRL loads the reference model from there."""
    model: Any = policy.model
    if model.config._name_or_path:
        yield
        return
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        model.config._name_or_path = folder
        yield


def _check_processes(config: RunConfig) -> None:
    """Refuse a number of processes that were not started, and a device that is not there."""
    wanted, there = config.trainer.devices, int(os.environ.get("WORLD_SIZE", "1"))
    if wanted != there:
        raise ConfigError(
            f"trainer.devices={wanted}, and {there} {'process runs' if there == 1 else 'processes run'}: "
            f'start it by `torchrun --nproc_per_node {wanted} "$(command -v maspo-dsl)" train …`'
        )
    if wanted > 1 and config.run is None:
        raise ConfigError("with several processes name the folder: `run=FOLDER`")
    if config.trainer.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`trainer.accelerator=cuda`: there is no such device")
