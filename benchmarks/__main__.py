"""All benchmarks by one command: python -m benchmarks [names] [--turns N] [--largest P] [--write].

`--write` puts the tables into docs/benchmarks.md, with the machine and the versions, and draws their pictures. The rows
of Liger and TRL need `liger-kernel` and `trl`.
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

from benchmarks import compiling, from_log_probs, growth, head, training
from benchmarks.table import Row, markdown

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- {} -->\n", "<!-- end of {} -->\n"
PARTS: dict[str, Callable[[int], list[Row]]] = {
    "head": lambda turns: head.rows(turns=turns),
    "from_log_probs": lambda turns: from_log_probs.rows(turns=3 * turns),
    "compiling": lambda turns: compiling.rows(),
    "training": lambda turns: training.rows(),
}


def machine() -> str:
    """Where and with what the numbers were measured."""
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    found = {name: _version(name) for name in ("torch", "transformers", "liger-kernel", "trl")}
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


def write(name: str, text: str) -> None:
    """Put a text between its marks on the page."""
    begin, end = BEGIN.format(name), END.format(name)
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(begin)
    PAGE.write_text(before + begin + "\n" + text + "\n" + end + rest.split(end)[1], encoding="utf-8")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks, as a table of ratios."
    )
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(PARTS)}, growth; all without one")
    parser.add_argument("--turns", type=int, default=5, help="turns of each candidate")
    parser.add_argument("--largest", type=int, default=12, help="tokens grow up to 2^P, words to 2^(P+3)")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    options = parser.parse_args()
    known = [*PARTS, "growth"]
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.write and options.names:
        parser.error("--write takes no names: the page has them all")
    names = options.names or known
    found = [row for name in names if name in PARTS for row in PARTS[name](options.turns)]
    texts = {}
    if found:
        texts["table"] = (
            f"{markdown(found)}\n\nMeasured {machine()}, medians of {options.turns} or more turns.\n"
        )
    if "growth" in names:
        texts["growth"] = growth.report(options.largest, turns=min(3, options.turns))
    for name, text in texts.items():
        print(text)
        if options.write:
            write(name, text)


if __name__ == "__main__":
    main()
