"""`maspo-dsl verify`: what must be true of every objective, tested for one, or for all that ship."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maspo_dsl.cli.output import FAILED, InputError, counted, invalid_input_exits, print_json, print_line
from maspo_dsl.cli.overrides import load_with

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective
    from maspo_dsl.verification.report import Line, Report, Verdict

_STYLES = {"pass": "green", "fail": "bold red", "declared": "yellow", "skipped": "dim"}
# Columns of a table that no terminal bounds.
_WIDTH = 110


class BackendName(StrEnum):
    """What the loss is compiled with."""

    inductor = "inductor"
    eager = "eager"


def verify(
    specs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC]... [KEY=VALUE]...",
            help="Shipped names (NAME@VARIANT too), or paths of .obj files; values, such as params.alpha=0.5, for one.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every objective that ships, several at a time.")
    ] = False,
    backend: Annotated[
        BackendName, typer.Option(help="eager: compile nothing, and skip the lines about compiled code.")
    ] = BackendName.inductor,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS", help="Hold it to another loss instead: python:module.function, trl:…, a spec."
        ),
    ] = None,
) -> None:
    """Hold objectives to what must be true of every one.

    Value and gradient in every form, invariances, extreme inputs. A line is printed when it is known. Exits with 1 if a
    line fails.
    """
    if against is not None:
        if everything or as_json or backend is not BackendName.inductor:
            with invalid_input_exits(as_json=as_json):
                raise InputError("--against compares one SPEC with one loss, and takes no other option")
        _hold_against(specs or [], against)
        return
    with invalid_input_exits(as_json=as_json):
        objectives = _objectives(specs or [], everything)
        page = _Page(quiet=as_json)
        if objectives:
            reports = [_verified(objective, backend, page) for objective in objectives]
        else:
            reports = _verified_all(backend, page)
    if as_json:
        print_json(_document(reports[0]) if len(objectives) == 1 else _documents(reports))
    elif len(objectives) != 1:
        _summarise(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(FAILED)


def _hold_against(arguments: Sequence[str], against: str) -> None:
    """Compare a spec with another loss; exits with 1 where they differ."""
    from maspo_dsl.cli.comparing import comparable
    from maspo_dsl.comparison.compare import compare
    from maspo_dsl.comparison.named import side_of
    from maspo_dsl.comparison.report import comparison_lines

    with comparable():
        objective, *others = _objectives(arguments, everything=False)
        if others:
            raise InputError(f"--against compares one SPEC with one loss; there are {1 + len(others)}")
        found = compare(side_of(against), side_of(objective))
    for line in comparison_lines(found):
        print_line(line)
    if not found.same:
        raise typer.Exit(FAILED)


def _objectives(arguments: Sequence[str], everything: bool) -> list[Objective]:
    """The objectives that are meant, none for all that ship. Raises InputError and SpecError."""
    overrides = [each for each in arguments if "=" in each and not Path(each).exists()]
    specs = [each for each in arguments if each not in overrides]
    if everything and arguments:
        raise InputError(
            f"--all takes every objective as it ships, so there is no place for `{arguments[0]}`"
        )
    if not specs and not everything:
        raise InputError("name a SPEC, or take every objective that ships: --all")
    if overrides and len(specs) > 1:
        raise InputError(f"`{overrides[0]}` is of one SPEC; there are {len(specs)}: {', '.join(specs)}")
    return [load_with(spec, overrides) for spec in specs]


def _verified(objective: Objective, backend: BackendName, page: _Page) -> Report:
    """The report of one objective, each line printed when it is known."""
    from maspo_dsl.verification.subject import Subject
    from maspo_dsl.verification.verify import CHECKS, report_of

    def lines() -> Iterator[Line]:
        subject = Subject(objective, backend.value)
        page.head(f"{objective.name}@{objective.hash}", max(len(check.name) for check in CHECKS))
        with _progress() as show:
            for number, check in enumerate(CHECKS, 1):
                show(f"{objective.name}: {check.name} ({number} of {len(CHECKS)})")
                line = check.line(subject)
                page.row(line.name, line.verdict, line.seconds, line.detail)
                yield line

    report = report_of(objective, backend.value, lines())
    page.foot(f"{report.name}@{report.hash}: {_verdict(report)}, {report.seconds:.1f} s")
    return report


@contextmanager
def _progress() -> Iterator[Callable[[str], object]]:
    """A line on standard error that is written over and goes away; nothing where that is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield status.update


