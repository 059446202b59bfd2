"""Loggers by name, those of Lightning, and trackio's, which logs like them; each is made when a run has its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .config import RunConfig
from .config_error import ConfigError
from .metrics import Row


class TrackioLogger:
    """The part of a logger of Lightning that a run uses, for trackio."""

    def __init__(self, folder: Path) -> None:
        """Begin a run of a project."""
        import trackio

        self._trackio = trackio
        trackio.init(project=os.environ.get("TRACKIO_PROJECT", "maspo-dsl"), name=folder.name)

    def log_hyperparams(self, settings: Mapping[str, Any]) -> None:
        """Trackio takes settings at the beginning alone; config.yaml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a row."""
        self._trackio.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """End the run."""
        self._trackio.finish()


def _tensorboard(folder: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(save_dir=folder, name="", version="tensorboard")


def _wandb(folder: Path) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    class Ending(WandbLogger):
        """One that ends its run with ours: else the next run of this process would go on with it."""

        def finalize(self, status: str) -> None:
            super().finalize(status)
            self.experiment.finish(exit_code=0 if status == "success" else 1)

    project = os.environ.get("WANDB_PROJECT", "maspo-dsl")
    return Ending(save_dir=folder, name=folder.name, project=project)


def _mlflow(folder: Path) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger

    place = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    return MLFlowLogger(experiment_name="maspo-dsl", run_name=folder.name, tracking_uri=place)


# Each with the package that it needs, which is the name of the extra too.
LOGGERS: Mapping[str, Callable[[Path], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": TrackioLogger,
}


class Loggers:
    """The loggers of a run: rows go to each."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        """Make them, for a folder that is there. Raises ConfigError for one that is not installed."""
        settings = config.model_dump(mode="json")
        self._loggers = []
        for name in logger_names(config):
            try:
                logger = LOGGERS[name](folder)
            except ImportError as error:
                raise ConfigError(missing(name)) from error
            logger.log_hyperparams(settings)
            self._loggers.append(logger)

    def add(self, row: Row) -> None:
        """Log a row."""
        step = int(row["step"] or 0)
        values = {name: float(value) for name, value in row.items() if value is not None and name != "step"}
        for logger in self._loggers:
            logger.log_metrics(values, step)

    def close(self, status: str) -> None:
        """Write what is left, and end."""
        for logger in self._loggers:
            logger.finalize(status)


def logger_names(config: RunConfig) -> list[str]:
    """The names of a run's loggers. Raises ConfigError for one that is not known or not installed."""
    from importlib.util import find_spec

    from maspo_dsl.language.diagnostics import did_you_mean

    names = [name.strip() for name in (config.logger or "").strip("[]").split(",") if name.strip()]
    for name in names:
        if name not in LOGGERS:
            raise ConfigError(f"`logger={name}`: there is no such logger; {did_you_mean(name, LOGGERS)}")
        if find_spec(name) is None:
            raise ConfigError(missing(name))
    return names


def missing(name: str) -> str:
    """What to install for a logger."""
    return f"`logger={name}` needs {name}: pip install 'maspo-dsl[{name}]'"
