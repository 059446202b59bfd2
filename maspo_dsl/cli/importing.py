"""`maspo-dsl import`: the spec that settings of TRL or verl mean. Neither of them is needed, nor torch."""

from __future__ import annotations

from typing import Annotated

import typer

from maspo_dsl.cli.compiling import ForceOption, OutputOption, check_overwrite, write_made
from maspo_dsl.cli.output import InputError, invalid_input_exits, log, show_diagnostics


def import_(
    trainer: Annotated[str, typer.Argument(metavar="TRAINER", help="trl (1.16) or verl (0.9).")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Its options, such as loss_type=cispo; or the path of a .yaml file.",
        ),
    ] = None,
    output: OutputOption = None,
    force: ForceOption = False,
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
        write_made(found.objective, found.text, output)