def _verified_all(backend: BackendName, page: _Page) -> list[Report]:
    """The reports of every shipped objective, by name, each made in one of several processes, printed in its turn."""
    import maspo_dsl

    names = maspo_dsl.shipped()
    page.head("", max(map(len, names)))
    reports = []
    # A fresh process each, since torch does not survive a fork; what is compiled is compiled by one thread.
    pool = ProcessPoolExecutor(min(os.cpu_count() or 1, len(names)), get_context("spawn"), _start_worker)
    try:
        with _progress() as show:
            for number, report in enumerate(pool.map(_verified_name, names, [backend] * len(names)), 1):
                show(f"{number} of {len(names)}: {report.name} {_verdict(report)}")
                page.row(report.name, "pass" if report.ok else "fail", report.seconds, _verdict(report))
                reports.append(report)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return reports


def _start_worker() -> None:
    """Ctrl-C is for the process that waits; tensors of a hundred numbers gain nothing from threads."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _verified_name(name: str, backend: BackendName) -> Report:
    import maspo_dsl

    return maspo_dsl.verify(name, backend=backend.value)


# ---- what is shown


def _document(report: Report) -> dict[str, object]:
    """A report for machines."""
    lines = [
        {"name": line.name, "verdict": line.verdict, "detail": line.detail, "seconds": round(line.seconds, 3)}
        for line in report.lines
    ]
    return {
        "name": report.name,
        "hash": report.hash,
        "ok": report.ok,
        "backend": report.backend,
        "seconds": round(report.seconds, 3),
        "lines": lines,
    }


def _documents(reports: Sequence[Report]) -> dict[str, object]:
    """Several reports for machines."""
    ok = all(report.ok for report in reports)
    return {"ok": ok, "objectives": [_document(report) for report in reports]}


def _summarise(reports: Sequence[Report]) -> None:
    """The last lines of several reports: what failed, once more, and how many did."""
    failed = [report for report in reports if not report.ok]
    for report in failed:
        for line in report.failed:
            print_line(f"{report.name}: {line.name}: {line.detail}")
    print_line(f"{counted(len(reports), 'objective')}: {f'{len(failed)} fail' if failed else 'all hold'}")


def _verdict(report: Report) -> str:
    """`20 hold, 1 declared, 1 skipped` or what failed before it."""
    words = {"fail": "failed", "pass": "held", "declared": "declared", "skipped": "skipped"}
    found = {word: sum(line.verdict == verdict for line in report.lines) for verdict, word in words.items()}
    return ", ".join(f"{number} {word}" for word, number in found.items() if number)


class _Page:
    """A table whose rows are printed one by one, so that who waits, or reads a pipe, sees what is known."""

    def __init__(self, *, quiet: bool) -> None:
        """`quiet` prints nothing."""
        from rich.console import Console

        self._quiet = quiet
        self._console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
        self._width = 0

    def head(self, title: str, width: int) -> None:
        """The title, if there is one, over rows whose names have at most `width` letters."""
        self._width = width
        if title and not self._quiet:
            self._console.print(title, highlight=False, style="bold")

    def row(self, name: str, verdict: Verdict, seconds: float, detail: str) -> None:
        """A name, its verdict, what it took and what was seen; long ones go on below themselves."""
        from rich.table import Table
        from rich.text import Text

        if self._quiet:
            return
        row = Table.grid(padding=(0, 2))
        row.add_column(width=self._width, no_wrap=True)
        row.add_column(width=max(map(len, _STYLES)), no_wrap=True)
        row.add_column(width=6, justify="right", no_wrap=True)
        row.add_column()
        row.add_row(name, Text(verdict, _STYLES[verdict]), f"{seconds:.1f} s", Text(detail))
        self._console.print(row)

    def foot(self, text: str) -> None:
        """The line below the rows."""
        if not self._quiet:
            print_line(text)
