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
from typing import TYPE_CHECKING, Annotated

import typer

from maspo_dsl.cli.output import FAILED, InputError, counted, invalid_input_exits, print_json, print_line
from maspo_dsl.cli.overrides import OverridesArgument, load_with

if TYPE_CHECKING:
    from rich.table import Table

    from maspo_dsl.objective import Objective
    from maspo_dsl.verification.report import Line, Report

_STYLES = {"pass": "green", "fail": "bold red", "declared": "yellow", "skipped": "dim"}
# Columns of a table that no terminal bounds.
_WIDTH = 110


class BackendName(StrEnum):
    """What the loss is compiled with."""

    inductor = "inductor"
    eager = "eager"


def verify(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC]", help="A shipped name (NAME@VARIANT too), or the path of an .obj file."
        ),
    ] = None,
    overrides: OverridesArgument = None,
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
    """Hold an objective to what must be true of every one.

    Value and gradient in every form, invariances, extreme inputs. Exits with 1 if a line fails.
    """
    if against is not None:
        if everything or as_json or backend is not BackendName.inductor:
            with invalid_input_exits(as_json=as_json):
                raise InputError("--against compares one SPEC with one loss, and takes no other option")
        _hold_against(spec, overrides, against)
        return
    with invalid_input_exits(as_json=as_json):
        objective = _objective(spec, overrides, everything)
        reports = [_verified(objective, backend)] if objective else _verified_all(backend)
    if as_json:
        print_json(_document(reports[0]) if objective else _documents(reports))
    else:
        _show(reports, one=objective is not None)
    if not all(report.ok for report in reports):
        raise typer.Exit(FAILED)


def _hold_against(spec: str | None, overrides: Sequence[str] | None, against: str) -> None:
    """Compare a spec with another loss; exits with 1 where they differ."""
    from maspo_dsl.cli.comparing import comparable
    from maspo_dsl.comparison.compare import compare
    from maspo_dsl.comparison.named import side_of
    from maspo_dsl.comparison.report import comparison_lines

    with comparable():
        objective = _objective(spec, overrides, everything=False)
        assert objective is not None
        found = compare(side_of(against), side_of(objective))
    for line in comparison_lines(found):
        print_line(line)
    if not found.same:
        raise typer.Exit(FAILED)


def _objective(spec: str | None, overrides: Sequence[str] | None, everything: bool) -> Objective | None:
    """The one objective that is meant, None for all. Raises InputError and SpecError."""
    if everything and spec is not None:
        raise InputError(f"--all takes every objective as it ships, so there is no place for `{spec}`")
    if everything:
        return None
    if spec is None:
        raise InputError("name a SPEC, or take every objective that ships: --all")
    return load_with(spec, overrides)


def _verified(objective: Objective, backend: BackendName) -> Report:
    """The report of one objective, with the line in progress on a terminal."""
    from maspo_dsl.verification.subject import Subject
    from maspo_dsl.verification.verify import CHECKS, report_of

    def lines() -> Iterator[Line]:
        subject = Subject(objective, backend.value)
        with _progress() as show:
            for number, check in enumerate(CHECKS, 1):
                show(f"{objective.name}: {check.name} ({number} of {len(CHECKS)})")
                yield check.line(subject)

    return report_of(objective, backend.value, lines())


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


def _verified_all(backend: BackendName) -> list[Report]:
    """The reports of every shipped objective, by name, each made in one of several processes."""
    import maspo_dsl

    names = maspo_dsl.shipped()
    reports = []
    # A fresh process each, since torch does not survive a fork; what is compiled is compiled by one thread.
    pool = ProcessPoolExecutor(min(os.cpu_count() or 1, len(names)), get_context("spawn"), _start_worker)
    try:
        with _progress() as show:
            for number, report in enumerate(pool.map(_verified_name, names, [backend] * len(names)), 1):
                show(f"{number} of {len(names)}: {report.name} {_verdict(report)}")
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


def _show(reports: Sequence[Report], *, one: bool) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(_table_of_lines(reports[0]) if one else _table_of_reports(reports))
    if one:
        print_line(f"{reports[0].name}@{reports[0].hash}: {_verdict(reports[0])}, {reports[0].seconds:.1f} s")
        return
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


def _table_of_lines(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("property", "verdict"):
        table.add_column(heading, no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("what was seen")
    for line in report.lines:
        verdict = Text(line.verdict, _STYLES[line.verdict])
        table.add_row(line.name, verdict, f"{line.seconds:.1f}", Text(line.detail))
    return table


def _table_of_reports(reports: Sequence[Report]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("objective", "verdict"):
        table.add_column(heading, no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("of its properties")
    for report in reports:
        verdict = Text("pass", _STYLES["pass"]) if report.ok else Text("fail", _STYLES["fail"])
        table.add_row(report.name, verdict, f"{report.seconds:.1f}", _verdict(report))
    return table
