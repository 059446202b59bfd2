"""`maspo-dsl import`: the spec that settings of TRL or verl mean. Neither of them is needed, nor torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.compiling import check_overwrite
from maspo_dsl.cli.output import InputError, invalid_input_exits, log, show_diagnostics, write_file


def import_(
    trainer: Annotated[str, typer.Argument(metavar="TRAINER", help="trl (1.16) or verl (0.9).")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Its options, such as loss_type=cispo; or the path of a .yaml file.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write; standard output without it."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that this command did not write.")
    ] = False,
) -> None:
    """Write the spec that settings of TRL or verl mean.

    Every default that acts is spelled out, and options without effect are named.
    """
    from maspo_dsl.importing.options import SettingsError
    from maspo_dsl.importing.trainers import imported

    with invalid_input_exits():
        if output is not None:
            check_overwrite(output, force)
        try:
            found = imported(trainer, settings or [])
        except SettingsError as error:
            raise InputError(str(error)) from None
        show_diagnostics(found.objective.warnings)
        for note in found.notes:
            log(f"note: {note}")
        if output is None:
            sys.stdout.write(found.text)
        else:
            write_file(output, found.text)
        log(f"{found.objective.name}@{found.objective.hash}" + (f" -> {output}" if output else ""))
