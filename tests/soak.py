"""`python -m tests.soak --minutes 120`: one long run, whose memory, open files and compilations have to stay flat.

The embedded model trains with the loss compiled. A run that is stopped by SIGTERM at half time and resumed is a
process anew, so each process is measured alone: after its first tenth nothing may grow.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from .full import ROOT, commit

PAGE = ROOT / "docs" / "reliability.md"
TABLE = re.compile(r"(<!-- soak -->\n).*?(?=<!-- end of soak -->)", re.DOTALL)
HEAD = (
    "| process | minutes | steps | memory after a tenth, MiB | memory at the end, MiB | open files | threads | "
    "recompilations | date | commit |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |"
)
COMMAND = (str(Path(sys.executable).with_name("maspo-dsl")), "train")
SETTINGS = ("compile=on", "trainer.max_steps=1000000", "trainer.eval_every=20", "trainer.checkpoint_every=20")
GROWTH = 1.05
"""Largest ratio of the memory at the end to that after a tenth."""


@dataclass(frozen=True)
class Sample:
    """What is known of a process: resident memory in MiB, open files, threads, recompilations so far."""

    memory: float
    files: int
    threads: int
    recompilations: int


def sample(process: int, log: Path) -> Sample:
    status = Path(f"/proc/{process}/status").read_text()
    numbers = {
        key: int(re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[1]) for key in ("VmRSS", "Threads")
    }
    files = len(list(Path(f"/proc/{process}/fd").iterdir()))
    return Sample(
        numbers["VmRSS"] / 1024, files, numbers["Threads"], log.read_text().count("Recompiling function")
    )


def watch(arguments: tuple[str, ...], minutes: float, every: float, log: Path) -> list[Sample]:
    """The samples of a run that is stopped by SIGTERM after so many minutes; what it wrote to stderr is in `log`.

    Raises:
        SystemExit: The run ended by itself, or with a traceback.
    """
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "TORCH_LOGS": "recompiles"},
        )
        samples = []
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end and process.poll() is None:
            time.sleep(every)
            if process.poll() is None:
                samples.append(sample(process.pid, log))
        early = process.poll() is not None
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=300)
    if early or "Traceback" in log.read_text():
        raise SystemExit(f"the run ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return samples


def steps(run: Path) -> int:
    """The last step in the metrics of a run."""
    return int(re.findall(r'"step": (\d+)', (run / "metrics.jsonl").read_text())[-1])


def row(name: str, at: str, minutes: float, count: int, samples: list[Sample]) -> tuple[str, bool]:
    """A row of the page, and whether nothing grew."""
    settled = samples[len(samples) // 10 :]
    first, last = settled[0], settled[-1]
    again = last.recompilations - first.recompilations
    flat = (
        last.memory <= GROWTH * first.memory
        and last.files <= first.files
        and last.threads <= first.threads
        and not again
    )
    cells = (
        *(name, f"{minutes:.0f}", count, f"{first.memory:.0f}", f"{last.memory:.0f}"),
        *(f"{first.files} → {last.files}", f"{first.threads} → {last.threads}", again),
        *(date.today().isoformat(), at),
    )
    return f"| {' | '.join(map(str, cells))} |", flat


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=10, help="seconds between samples")
    given = parser.parse_args()
    half, at = given.minutes / 2, commit()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        rows = []
        before = 0
        for name, arguments in (
            ("from the start", ("maspo", f"run={run}", *SETTINGS)),
            ("resumed", (f"resume={run}",)),
        ):
            samples = watch(arguments, half, given.every, Path(folder) / "log")
            rows.append(row(name, at, half, steps(run) - before, samples))
            before = steps(run)
            print(rows[-1][0], flush=True)
    table = "\n".join([HEAD, *(line for line, _ in rows)])
    PAGE.write_text(TABLE.sub(lambda found: f"{found[1]}\n{table}\n", PAGE.read_text()))
    return int(not all(flat for _, flat in rows))


if __name__ == "__main__":
    sys.exit(main())
