"""One training run: an objective, a configuration, and in the end a run folder."""

from __future__ import annotations

import json
import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from rich.console import Console

import maspo_dsl

from .callbacks import Checkpoints, Interrupt, Recorder
from .checkpoint import last_checkpoint, saved_hash, step_of
from .config import ConfigError, RunConfig, write_config
from .curves import draw_curves
from .metrics import Records, Row, read_rows
from .module import PolicyTrainer
from .policies import build_policy
from .progress import Progress
from .rewards import load_reward
from .rollout_data import RolloutData, greedy_reward
from .tasks import build_task

if TYPE_CHECKING:
    from maspo_dsl import Objective

# What `RolloutData` puts into the loss's batch; `logp` comes with each update.
PROVIDED = frozenset(
    {"logp", "logp_old", "logp_ref", "logp_rollout", "entropy", "mask", "reward", "correct"}
    | {"truncated", "group", "advantage"}
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
    objective = _load(config, objective_source)
    folder = _run_folder(config, objective)
    checkpoint = _checkpoint(config, objective)
    progress = Progress(config.trainer.max_steps, console)
    if checkpoint and step_of(checkpoint) >= config.trainer.max_steps:
        progress.say(f"{folder} has its {step_of(checkpoint)} steps; raise trainer.max_steps to go on")
        return RunResult(folder, step_of(checkpoint), False, tuple(read_rows(folder)))
    with _quiet_lightning(), _seeded(config), Interrupt(progress.say) as interrupt:
        try:
            _fit(config, objective, folder, checkpoint, progress, interrupt)
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            progress.say("stopped at once" if folder.exists() else "stopped before the first step")
        finally:
            progress.stop()
    saved = last_checkpoint(folder)
    steps = step_of(saved) if saved else 0
    finished = steps >= config.trainer.max_steps
    rows = tuple(read_rows(folder))
    if _is_first_process() and rows:
        draw_curves(rows, folder / "curves.png", f"{objective.name} on {config.task}, {config.model}")
        progress.say(_ending(folder, rows, finished))
    return RunResult(folder, steps, not finished, rows)


def _fit(
    config: RunConfig,
    objective: Objective,
    folder: Path,
    checkpoint: Path | None,
    progress: Progress,
    interrupt: Interrupt,
) -> None:
    """Build the parts and train."""
    task = build_task(config.task, **config.task_options)
    reward = load_reward(config.reward) if config.reward else task.reward
    progress.say(f"objective {objective.name}@{objective.hash[:12]}, task {task.name}, model {config.model}")
    if config.model in ("tiny", "smollm2"):
        progress.say(f"model {config.model} is made ready once and kept in {config.cache}")
    policy = build_policy(config.model, task, seed=config.seed, cache=config.cache)
    loss = maspo_dsl.compile(objective, backend=choose_backend(config, progress))
    data = RolloutData(policy, task, reward, objective, loss, config, progress.say)
    module = PolicyTrainer(
        policy.model,
        loss,
        objective.hash,
        config.trainer,
        temperature=config.rollout.temperature,
        live_entropy="entropy" in objective.inputs,
        scales_steps=objective.resolved.parts.step is not None,
        say=progress.say,
    )
    held_out = task.held_out(config.trainer.eval_prompts)
    recorder = Recorder(
        data,
        lambda: _open_folder(folder, config, objective, checkpoint),
        lambda: greedy_reward(policy, held_out, reward, config),
        progress,
    )
    trainer = _lightning(config, [recorder, Checkpoints(data, folder, interrupt)])
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)


def choose_backend(config: RunConfig, progress: Progress) -> Literal["inductor", "eager"]:
    """How the loss runs, said in a line.

    `auto` runs it eagerly for the tiny model: compiling takes 15 to 30 seconds, a good part of the whole
    run, in which computing the loss is a trifle.
    """
    compiled = config.compile == "on" or (config.compile == "auto" and config.model != "tiny")
    why = "" if config.compile != "auto" else f" (compile=auto, model {config.model})"
    progress.say(f"loss: {'torch.compile, inductor' if compiled else 'eager'}{why}")
    return "inductor" if compiled else "eager"


