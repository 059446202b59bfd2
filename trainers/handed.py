"""What another framework is handed of a run: the objective, the prompts with their columns, and the reward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import maspo_dsl
from maspo_dsl.language.writing import write_whole

from .claim import claimed_folder, is_first_process
from .config import RunConfig, as_yaml
from .config_error import ConfigError
from .prompts import completion_text
from .rewards import RewardFunction, load_reward, reward_name, score
from .rollout_data import columns_of
from .tasks import Example, Task, build_task

if TYPE_CHECKING:
    from maspo_dsl import Objective


@dataclass(frozen=True)
class Handed:
    """A run's parts; `examples` are as many as all its rollouts read, in their order."""

    config: RunConfig
    folder: Path
    objective: Objective
    task: Task
    reward: RewardFunction
    examples: tuple[Example, ...]

    def lines(self) -> list[str]:
        """The parts, in a line each."""
        return [
            f"objective {self.objective.name}@{self.objective.hash[:12]}",
            f"task {self.task.name}, {len(self.examples)} prompts, reward {reward_name(self.reward)}",
            f"model {self.config.model}, folder {self.folder}",
        ]

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this run, with the objective and the configuration in it. Raises ConfigError."""
        with claimed_folder(self.config, self.objective):
            if is_first_process():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_whole(self.folder / "config.yaml", as_yaml(self.config))
                write_whole(self.folder / "spec.obj", self.objective.text)
            yield


def handed(config: RunConfig, objective_source: str) -> Handed:
    """The parts of a run, checked before a model is built. Raises ConfigError and SpecError."""
    objective = maspo_dsl.load(objective_source, params=config.params, run=config.constants)
    task = build_task(config.task, **config.task_options)
    reward = load_reward(config.reward) if config.reward else task.reward
    wanted = config.trainer.max_steps * config.rollout.prompts
    examples = tuple(islice(task.train(config.seed), wanted))
    if len(examples) < wanted:
        raise ConfigError(f"task `{task.name}` ended after {len(examples)} examples; `train` must not end")
    if len({type(example.prompt) for example in examples}) > 1:
        raise ConfigError(f"task `{task.name}`: prompts are text or messages here, and not both")
    numbered = (Path("runs") / f"{objective.name}-{number}" for number in count(1))
    folder = config.run or next(path for path in numbered if not path.exists())
    config = config.model_copy(update={"run": folder})
    return Handed(config, folder, objective, task, reward, examples)


def rewards_of(
    reward: RewardFunction, examples: Sequence[Example], completions: Sequence[Any], config: RunConfig
) -> list[float]:
    """The rewards of completions, of text or messages; NaN where one failed. Raises ConfigError if too many did."""
    rollout = config.rollout
    most = int(rollout.reward_failures * len(examples))
    texts = [completion_text(completion) for completion in completions]
    prompts = [example.prompt for example in examples]
    scores = score(reward, prompts, texts, columns_of(examples), seconds=rollout.reward_timeout, most=most)
    if len(scores.failures) > most:
        raise ConfigError(next(iter(scores.failures.values())))
    return scores.values
