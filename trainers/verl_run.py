"""One training run by verl: a folder with all that verl is told, and its start where verl is installed.

The folder holds the objective, the prompts as parquet, a reward function for verl, the environment and the command.
Prompts are messages to verl. A prompt of text is one message, behind a chat template that writes the text alone.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from maspo_dsl.hosts.shared import HostError
from maspo_dsl.hosts.verl import VERL as HOST
from maspo_dsl.hosts.verl import settings

from .catalogue import MODELS
from .config import RunConfig
from .config_error import ConfigError
from .frameworks import VERL
from .handed import Handed, handed, rewards_of
from .policies import Tokenizer, build_policy
from .policies.pretrained import load_tokenizer, source_of
from .rewards import load_reward
from .tasks import Example, build_task

COMMAND = "run.sh"
REWARD = '''"""The reward of a completion, as verl asks for it."""

from maspo_dsl.trainers.verl_run import Scorer

compute_score = Scorer({arguments})
'''
TEXT_ALONE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass(frozen=True)
class VerlPlan:
    """What would run: the parts, what verl is told, the environment, and the model's tokenizer."""

    parts: Handed
    held_out: tuple[Example, ...]

    @cached_property
    def folder(self) -> Path:
        """The launch folder, in full: verl's workers may stand elsewhere."""
        return self.parts.folder.resolve()

    def overrides(self) -> dict[str, object]:
        """verl's settings, by key; what depends on the model's tokenizer is added as the folder is written."""
        config, folder = self.parts.config, self.folder
        model = str(folder / "model") if config.model in MODELS else _place(config.model)
        return {
            "data.train_files": folder / "train.parquet",
            "data.val_files": folder / "held_out.parquet",
            "actor_rollout_ref.model.path": model,
            "reward.custom_reward_function.path": folder / "reward.py",
            "trainer.project_name": "maspo-dsl",
            "trainer.experiment_name": folder.name,
            "trainer.default_local_dir": folder / "checkpoints",
            **VERL.options(config),
            **settings(self.parts.objective),
        }

    def environment(self) -> dict[str, str]:
        """Variables of verl's processes."""
        return {
            "MASPO_DSL_VERL": shlex.quote(str(self.folder / "spec.obj")),
            "VERL_FILE_LOGGER_PATH": str(self.folder / "metrics.jsonl"),
        }

    def lines(self) -> list[str]:
        """The plan, a line each."""
        environment = (f"{name}={value}" for name, value in self.environment().items())
        told = (f"{key}={value}" for key, value in self.overrides().items())
        return [
            *self.parts.lines(),
            f"verl, by {self.folder / COMMAND}, with prompts, reward and environment beside it:",
            *(f"  {line}" for line in (*environment, *told)),
        ]

    def start(self) -> str:
        """Write the folder, and start verl where it is."""
        with self.parts.claimed():
            self.write()
            return self._started()

    def _started(self) -> str:
        """Start verl, if it and a GPU are there; the last line."""
        command = self.folder / COMMAND
        try:
            HOST.check_version()
        except ImportError as error:
            return f"written, and not started here ({error}): bash {command}"
        if not torch.cuda.is_available():
            return f"written, and not started here (verl samples on a GPU, and there is none): bash {command}"
        status = subprocess.run(["bash", str(command)], check=False).returncode
        if status:
            raise ConfigError(f"verl ended with status {status}; its command is in {command}")
        return f"done by verl; see {self.folder}"

    def write(self) -> None:
        """Write what verl reads into the folder. Raises ConfigError."""
        parts, folder = self.parts, self.folder
        tokenizer = _tokenizer(parts, folder / "model")
        longest = max(len(tokenizer.encode(each.prompt)) for each in (*parts.examples, *self.held_out))
        told = {**self.overrides(), "data.max_prompt_length": longest}
        if isinstance(parts.examples[0].prompt, str):
            told["actor_rollout_ref.model.custom_chat_template"] = _quoted(_template(tokenizer))
        _write_parquet(folder / "train.parquet", parts.examples, parts.task.name)
        _write_parquet(folder / "held_out.parquet", self.held_out, parts.task.name)
        (folder / "reward.py").write_text(REWARD.format(arguments=_arguments(parts)), encoding="utf-8")
        environment = "".join(f"{name}={shlex.quote(value)}\n" for name, value in self.environment().items())
        (folder / "environment").write_text(environment, encoding="utf-8")
        (folder / COMMAND).write_text(_command(folder, told), encoding="utf-8")