def _load(config: RunConfig, source: str | None) -> Objective:
    """The objective, with the run's constants bound."""
    if source is None:
        if config.resume is None:
            raise ConfigError(
                "an objective is missing: a shipped name such as maspo, or the path of an .obj file"
            )
        source = str(config.resume / "spec.obj")
    run = {"generation_limit": config.rollout.max_new_tokens, "group_size": config.rollout.samples}
    objective = maspo_dsl.load(source, params=config.params, run=run)
    _refuse_rules(objective, config.trainer.devices)
    missing = ", ".join(f"`{name}`" for name in sorted(objective.inputs - PROVIDED))
    if missing:
        raise ConfigError(
            f"objective `{objective.name}` reads {missing}, which training does not provide; "
            f"it provides {', '.join(sorted(PROVIDED))}"
        )
    return objective


def _refuse_rules(objective: Objective, devices: int) -> None:
    """Refuse what an objective says and training would not do."""
    parts = objective.resolved.parts
    wrong = []
    if parts.prompt is not None:
        wrong.append(("prompt", "training does not select prompts yet"))
    if parts.step is not None and devices > 1:
        wrong.append(("step", "training applies it with trainer.devices=1 only"))
    for slot, why in wrong:
        raise ConfigError(
            f"objective `{objective.name}` has a `{slot}` rule, and {why}; "
            f"`drop {slot}` in a spec that extends it trains without"
        )


def _run_folder(config: RunConfig, objective: Objective) -> Path:
    """Where the run is written; a new run's folder must be new or empty."""
    if config.resume is not None:
        return config.resume
    if config.run is None:
        numbers = range(1, 1_000_000)
        return next(p for p in (Path("runs") / f"{objective.name}-{n}" for n in numbers) if not p.exists())
    if config.run.exists() and not config.run.is_dir():
        raise ConfigError(f"run={config.run} is a file; name a folder")
    if config.run.is_dir() and any(config.run.iterdir()) and _is_first_process():
        raise ConfigError(
            f"run={config.run} is not empty; go on with it by `resume={config.run}`, or name another folder"
        )
    return config.run


def _checkpoint(config: RunConfig, objective: Objective) -> Path | None:
    """The checkpoint to go on from, made with this very objective."""
    if config.resume is None:
        return None
    checkpoint = last_checkpoint(config.resume)
    saved = saved_hash(checkpoint) if checkpoint else _recorded_hash(config.resume)
    if saved != objective.hash:
        raise ConfigError(
            f"resume={config.resume} was trained with an objective of hash {saved}, and this one, "
            f"`{objective.name}`, has {objective.hash}: a run keeps its objective. Start a new run, or leave "
            f"the objective as {config.resume / 'spec.obj'} has it"
        )
    return checkpoint


def _recorded_hash(folder: Path) -> str:
    """The objective's hash as the run folder's run.json has it."""
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"resume={folder}: run.json, which names the objective, cannot be read ({error})"
        ) from error


def _open_folder(folder: Path, config: RunConfig, objective: Objective, checkpoint: Path | None) -> Records:
    """Write what the run is, and open its metrics after the checkpoint's step."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config.model_copy(update={"run": folder, "resume": None}), folder / "config.yaml")
    if config.resume is None:
        (folder / "spec.obj").write_text(objective.text, encoding="utf-8")
        about = {"objective": objective.name, "hash": objective.hash, "torch": torch.__version__}
        about["maspo-dsl"] = _own_version()
        (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return Records(folder, step_of(checkpoint) if checkpoint else -1)


def _is_first_process() -> bool:
    """Whether this process writes; strategies that start others tell them their number in the environment."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def _own_version() -> str:
    try:
        return version("maspo-dsl")
    except PackageNotFoundError:
        return "unknown"


def _lightning(config: RunConfig, callbacks: list[Recorder | Checkpoints]) -> Trainer:
    """Lightning's trainer without its own logs, bars and checkpoints; an epoch of it is a step of ours."""
    try:
        return Trainer(
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            strategy=config.trainer.strategy,
            precision=config.trainer.precision,
            max_epochs=config.trainer.max_steps,
            callbacks=list(callbacks),
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
def _quiet_lightning() -> Iterator[None]:
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


def _ending(folder: Path, rows: tuple[Row, ...], finished: bool) -> str:
    """The last line: where the run is, what it came to, and how it goes on."""
    greedy = [row["eval/greedy"] for row in rows if row.get("eval/greedy") is not None]
    came = f", held-out greedy reward {greedy[0]:.3f} -> {greedy[-1]:.3f}" if len(greedy) > 1 else ""
    if finished:
        return f"done after step {rows[-1]['step']}{came}; see {folder}/curves.png and metrics.csv"
    return f"stopped after step {rows[-1]['step']}{came}; go on with `maspo-dsl train resume={folder}`"
