"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from maspo_dsl.cli.ablate import ablate
from maspo_dsl.cli.check import check
from maspo_dsl.cli.comparing import diff, identify
from maspo_dsl.cli.compiling import compile_
from maspo_dsl.cli.explain import explain
from maspo_dsl.cli.export import export
from maspo_dsl.cli.fmt import fmt
from maspo_dsl.cli.importing import import_
from maspo_dsl.cli.listing import list_
from maspo_dsl.cli.playground import playground
from maspo_dsl.cli.plot import plot
from maspo_dsl.cli.report import report
from maspo_dsl.cli.show import show
from maspo_dsl.cli.train import train
from maspo_dsl.cli.verify import verify

app = typer.Typer(
    help="Objectives that train language models with reinforcement learning: written down, checked, trained.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(check)
app.command()(fmt)
app.command()(show)
app.command()(explain)
app.command("list")(list_)
app.command("compile")(compile_)
app.command("import")(import_)
app.command()(diff)
app.command()(identify)
app.command()(verify)
app.command()(train)
app.command()(export)
app.command()(ablate)
app.command()(report)
app.command()(plot)
app.command()(playground)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"maspo-dsl {version('maspo-dsl')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
