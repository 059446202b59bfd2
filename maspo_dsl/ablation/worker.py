"""The process of one run: `python -m maspo_dsl.ablation.worker JOB.json`, on whatever machine.

It goes on where an earlier process of the same run stopped, and does nothing if that one finished. It ends when the
process that started it does.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maspo_dsl.ablation.jobs import RESULT, Job, read_job
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.writing import write_whole

FAILED = 1
INTERRUPTED = 130
_WATCH_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Run the job of a file; the exit code."""
    job = read_job(Path(arguments[0]))
    _end_with_parent()
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with _held(job.lock):
        if job.spec is None:
            return _prepare(job)
        if job.finished:
            return 0
        return _run_program(job) if job.command else _train(job)


def _prepare(job: Job) -> int:
    """Make what the runs of a seed share, in the cache."""
    from maspo_dsl.trainers.config import read_config
    from maspo_dsl.trainers.policies import build_policy
    from maspo_dsl.trainers.tasks import build_task

    config = read_config([*job.overrides, f"seed={job.seed}"])
    build_policy(
        config.model, build_task(config.task, **config.task_options), seed=config.seed, cache=config.cache
    )
    return 0


def _train(job: Job) -> int:
    """Train, from the last checkpoint if there is one, and write the result."""
    from maspo_dsl.trainers.checkpoint import last_checkpoint
    from maspo_dsl.trainers.config import read_config
    from maspo_dsl.trainers.config_error import ConfigError
    from maspo_dsl.trainers.run import train

    try:
        if last_checkpoint(job.folder) is not None:
            config, spec = read_config([f"resume={job.folder}"]), None
        else:
            shutil.rmtree(job.folder, ignore_errors=True)
            config, spec = read_config([*job.overrides, f"seed={job.seed}", f"run={job.folder}"]), job.spec
        with _counted(job):
            result = train(config, spec)
    except (ConfigError, SpecError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    if result.interrupted:
        return INTERRUPTED
    _write_result(job, job.steps)
    return 0


def _run_program(job: Job) -> int:
    """Run the job's command and write the result, if it left metrics; a folder that is there is the program's own."""
    from maspo_dsl.ablation.report.formats import read_steps

    job.folder.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: stopped.set())
    try:
        with _counted(job):
            code = subprocess.run(job.command, stdin=subprocess.DEVNULL, check=False).returncode
        if stopped.is_set() or code in (INTERRUPTED, -signal.SIGINT):
            return INTERRUPTED
        if code:
            print(f"error: {job.command[0]} ended with {code}", file=sys.stderr)
            return FAILED
        steps = max(read_steps(job.folder))
    except OSError as error:
        print(f"error: {job.command[0]} cannot be run: {error.strerror}", file=sys.stderr)
        return FAILED
    except ValueError as error:
        print(f"error: {job.folder} has no metrics that can be read: {error}", file=sys.stderr)
        return FAILED
    _write_result(job, steps)
    return 0


@contextmanager
def _counted(job: Job) -> Iterator[None]:
    """Write down what is spent on a run, however it ends."""
    started, wall = _cpu_seconds(), time.perf_counter()
    try:
        yield
    finally:
        spent = {"cpu_seconds": _cpu_seconds() - started, "wall_seconds": time.perf_counter() - wall}
        with _attempts(job).open("a", encoding="utf-8") as file:
            file.write(json.dumps(spent) + "\n")


def _attempts(job: Job) -> Path:
    return job.folder.with_name(f"{job.folder.name}.attempts")


def _write_result(job: Job, steps: int) -> None:
    records = [json.loads(line) for line in _attempts(job).read_text(encoding="utf-8").splitlines()]
    totals = {name: sum(record[name] for record in records) for name in ("cpu_seconds", "wall_seconds")}
    document = {"key": job.key, "point": job.name, "seed": job.seed, "steps": steps, **totals}
    write_whole(job.folder / RESULT, json.dumps(document, indent=2) + "\n")


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold the lock of a run; a second process of the same run waits here, then finds it finished."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with_parent() -> None:
    """End, with all that this process started, when the one that started it is gone: nobody trains unseen."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
