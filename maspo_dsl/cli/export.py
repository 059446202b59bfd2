"""`maspo-dsl export`: the trained model of a run as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, log


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, going on or ended.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, for the model.")],
    best: Annotated[
        bool, typer.Option("--best", help="The weights that did best on held-out prompts, not the last.")
    ] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="LoRA apart, as a folder of peft, instead of merged.")
    ] = False,
) -> None:
    """Write the trained model of a run.

    transformers loads it by from_pretrained, and so does train by model=DIR. A card says how it was trained.
    """
    from maspo_dsl.trainers.config_error import ConfigError

    with invalid_input_exits():
        try:
            from maspo_dsl.trainers.export import export as export_run

            step = export_run(run, folder, best=best, merge=not adapter)
        except ConfigError as error:
            raise InputError(str(error)) from None
        except OSError as error:
            raise InputError(f"{folder} cannot be written ({error.strerror or error})") from None
    log(f"the model after step {step} -> {folder}")
