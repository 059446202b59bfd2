"""The commands, put together; one is imported when it is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from maspo_dsl.cli.output import TYPED

COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "new": ("new:new", ("maspo-dsl new narrow", "maspo-dsl new narrow --like maspo")),
    "check": ("check:check", ("maspo-dsl check my.obj", "maspo-dsl check specs/ --strict --json")),
    "fmt": ("fmt:fmt", ("maspo-dsl fmt my.obj", "maspo-dsl fmt --check specs/", "maspo-dsl fmt - < my.obj")),
    "show": ("show:show", ("maspo-dsl show maspo", "maspo-dsl show maspo@hard --stage graph")),
    "explain": (
        "explain:explain",
        ("maspo-dsl explain maspo params.alpha=0.5", "maspo-dsl explain my.obj --latex"),
    ),
    "list": ("listing:list_", ("maspo-dsl list", "maspo-dsl list --json")),
    "compile": ("compiling:compile_", ("maspo-dsl compile maspo -o loss.py",)),
    "import": (
        "importing:import_",
        ("maspo-dsl import trl loss_type=cispo", "maspo-dsl import verl run.yaml -o my.obj"),
    ),
    "diff": ("comparing:diff", ("maspo-dsl diff my.obj dapo", "maspo-dsl diff my.obj trl:loss_type=dapo")),
    "identify": ("comparing:identify", ("maspo-dsl identify python:module.function",)),
    "verify": ("verify:verify", ("maspo-dsl verify my.obj", "maspo-dsl verify grpo maspo")),
    "train": (
        "train:train",
        ("maspo-dsl train maspo params.alpha=0.5", "maspo-dsl train resume=runs/maspo-1"),
    ),
    "export": ("export:export", ("maspo-dsl export runs/maspo-1 model",)),
    "ablate": (
        "ablate:ablate",
        ("maspo-dsl ablate maspo --dry-run", "maspo-dsl ablate maspo --seeds 3 --run"),
    ),
    "report": ("report:report", ("maspo-dsl report grids/maspo",)),
    "plot": ("plot:plot", ("maspo-dsl plot maspo -o fig.svg", "maspo-dsl plot grpo my.obj -o fig.pdf")),
    "inspect": ("inspect:inspect", ("maspo-dsl inspect maspo batch.npz -o tokens.html",)),
    "lsp": ("lsp:lsp", ("maspo-dsl lsp",)),
    "playground": ("playground:playground", ("maspo-dsl playground",)),
}
"""Each command: the module of this folder and the function that it is, and examples; in the order of `--help`."""


@cache
def _command(name: str) -> Any:
    place, examples = COMMANDS[name]
    module, function = place.split(":")
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    shown = "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])
    alone.command(name, epilog=shown)(getattr(import_module(f"maspo_dsl.cli.{module}"), function))
    return typer.main.get_command(alone)


class _Commands(TyperGroup):
    """The table of commands as typer asks for it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names_alone: Any = dict.fromkeys(COMMANDS)  # which its suggestions are made of
        self.commands = names_alone

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words, which a command may want to tell."""
        ctx.meta[TYPED] = list(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None where there is none."""
        return _command(cmd_name) if cmd_name in COMMANDS else None


app = typer.Typer(
    cls=_Commands,
    help="Objectives that train language models with reinforcement learning: written down, checked, trained.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
