"""One training run: an objective, a configuration, and in the end a run folder."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from rich.console import Console

import maspo_dsl
from maspo_dsl.runtime.ranks import rank
from maspo_dsl.semantics.types import Axis

from .callbacks import Checkpoints, Interrupt, Recorder
from .catalogue import model_row
from .checkpoint import last_checkpoint, step_of
from .claim import claimed_folder, is_first_process
from .config import RunConfig
from .config_error import ConfigError
from .curves import draw_curves
from .dead_rewards import dead_rewards
from .export import MODEL, is_exportable, write_model
from .loggers import Loggers, logger_names
from .measuring import measures
from .metrics import Row, read_rows
from .module import PolicyTrainer
from .origins import check_origins, origins
from .policies import Policy, as_trained, build_policy, build_teacher, with_engine
from .progress import Progress
from .prompt_choice import check_prompt
from .rewards import load_reward, load_rewards
from .rollout_data import RolloutData, named
from .run_folder import ending, open_folder, resumed_checkpoint
from .tasks import build_task
from .teachers import (
    check_heads,
    check_named,
    distributions_in_updates,
    how_to_name,
    log_probs_of_teachers,
    read_wholly,
)
from .time_limit import can_limit

if TYPE_CHECKING:
    from maspo_dsl import Objective

# What `RolloutData` puts into the loss's batch; `logp` comes with each update.
PROVIDED = frozenset(
    {"logp", "logp_old", "logp_ref", "logp_rollout", "entropy", "mask", "reward", "correct"}
    | {"truncated", "group", "advantage", "prompt_id"}
)


@dataclass(frozen=True)
class RunResult:
    """What a run came to: its folder, the steps done over its whole life, and the rows of its metrics."""

    folder: Path
    steps: int
    interrupted: bool
    rows: tuple[Row, ...]


def train(
    config: RunConfig, objective_source: str | None = None, *, console: Console | None = None
) -> RunResult:
    """Train a policy with an objective; steps, as everywhere, are rollouts with their updates.

    Args:
        config: from `read_config`. With `resume`, the run goes on after its last checkpoint; on one CPU
            thread it comes to the very weights that it would have come to without the stop.
        objective_source: a shipped name or a path. May be None when resuming: the run's own spec is read
        then. console: where lines go; standard output if None.

    Returns:
        The result. An interrupted run can be resumed: the first Ctrl-C lets the present step finish.

    Raises:
        ConfigError: the run cannot start, or its reward function fails; in the first case nothing is written.
        maspo_dsl.SpecError: the objective cannot be used.
    """
    objective = trainable_objective(config, objective_source)
    with claimed_folder(config, objective) as folder:
        return _train_in(folder, config, objective, Progress(config.trainer.max_steps, console))


def _train_in(folder: Path, config: RunConfig, objective: Objective, progress: Progress) -> RunResult:
    """Train in a folder that is ours."""
    checkpoint = resumed_checkpoint(config, objective)
    if checkpoint and step_of(checkpoint) >= config.trainer.max_steps:
        progress.log(f"{folder} has its {step_of(checkpoint)} steps; raise trainer.max_steps to go on")
        return RunResult(folder, step_of(checkpoint), False, tuple(read_rows(folder)))
    policy = None
    with _without_lightning_logs(), _seeded(config), Interrupt(progress.log) as interrupt:
        try:
            policy = _fit(config, objective, folder, checkpoint, progress, interrupt)
        except (ConfigError, OSError) as error:
            if is_first_process() and (saved := last_checkpoint(folder)):
                progress.log(ending(folder, tuple(read_rows(folder)), step_of(saved), finished=False))
            raise error
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            progress.log("stopped at once" if folder.exists() else "stopped before the first step")
        finally:
            progress.stop()
    saved = last_checkpoint(folder)
    steps = step_of(saved) if saved else 0
    finished = steps >= config.trainer.max_steps
    rows = tuple(read_rows(folder))
    if is_first_process() and rows:
        draw_curves(rows, folder / "curves.png", f"{objective.name} on {config.task}, {config.model}")
        if policy is not None and is_exportable(policy):
            try:
                write_model(policy, folder / MODEL, objective, config, list(rows), steps)
            except OSError as error:
                progress.log(
                    f"{folder / MODEL} cannot be written ({error}); `maspo-dsl export {folder} DIR` does so later"
                )
        progress.log(ending(folder, rows, steps, finished))
    return RunResult(folder, steps, not finished, rows)


def _fit(
    config: RunConfig,
    objective: Objective,
    folder: Path,
    checkpoint: Path | None,
    progress: Progress,
    interrupt: Interrupt,
) -> Policy | None:
    """Build the parts and train; the policy after it, None where its weights are not whole in this process."""
    trainer = _lightning(config)
    logger_names(config)
    task = build_task(config.task, **config.task_options)
    reward = load_reward(config.reward) if config.reward else task.reward if not config.rewards else None
    rewards = load_rewards(config.rewards, config.reward_weights) if reward is None else named(reward)
    metrics = load_rewards(config.metrics, {})
    progress.log(f"objective {objective.name}@{objective.hash[:12]}, task {task.name}, model {config.model}")
    if model_row(config.model).cached:
        progress.log(f"model {config.model} is made ready once and kept in {config.cache}")
    if dead_rewards(objective, config.rollout.max_new_tokens):
        progress.log(
            f"the reward terms of {objective.name} are 0 for every completion of at most "
            f"{config.rollout.max_new_tokens} tokens: set its lengths, or `bind generation_limit` to them"
        )
    if config.rollout.reward_timeout is not None and not can_limit():
        progress.log(
            f"rollout.reward_timeout={config.rollout.reward_timeout:g} has no effect in this thread or on this system: "
            "a reward that hangs, hangs the run"
        )
    policy = build_policy(config.model, task, seed=config.seed, cache=config.cache)
    policy = with_engine(as_trained(policy, config), config)
    loss = maspo_dsl.compile(objective, backend=choose_backend(config, progress))
    teachers = {
        name: build_teacher(model, policy, task, seed=config.seed, cache=config.cache)
        for name, model in config.teacher.items()
    }

    def stage(text: str) -> None:
        if rank() == 0:
            progress.stage(text)

    data = RolloutData(policy, task, rewards, objective, loss, config, progress.log, teachers, stage)
    wholly = read_wholly(objective, data.others, config.teacher)
    if wholly:
        check_heads({config.model: policy.model, **wholly})
    module = PolicyTrainer(
        policy.model,
        loss,
        objective.hash,
        config.trainer,
        temperature=config.rollout.temperature,
        live_entropy="entropy" in objective.inputs,
        scales_steps=objective.resolved.parts.get("step") is not None,
        teachers=wholly,
        log=progress.log,
        stage=stage,
    )
    made_with = origins(task, rewards if config.reward or config.rewards else {}, policy)
    if config.resume is not None and (
        change := check_origins(folder, made_with, accepted=config.resume_changed)
    ):
        progress.log(f"{folder} {change}")
    held_out = task.held_out(config.trainer.eval_prompts)
    recorder = Recorder(
        data,
        lambda: (open_folder(folder, config, objective, checkpoint, made_with), Loggers(config, folder)),
        lambda: measures(data.policy, held_out, rewards, metrics, config, stage),
        progress,
    )
    interrupt.launcher = trainer.strategy.launcher
    trainer.callbacks += [recorder, Checkpoints(data, folder, interrupt)]  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return data.policy if isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy) else None


def choose_backend(config: RunConfig, progress: Progress) -> Literal["inductor", "eager"]:
    """How the loss runs, said in a line."""
    compiled = config.compiles_loss
    why = "" if config.compile != "auto" else f" (compile=auto, model {config.model})"
    progress.log(f"loss: {'torch.compile, inductor' if compiled else 'eager'}{why}")
    return "inductor" if compiled else "eager"


def trainable_objective(config: RunConfig, source: str | None) -> Objective:
    """A run's objective with its constants bound. Raises ConfigError for what training would not do."""
    if source is None:
        folder = config.resume or (config.config and config.config.parent)
        if folder is None or not (folder / "spec.obj").is_file():
            raise ConfigError(
                "an objective is missing: a shipped name such as maspo, or the path of an .obj file"
            )
        source = str(folder / "spec.obj")
    objective = maspo_dsl.load(source, params=config.params, run=config.constants)
    check_prompt(objective, config.rollout)
    check_named(objective, config.teacher)
    tensors = log_probs_of_teachers(objective)
    provided = PROVIDED | set(objective.memories) | {tensors[name] for name in config.teacher}
    provided |= set(distributions_in_updates(objective, config.teacher))
    provided |= {
        name
        for name in config.rewards
        if name in objective.resolved.own and objective.resolved.own[name].axis is Axis.SEQUENCE
    }
    missing = sorted(objective.training_inputs - provided)
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ConfigError(
            f"objective `{objective.name}` reads {names}, which training does not provide; "
            f"it provides {', '.join(sorted(PROVIDED))}, and as inputs of axis sequence what "
            f"`rewards.NAME=module.function` give{how_to_name(objective, config.teacher, missing)}"
        )
    return objective


def _lightning(config: RunConfig) -> Trainer:
    """Lightning's trainer without its own logs, bars and checkpoints; an epoch of it is a step of ours."""
    try:
        return Trainer(
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            strategy=config.trainer.strategy,
            precision="32-true",  # of the weights; `computing_in` rounds products, for all that reads a model alike
            max_epochs=config.trainer.max_steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(
            f"trainer.accelerator={config.trainer.accelerator}, devices={config.trainer.devices}, "
            f"strategy={config.trainer.strategy}: Lightning cannot use these ({error})"
        ) from error


@contextmanager
def _seeded(config: RunConfig) -> Iterator[None]:
    """Seed the global generators, which rewards may draw from, and set the CPU threads for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.trainer.threads)
    random.seed(config.seed)
    numpy.random.seed(config.seed % 2**32)
    torch.manual_seed(config.seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _without_lightning_logs() -> Iterator[None]:
    """Keep Lightning's remarks on loops and data loaders that this run does not have out of the output."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        logger.setLevel(level)
