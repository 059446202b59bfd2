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
        return 0 if job.finished else _train(job)


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

    attempts = job.folder.with_name(f"{job.folder.name}.attempts")
    started, wall = _cpu_seconds(), time.perf_counter()
    try:
        if last_checkpoint(job.folder) is not None:
            config, spec = read_config([f"resume={job.folder}"]), None
        else:
            shutil.rmtree(job.folder, ignore_errors=True)
            config, spec = read_config([*job.overrides, f"seed={job.seed}", f"run={job.folder}"]), job.spec
        result = train(config, spec)
    except (ConfigError, SpecError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    finally:
        spent = {"cpu_seconds": _cpu_seconds() - started, "wall_seconds": time.perf_counter() - wall}
        with attempts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(spent) + "\n")
    if result.interrupted:
        return INTERRUPTED
    _write_result(job, attempts)
    return 0


def _write_result(job: Job, attempts: Path) -> None:
    records = [json.loads(line) for line in attempts.read_text(encoding="utf-8").splitlines()]
    totals = {name: sum(record[name] for record in records) for name in ("cpu_seconds", "wall_seconds")}
    document = {"key": job.key, "point": job.name, "seed": job.seed, "steps": job.steps, **totals}
    write_whole(job.folder / RESULT, json.dumps(document, indent=2) + "\n")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold the lock of a run; a second process of the same run waits here, then finds it finished."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with_parent() -> None:
    """End when the process that started this one is gone, so that nobody trains unseen."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
