"""All benchmarks by one command: python -m benchmarks [names] [--turns N] [--write].

`--write` puts the table into docs/benchmarks.md, with the machine and the versions. Liger's row needs `liger-kernel`.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks import compiling, from_log_probs, head
from benchmarks.table import Row, markdown

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
PARTS: dict[str, Callable[[int], list[Row]]] = {
    "head": lambda turns: head.rows(turns=turns),
    "from_log_probs": lambda turns: from_log_probs.rows(turns=3 * turns),
    "compiling": lambda turns: compiling.rows(),
}


def machine() -> str:
    """Where and with what the numbers were measured."""
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    found = {name: _version(name) for name in ("torch", "transformers", "liger-kernel")}
    packages = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    cores = (
        f"{torch.get_num_threads()} threads on {os.cpu_count()} cores of {models[0] if models else 'a CPU'}"
    )
    return f"{date.today()}, {cores}, Python {platform.python_version()}, {packages}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(text: str) -> None:
    """Put a table between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1], encoding="utf-8")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks, as a table of ratios."
    )
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(PARTS)}; all without one")
    parser.add_argument("--turns", type=int, default=5, help="turns of each candidate")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(PARTS)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.write and options.names:
        parser.error("--write takes the whole table")
    found = [row for name in options.names or PARTS for row in PARTS[name](options.turns)]
    text = f"{markdown(found)}\n\nMeasured {machine()}, medians of {options.turns} or more turns.\n"
    print(text)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
