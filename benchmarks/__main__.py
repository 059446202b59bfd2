"""All benchmarks by one command: python -m benchmarks [names] [--turns N] [--largest P] [--write].

`--write` puts the tables into docs/benchmarks.md, with the machine and the versions, and draws their pictures. The rows
of Liger, of cut-cross-entropy and of TRL need `liger-kernel`, `cut-cross-entropy` (both with `triton`) and `trl`.
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

from benchmarks import compiling, from_log_probs, growth, head, limits, objectives, profiling, training
from benchmarks.table import Row, markdown

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- {} -->\n", "<!-- end of {} -->\n"
PARTS: dict[str, Callable[[int], list[Row]]] = {
    "head": lambda turns: head.rows(turns=turns),
    "from_log_probs": lambda turns: from_log_probs.rows(turns=3 * turns),
    "compiling": lambda turns: compiling.rows(),
    "training": lambda turns: training.rows(),
}
TEXTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "limits": lambda wish: limits.report(turns=3 * wish.turns),
    "growth": lambda wish: growth.report(wish.largest, turns=min(3, wish.turns), draws=wish.write),
    "objectives": lambda wish: objectives.report(turns=wish.turns, draws=wish.write),
    "profile": lambda wish: profiling.report(),
}


def machine() -> str:
    """Where and with what the numbers were measured."""
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    found = {
        name: _version(name) for name in ("torch", "transformers", "liger-kernel", "cut-cross-entropy", "trl")
    }
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
    options = _options()
    names = options.names or [*PARTS, *TEXTS]
    found = [row for name in names if name in PARTS for row in PARTS[name](options.turns)]
    texts = {}
    if found:
        measured = f"Measured {machine()}, the quickest of {options.turns} or more turns."
        texts["table"] = f"{markdown(found)}\n\n{measured}\n"
    texts |= {name: TEXTS[name](options) for name in names if name in TEXTS}
    for name, text in texts.items():
        print(text)
        if options.write:
            write(name, text)


def _options() -> argparse.Namespace:
    known = [*PARTS, *TEXTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks, as tables of ratios and pictures."
    )
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(known)}; all without one")
    parser.add_argument("--turns", type=int, default=5, help="turns of each candidate")
    parser.add_argument(
        "--largest", type=int, default=15, help="tokens grow up to 2^P, the vocabulary to 2^(P+3)"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.write and options.names:
        parser.error("--write takes no names: the page has them all")
    if options.largest <= growth.SMALLEST:
        parser.error(f"--largest {options.largest}: a law needs two sizes, so at least {growth.SMALLEST + 1}")
    return options


if __name__ == "__main__":
    main()
