"""`python -m tests.full`: what is too heavy for every submission; docs/full.md keeps the last result of each step.

Without names all steps run, one after the other; a step that fails does not stop those after it. A row of the page
is written when its step has ended, and only then.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "full.md"
TABLE = re.compile(r"(<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
HEAD = "| step | guards | result | minutes | date | commit |\n| --- | --- | --- | ---: | --- | --- |"
NOT_RUN = ("not run", "", "", "")
PYTHON = sys.executable


@dataclass(frozen=True)
class Step:
    """A command, for no longer than so many minutes, and what would go unnoticed without it."""

    name: str
    minutes: int
    command: tuple[str, ...]
    guards: str


def on_torch(requirement: str) -> tuple[str, ...]:
    """The tests of what is emitted and compiled, with another torch, in an environment that is thrown away."""
    tests = "tests/verify tests/runtime tests/emit tests/graph"
    script = (
        f'set -e; "$PYTHON" -m venv "$FOLDER/venv"; "$FOLDER/venv/bin/python" -m pip install -q -e ".[dev]" '
        f"'{requirement}'; \"$FOLDER/venv/bin/python\" -m pytest -q -n auto -m 'not slow' {tests}"
    )
    return ("bash", "-c", script)


def with_extra(extra: str, tests: str, *, constraints: str = "-c constraints.txt") -> tuple[str, ...]:
    """All tests of some files, slow ones too, with an extra of the package in an environment that is thrown away."""
    script = (
        f'set -e; "$PYTHON" -m venv "$FOLDER/venv"; "$FOLDER/venv/bin/python" -m pip install -q {constraints} '
        f'-e ".[dev,{extra}]"; "$FOLDER/venv/bin/python" -m pytest -q {tests}'
    )
    return ("bash", "-c", script)


PEERS = (
    'set -e; "$PYTHON" -m venv --system-site-packages "$FOLDER/venv"; "$FOLDER/venv/bin/python" -m pip install -q '
    "--no-deps -e . trl==1.16.0 verl==0.9.1 openrlhf==0.11.2 liger_kernel==0.8.5 tinker==0.38.0; "
    '"$FOLDER/venv/bin/python" -m pytest -q tests/test_peers.py tests/hosts/test_others.py'
)
"""Their text alone, and nothing that they need."""

STEPS = (
    Step(
        "slow",
        60,
        (PYTHON, "-m", "pytest", "-q", "-m", "slow"),
        "training, compiled code, documents, benchmarks",
    ),
    Step(
        "verify",
        40,
        (str(Path(PYTHON).with_name("maspo-dsl")), "verify", "--all"),
        "every shipped objective, fused by inductor",
    ),
    Step(
        "ranks",
        30,
        (PYTHON, "-m", "tests.ranks"),
        "the weights after a step of every objective, however it is cut, packed and shared",
    ),
    Step(
        "proof",
        120,
        (PYTHON, "-m", "tests.proof"),
        "every mistake in every objective, the library, the template",
    ),
    Step(
        "fuzz", 15, (PYTHON, "-m", "tests.fuzz"), "ten minutes of made-up specs: no text breaks the compiler"
    ),
    Step(
        "trl",
        60,
        with_extra("trl", "tests/hosts/test_trl.py tests/test_loops.py"),
        "5 optimizer steps beside TRL's own, of each of its losses",
    ),
    Step(
        "verl",
        60,
        with_extra("verl", "tests/hosts/test_verl.py", constraints="torch==2.13.0"),
        "losses, estimators and settings of verl",
    ),
    Step(
        "peers",
        10,
        ("bash", "-c", PEERS),
        "options and signatures of other trainers are what `differs` and adapters say",
    ),
    Step(
        "site",
        20,
        ("make", "site", "site-test", f"VENV={Path(PYTHON).parents[1]}"),
        "the playground in Chromium and under node, every link of the site",
    ),
    Step(
        "soak",
        140,
        (PYTHON, "-m", "tests.soak"),
        "memory, open files and compilations of two hours of training",
    ),
    Step("oldest torch", 60, on_torch("torch==2.9.*"), "the oldest torch that pyproject.toml allows"),
    Step("newest torch", 60, on_torch("torch"), "the newest torch that there is"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.full", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(step.name for step in STEPS))
    names = parser.parse_args().steps
    if unknown := set(names) - {step.name for step in STEPS}:
        parser.error(f"no step {', '.join(sorted(unknown))}")
    results = [run(step) for step in STEPS if not names or step.name in names]
    print("\n".join(results))
    return int(any(not result.endswith("passed") for result in results))


def run(step: Step) -> str:
    """Run a step and write its row; the name with the result."""
    print(f"=== {step.name} (up to {step.minutes} min)", flush=True)
    start, at = time.monotonic(), commit()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHON": PYTHON, "FOLDER": folder}
        try:
            code = subprocess.run(
                step.command, cwd=ROOT, env=environment, timeout=60 * step.minutes, check=False
            ).returncode
            result = "failed" if code else "passed"
        except subprocess.TimeoutExpired:
            result = "too slow"
    minutes = f"{(time.monotonic() - start) / 60:.1f}"
    PAGE.write_text(written(PAGE.read_text(), {step.name: (result, minutes, date.today().isoformat(), at)}))
    return f"{step.name}: {result}"


def commit() -> str:
    """The commit of the tree, with a plus if it has changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def written(page: str, new: dict[str, tuple[str, str, str, str]]) -> str:
    """The page with the table of all steps: new results, and those that stand there."""
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", page, re.MULTILINE)
    known = {name: tuple(cell.strip() for cell in cells.split("|")[1:]) for name, cells in rows}
    results = {step.name: new.get(step.name, known.get(step.name, NOT_RUN)) for step in STEPS}
    lines = [f"| `{step.name}` | {step.guards} | {' | '.join(results[step.name])} |" for step in STEPS]
    table = "\n".join([HEAD, *lines])
    return TABLE.sub(lambda found: f"{found[1]}\n{table}\n", page)


if __name__ == "__main__":
    sys.exit(main())
