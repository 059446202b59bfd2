"""The runs of a grid: a point and a seed each, known by what decides their result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

import maspo_dsl
from maspo_dsl.ablation.folder import GridFolder
from maspo_dsl.ablation.program import Program
from maspo_dsl.language.writing import write_whole
from maspo_dsl.trainers.config import RunConfig, read_config

State: TypeAlias = Literal["waiting", "running", "finished", "failed", "interrupted"]

# Where a run lies, how much it shows and how long it is kept do not change what it comes to.
_OUTSIDE_THE_RESULT = {"run", "resume", "seed", "cache"}
RUNS = "runs"
RESULT = "result.json"


@dataclass(frozen=True)
class Job:
    """One run of a grid: `folder` holds it, `key` is the hash of objective, configuration and seed.

    `overrides` are those of the run's configuration, without folder and seed. A job whose `spec` is None only makes
    ready what the runs of its seed share. One with a `command` runs that, in place of `maspo-dsl train`.
    """

    name: str
    spec: str | None
    seed: int
    overrides: tuple[str, ...]
    folder: Path
    key: str
    steps: int
    command: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """Where the process of the run writes its lines."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def file(self) -> Path:
        """The job itself, for the process that runs it."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def lock(self) -> Path:
        """Held by the process that makes the run."""
        return self.folder.with_name(f"{self.folder.name}.lock")

    def write(self) -> None:
        """Write the job's file."""
        document = {**asdict(self), "folder": str(self.folder)}
        write_whole(self.file, json.dumps(document, indent=2) + "\n")

    @property
    def finished(self) -> bool:
        """Whether its result is there, made by this very job."""
        return result_of(self.folder).get("key") == self.key

    @property
    def steps_done(self) -> int:
        """Steps whose metrics are written."""
        try:
            lines = (self.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0
        return max(0, len(lines) - 2)


def read_job(file: Path) -> Job:
    """The job of a file that `write` made."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    folder, overrides = Path(document.pop("folder")), tuple(document.pop("overrides"))
    return Job(folder=folder, overrides=overrides, command=tuple(document.pop("command")), **document)


def jobs_of(grid: GridFolder, overrides: Sequence[str]) -> list[Job]:
    """Every run of a grid under a configuration, seeds in the outer order.

    Raises ConfigError: the configuration cannot be. Raises SpecError: a point does not check under it.
    """
    config = read_config(list(overrides))
    hashes = {point["name"]: _run_hash(grid.path / point["file"], config) for point in grid.points}
    return [
        _job(grid, point, seed, tuple(overrides), config, hashes[point["name"]])
        for seed in range(int(grid.manifest["seeds"]))
        for point in grid.points
    ]


def program_jobs_of(grid: GridFolder, program: Program) -> list[Job]:
    """Every run of a grid that a program makes, seeds in the outer order; its key is of the command as it was typed."""
    found = []
    for seed in range(int(grid.manifest["seeds"])):
        for point in grid.points:
            key = _key(point["hash"], {"command": program.words}, seed)
            folder, spec = _places(grid, point, seed, key)
            values = {"file": spec, "name": point["name"], "seed": str(seed), "run": str(folder)}
            found.append(Job(point["name"], spec, seed, (), folder, key, 0, program.command(values)))
    return found


def preparations(jobs: Sequence[Job]) -> list[Job]:
    """A job for each seed that makes its warm start, once for all its runs."""
    first = {job.seed: job for job in reversed(jobs)}
    found = []
    for seed, job in sorted(first.items()):
        folder = job.folder.with_name(f"prepare-s{seed}")
        found.append(Job(f"prepare-s{seed}", None, seed, job.overrides, folder, "", 0))
    return found


def _job(
    grid: GridFolder,
    point: Mapping[str, Any],
    seed: int,
    overrides: tuple[str, ...],
    config: RunConfig,
    objective_hash: str,
) -> Job:
    settings = config.model_dump(mode="json", exclude=_OUTSIDE_THE_RESULT)
    key = _key(objective_hash, settings, seed)
    folder, spec = _places(grid, point, seed, key)
    return Job(point["name"], spec, seed, overrides, folder, key, config.trainer.max_steps)


def _key(objective_hash: str, settings: Mapping[str, Any], seed: int) -> str:
    decided = json.dumps([objective_hash, settings, seed], sort_keys=True)
    return hashlib.sha256(decided.encode()).hexdigest()[:16]


def _places(grid: GridFolder, point: Mapping[str, Any], seed: int, key: str) -> tuple[Path, str]:
    """The folder of a run, and the file of its point."""
    folder = grid.path / RUNS / f"{point['name']}-s{seed}-{key[:8]}"
    return folder.resolve(), str((grid.path / point["file"]).resolve())


def _run_hash(spec: Path, config: RunConfig) -> str:
    return maspo_dsl.load(spec, run=config.constants).hash


def result_of(folder: Path) -> dict[str, Any]:
    """What a finished run came to; empty before, and where a result says something else than a run's does."""
    try:
        return _Result.model_validate_json((folder / RESULT).read_bytes()).model_dump()
    except (OSError, ValidationError):
        return {}


class _Result(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    key: str
    point: str
    seed: int
    steps: int
    cpu_seconds: float
    wall_seconds: float
