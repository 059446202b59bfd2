"""Settings of a grid's runs as they are typed: keys of `maspo-dsl train`, and where the runs happen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from maspo_dsl.cli.output import InputError
from maspo_dsl.language.diagnostics import did_you_mean

if TYPE_CHECKING:
    from maspo_dsl.ablation.launchers import Launcher
    from maspo_dsl.trainers.config import RunConfig

_LAUNCHERS = ("local", "ray", "slurm")
_RAY_OPTIONS = ("ray.address",)
_CLUSTERS = ("slurm", "local")
# Parameters of submitit itself, and those that it hands to Slurm under these names.
SUBMITIT_OPTIONS = (
    "cpus_per_task",
    "gpus_per_node",
    "mem_gb",
    "name",
    "nodes",
    "tasks_per_node",
    "timeout_min",
)
SLURM_OPTIONS = (
    *("account", "array_parallelism", "comment", "constraint", "cpus_per_gpu", "dependency", "exclude"),
    *("gpus_per_task", "gres", "mail_type", "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist"),
    *("num_gpus", "partition", "qos", "signal_delay_s", "time", "wckey"),
)


@dataclass(frozen=True)
class RunSettings:
    """What was said about the runs: their configuration, its overrides as typed, and the launcher's options.

    `options` has only keys that mean something to the launcher.
    """

    config: RunConfig
    overrides: tuple[str, ...]
    launcher: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)

    def make_launcher(self, folder: Path, workers: int | None) -> Launcher:
        """The launcher for the runs of a grid's folder; `workers` is for this machine, all cores if None."""
        from maspo_dsl.ablation.launchers import LocalProcesses, RayCluster, SlurmJobs

        match self.launcher:
            case "ray":
                return RayCluster(self.options.get("ray.address", "auto"))
            case "slurm":
                given = {key.removeprefix("slurm."): value for key, value in self.options.items()}
                cluster = given.pop("cluster", "slurm")
                named = {_slurm_name(name): _number(text) for name, text in given.items()}
                return SlurmJobs(folder / "runs" / "slurm", named, cluster)
            case _:
                return LocalProcesses(workers or os.cpu_count() or 1)


def read_settings(settings: Sequence[str]) -> RunSettings:
    """Settings from `KEY=VALUE` texts. Raises ConfigError and InputError."""
    from maspo_dsl.trainers.config import read_config

    launcher, options, overrides = "local", {}, []
    for text in settings:
        key, equals, value = text.partition("=")
        if key in ("run", "resume"):
            raise InputError(f"`{text}`: the grid knows the folders of its runs; -o names the grid's own")
        if key == "seed":
            raise InputError(f"`{text}`: the seeds of a grid are set by --seeds; `--seeds 3` is 0, 1 and 2")
        if equals and key == "launcher":
            launcher = value
        elif equals and key.startswith(("ray.", "slurm.")):
            options[key] = value
        else:
            overrides.append(text)
    if launcher not in _LAUNCHERS:
        raise InputError(f"`launcher={launcher}`: no such launcher; {did_you_mean(launcher, _LAUNCHERS)}")
    _check_options(launcher, options)
    return RunSettings(read_config(overrides), tuple(overrides), launcher, options)


def _check_options(launcher: str, options: Mapping[str, str]) -> None:
    """Raise for an option that the launcher does not have, or a value that it cannot have."""
    known = {
        "ray": _RAY_OPTIONS,
        "slurm": tuple(f"slurm.{name}" for name in ("cluster", *SUBMITIT_OPTIONS, *SLURM_OPTIONS)),
    }
    for key, value in options.items():
        if not key.startswith(f"{launcher}."):
            raise InputError(f"`{key}` means nothing with launcher={launcher}")
        if key not in known[launcher]:
            raise InputError(f"there is no `{key}`; {did_you_mean(key, known[launcher])}")
        if key == "slurm.cluster" and value not in _CLUSTERS:
            raise InputError(f"`{key}={value}`: no such cluster; {did_you_mean(value, _CLUSTERS)}")
        if key.removeprefix("slurm.") in {*SUBMITIT_OPTIONS} - {"name"} and not isinstance(
            _number(value), int
        ):
            raise InputError(f"`{key}={value}`: a whole number was expected")


def _slurm_name(name: str) -> str:
    return name if name in SUBMITIT_OPTIONS else f"slurm_{name}"


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