def plan(config: RunConfig, objective_source: str) -> VerlPlan:
    """Check everything that can be checked before a folder is written. Raises ConfigError and SpecError."""
    parts = handed(config, objective_source)
    try:
        settings(parts.objective)
    except HostError as error:
        raise ConfigError(str(error)) from error
    return VerlPlan(parts, tuple(parts.task.held_out(config.trainer.eval_prompts)))


@dataclass(frozen=True)
class Scorer:
    """A reward as verl calls it, one completion at a time."""

    reward: str | None
    task: str
    options: dict[str, Any]
    seconds: float | None

    def __call__(
        self, data_source: str, solution_str: str, ground_truth: str, extra_info: Any, **_: Any
    ) -> float:
        """The reward of one completion. Raises ConfigError where the function failed."""
        row = json.loads(extra_info["row"])
        config = RunConfig.model_validate(
            {"rollout": {"reward_timeout": self.seconds, "reward_failures": 0.0}}
        )
        function = self._function
        return rewards_of(function, [Example(row["prompt"], row["columns"])], [solution_str], config)[0]

    @cached_property
    def _function(self) -> Any:
        return load_reward(self.reward) if self.reward else build_task(self.task, **self.options).reward


def _arguments(parts: Handed) -> str:
    config = parts.config
    task = str(Path(config.task).resolve()) if Path(config.task).is_file() else config.task
    said = {
        "reward": config.reward,
        "task": task,
        "options": dict(config.task_options),
        "seconds": config.rollout.reward_timeout,
    }
    return ", ".join(f"{name}={value!r}" for name, value in said.items())


def _tokenizer(parts: Handed, place: Path) -> Tokenizer:
    """The tokenizer of the run's model; a model that is made here is saved into `place`."""
    config = parts.config
    if config.model not in MODELS:
        return load_tokenizer(config.model)
    policy = build_policy(config.model, parts.task, seed=config.seed, cache=config.cache)
    model: Any = policy.model
    model.save_pretrained(place)
    policy.tokenizer.hugging_face().save_pretrained(place)
    saved, prompt = load_tokenizer(str(place)), parts.examples[0].prompt
    if saved.encode(prompt) != policy.tokenizer.encode(prompt):
        raise ConfigError(
            f"engine=verl: transformers reads the saved tokenizer of `{config.model}` otherwise, so that verl would "
            "train on other prompts; name a pretrained model"
        )
    return policy.tokenizer


def _place(model: str) -> str:
    """Where a model is, whatever folder verl's workers stand in. Raises ConfigError."""
    source = source_of(model)
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def _template(tokenizer: Tokenizer) -> str:
    """A chat template of text alone, behind what the tokenizer puts before a text."""
    theirs = tokenizer.hugging_face()
    begun = theirs("a")["input_ids"][:1] == [theirs.bos_token_id]
    return ("{{ bos_token }}" if begun else "") + TEXT_ALONE


def _quoted(text: str) -> str:
    """A text as a value of an override: braces would be read as a dictionary."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_parquet(path: Path, examples: Sequence[Example], source: str) -> None:
    """Write prompts in verl's columns; a prompt and its own columns as JSON too, which keeps each one's types."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("engine=verl writes parquet: pip install pyarrow") from error
    rows = []
    for index, example in enumerate(examples):
        try:
            row = json.dumps({"prompt": example.prompt, "columns": dict(example.columns)})
        except TypeError as error:
            raise ConfigError(f"task `{source}`: a column cannot be written for verl ({error})") from error
        prompt = example.prompt
        rows.append(
            {
                "data_source": source,
                "prompt": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
                "reward_model": {"style": "rule", "ground_truth": str(example.columns.get("answer", ""))},
                "extra_info": {"index": index, "row": row},
            }
        )
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _command(folder: Path, told: dict[str, object]) -> str:
    """The script that starts verl, for this machine or another with the same folder."""
    lines = "".join(f" \\\n    {shlex.quote(f'{key}={value}')}" for key, value in told.items())
    return (
        "#!/usr/bin/env bash\n"
        "# Needs verl 0.9 and maspo-dsl in one environment, on every node.\n"
        "set -euo pipefail\n"
        f"set -a; . {shlex.quote(str(folder / 'environment'))}; set +a\n\n"
        f'python3 -m verl.trainer.main_ppo{lines} \\\n    "$@"\n'
    )
