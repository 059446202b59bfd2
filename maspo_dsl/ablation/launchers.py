"""Where runs happen: processes here, an existing Ray cluster, or Slurm. All start the same worker on the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.jobs import Job

# Called when a job has started (None) or ended (its exit code), and now and then with no job at all.
Watch: TypeAlias = Callable[[Job | None, int | None], None]
_POLL_SECONDS = 0.2


class Launcher(Protocol):
    """Runs jobs to their end, whatever becomes of single ones."""

    def launch(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run every job. Ctrl-C stops those that run, which can go on later."""


def worker_command(job: Job) -> list[str]:
    """The command of a job's process; what lies in the present folder shadows no module of it."""
    return [sys.executable, "-P", "-m", "maspo_dsl.ablation.worker", str(job.file)]


def run_worker(file: str) -> int:
    """Run the job of a file in a process of its own, its lines going to the job's log; the exit code."""
    from maspo_dsl.ablation.jobs import read_job

    job = read_job(Path(file))
    with job.log.open("a", encoding="utf-8") as log:
        return subprocess.run(
            worker_command(job),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        ).returncode


@dataclass(frozen=True)
class LocalProcesses:
    """At most `workers` processes at a time on this machine."""

    workers: int

    def launch(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run every job, in order."""
        waiting, running = list(jobs), dict[Job, subprocess.Popen[bytes]]()
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    job = waiting.pop(0)
                    running[job] = _start(job)
                    watch(job, None)
                for job, process in [*running.items()]:
                    if (code := process.poll()) is not None:
                        del running[job]
                        watch(job, code)
                watch(None, None)
                time.sleep(_POLL_SECONDS)
        finally:
            _stop(running, watch)


def _start(job: Job) -> subprocess.Popen[bytes]:
    with job.log.open("ab") as log:
        return subprocess.Popen(
            worker_command(job),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _stop(running: Mapping[Job, subprocess.Popen[bytes]], watch: Watch) -> None:
    """Let each process finish its step and save; a second Ctrl-C ends them, and what they started, at once."""
    for process in running.values():
        _signal(process, signal.SIGINT)
    try:
        for job, process in running.items():
            watch(job, process.wait())
    except KeyboardInterrupt:
        for process in running.values():
            _signal(process, signal.SIGKILL)
        raise


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@dataclass(frozen=True)
class RayCluster:
    """Tasks of a Ray cluster that is already there and shares the grid's folder."""

    address: str = "auto"

    def launch(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run every job; Ray decides how many at a time, one CPU each."""
        ray = _import("ray")
        try:
            ray.init(address=self.address, log_to_driver=False)
        except ConnectionError as error:
            raise GridError(f"launcher=ray: there is no cluster at {self.address} ({error})") from None
        try:
            task = ray.remote(num_cpus=1, max_retries=0)(run_worker)
            pending = {task.remote(str(job.file)): job for job in jobs}
            for job in jobs:
                watch(job, None)
            while pending:
                done, _ = ray.wait([*pending], timeout=_POLL_SECONDS)
                for reference in done:
                    watch(pending.pop(reference), _ray_code(ray, reference))
                watch(None, None)
        finally:
            ray.shutdown()


def _ray_code(ray: Any, reference: Any) -> int:
    """The exit code of a task; one that the cluster lost has failed."""
    try:
        return int(ray.get(reference))
    except ray.exceptions.RayError:
        return 1


@dataclass(frozen=True)
class SlurmJobs:
    """Jobs of a Slurm cluster, through submitit; `cluster="local"` runs them here, to try it."""

    folder: Path
    options: Mapping[str, object] = field(default_factory=dict)
    cluster: str = "slurm"

    def launch(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Submit every job and wait for the last; Ctrl-C cancels those that are left."""
        submitit = _import("submitit")
        try:
            executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        except RuntimeError as error:
            raise GridError(f"launcher=slurm: there is no Slurm here ({error})") from None
        executor.update_parameters(**{"name": "maspo-dsl", "cpus_per_task": 1, **self.options})
        submitted = {job: executor.submit(run_worker, str(job.file)) for job in jobs}
        for job in jobs:
            watch(job, None)
        try:
            for job in _as_done(submitted, watch):
                watch(job, _slurm_code(submitted.pop(job)))
        finally:
            for task in submitted.values():
                task.cancel()


def _as_done(submitted: dict[Job, Any], watch: Watch) -> Iterator[Job]:
    while submitted:
        yield from [job for job, task in submitted.items() if task.done()]
        watch(None, None)
        time.sleep(_POLL_SECONDS)


def _slurm_code(task: Any) -> int:
    """The exit code of a job; one that ended without a result has failed."""
    return 1 if task.exception() is not None else int(task.result())


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        extra = {"submitit": "slurm"}.get(name, name)
        raise GridError(f"launcher={extra} needs {name}: pip install 'maspo-dsl[{extra}]'") from None
