"""What training would not accept of a grid's runs, found before anything of it is written or started."""

from __future__ import annotations

from pathlib import Path

from maspo_dsl.trainers.config import RunConfig


def check_settings(config: RunConfig) -> None:
    """Build the task and find the reward function as a run does. Raises ConfigError: one of them cannot be."""
    from maspo_dsl.trainers.config_error import ConfigError
    from maspo_dsl.trainers.rewards import load_reward
    from maspo_dsl.trainers.tasks import build_task

    if config.engine != "own":
        raise ConfigError(f"engine={config.engine}: the runs of a grid are made by the package's own trainer")
    build_task(config.task, **config.task_options)
    if config.reward:
        load_reward(config.reward)


def check_point(config: RunConfig, spec: Path) -> None:
    """Load a point's file as a run does. Raises ConfigError and SpecError: training does not take the objective."""
    from maspo_dsl.trainers.run import trainable_objective

    trainable_objective(config, str(spec))
