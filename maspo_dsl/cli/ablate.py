"""`maspo-dsl ablate`: every valid ablation of an objective, written as specs; run, if asked. Does not import torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maspo_dsl.cli.grid_options import default_folder, factors, others, split_params
from maspo_dsl.cli.grid_table import table
from maspo_dsl.cli.launching import RunSettings, read_settings
from maspo_dsl.cli.output import (
    FAILED,
    INTERRUPTED,
    InputError,
    command_line,
    counted,
    invalid_input_exits,
    log,
    print_json,
    print_line,
)
from maspo_dsl.cli.overrides import OverridesArgument, SpecArgument

if TYPE_CHECKING:
    from maspo_dsl.ablation.folder import GridFolder, PointCheck
    from maspo_dsl.ablation.program import Program
    from maspo_dsl.ablation.request import Request
    from maspo_dsl.ablation.runner import Board


def ablate(
    context: typer.Context,
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the grid; grids/NAME if not given."),
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Each droppable part alone. On unless points are named.")
    ] = False,
    ladder: Annotated[
        bool,
        typer.Option(
            "--ladder", help="From the plain ancestor up, a statement at a time. On like the other."
        ),
    ] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every two droppable parts together.")] = False,
    product: Annotated[
        bool,
        typer.Option("--product", help="Every combination of the factors; of the parts if none is named."),
    ] = False,
    zip_: Annotated[
        bool, typer.Option("--zip", help="First value of each factor with first, second with second.")
    ] = False,
    own: Annotated[bool, typer.Option("--own", help="The spec's own variant and sweep lines.")] = False,
    vary: Annotated[
        list[str] | None, typer.Option("--vary", metavar="PARAM=V,V", help="A parameter and its values.")
    ] = None,
    swap: Annotated[
        list[str] | None,
        typer.Option(
            "--swap",
            metavar="STAGE=F(..),F(..)",
            help="A stage, by its name or its function, and what stands in its place.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="NAME,NAME", help="Other objectives, as they are."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each point, with seeds 0, 1, ….")] = 1,
    run: Annotated[bool, typer.Option("--run", help="Train every point with every seed.")] = False,
    command: Annotated[
        str | None,
        typer.Option(
            "--command",
            metavar="'PROGRAM …'",
            help="What makes a run in place of `maspo-dsl train`; {file}, {name}, {seed} and {run} are its own.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Runs at a time; as many as there are cores.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the grid; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write every ablation of an objective, and run them.

    A short spec for each point, and manifest.json.

    KEY=VALUE: params.NAME is of the base and the points made from it, unless a point sets it itself (--vary, --own, a
    ladder's step before it), not of --against; with --run, all keys of `maspo-dsl train`, and launcher=ray or
    launcher=slurm for more than this machine. What is finished is not run again, what was stopped goes on. --command
    runs a program of your own in place of `maspo-dsl train`: 'python train.py --objective {file} --seed {seed}
    --output_dir {run}'.
    """
    with invalid_input_exits(as_json=as_json), _grid_errors():
        request = _request(
            leave_one_out, ladder, pairs, product, zip_, own, vary or [], swap or [], against or []
        )
        params, typed = split_params(overrides or [])
        settings = read_settings(typed)
        program = _program(command, settings, seeds)
        _check_effective(typed, settings, run, dry_run, workers, command)
        if output == "":
            raise InputError("-o names no folder")
        folder = None if dry_run else Path(output) if output else default_folder(spec)
        check = _preflight(settings) if run and program is None else None
        document, grid = _made(spec, request, params, seeds, folder, check)
    if as_json:
        print_json(document)
    else:
        for line in table(document, settings.config if program is None else None):
            print_line(line)
        if folder is not None:
            print_line(f"written to {folder}")
    if run and grid is not None:
        with invalid_input_exits(), _grid_errors():
            tell = log if as_json else print_line
            status = _run(grid, settings, program, workers, tell, command_line(context))
        if status:
            raise typer.Exit(status)


def _request(
    leave_one_out: bool,
    ladder: bool,
    pairs: bool,
    product: bool,
    zip_: bool,
    own: bool,
    vary: Sequence[str],
    swap: Sequence[str],
    against: Sequence[str],
) -> Request:
    from maspo_dsl.ablation.request import Request

    if product and zip_:
        raise InputError("--product and --zip are two ways to combine the same factors; give one of them")
    return Request(
        leave_one_out=leave_one_out,
        ladder=ladder,
        pairs=pairs,
        product=product,
        zip=zip_,
        own=own,
        vary=factors(vary, "--vary"),
        swap=factors(swap, "--swap"),
        against=others(against),
    )


def _program(command: str | None, settings: RunSettings, seeds: int) -> Program | None:
    """The program that makes the runs, None for our own. Raises InputError and GridError: there is no such program."""
    from maspo_dsl.ablation.program import read_program

    if command is None:
        return None
    if settings.overrides:
        raise InputError(f"`{settings.overrides[0]}` is of `maspo-dsl train`, which --command stands in for")
    program = read_program(command, seeds)
    if settings.launcher == "local" and shutil.which(program.words[0]) is None:
        raise InputError(f"--command: there is no program `{program.words[0]}` here")
    return program


def _check_effective(
    typed: Sequence[str],
    settings: RunSettings,
    run: bool,
    dry_run: bool,
    workers: int | None,
    command: str | None,
) -> None:
    """Raise InputError for options without effect: settings of runs without --run, workers of another launcher."""
    if run and dry_run:
        raise InputError("--run trains and --dry-run writes nothing; give one of them")
    if not run and not dry_run and typed:
        raise InputError(f"{typed[0]} is of the runs, and there are none without --run")
    if not run and workers is not None:
        raise InputError("--workers is of the runs, and there are none without --run")
    if not run and command is not None:
        raise InputError("--command is of the runs, and there are none without --run")
    if workers is not None and settings.launcher != "local":
        raise InputError(f"--workers is of this machine; launcher={settings.launcher} decides for itself")


def _preflight(settings: RunSettings) -> PointCheck:
    """Raise for settings that no run can have; the check of a point raises for one that no run can train."""
    from maspo_dsl.ablation.preflight import check_point, check_settings

    check_settings(settings.config)
    return partial(check_point, settings.config)


def _made(
    spec: str,
    request: Request,
    params: Mapping[str, float],
    seeds: int,
    folder: Path | None,
    check: PointCheck | None,
) -> tuple[Mapping[str, Any], GridFolder | None]:
    """The manifest, and the grid if it is written."""
    from maspo_dsl.ablation.folder import plan, write_grid

    if folder is None:
        return plan(spec, request, params, seeds, check), None
    grid = write_grid(spec, request, params, seeds, folder, check)
    return grid.manifest, grid


def _run(
    grid: GridFolder,
    settings: RunSettings,
    program: Program | None,
    workers: int | None,
    tell: Callable[[str], None],
    ran: str,
) -> int:
    """Run the grid; the exit code."""
    from maspo_dsl.ablation.runner import run_grid
    from maspo_dsl.cli.board import BoardView

    launcher = settings.make_launcher(grid.path, workers)
    with BoardView() as view:
        board = run_grid(grid, settings.overrides, launcher, view.show, program, ran)
    return _ending(grid, board, tell)


def _ending(grid: GridFolder, board: Board, tell: Callable[[str], None]) -> int:
    for job, why in board.reasons.items():
        log(f"failed: {job.name} seed {job.seed} ({job.log})")
        log("  " + why.replace("\n", "\n  "))
    counts = board.counts
    if counts["finished"] == len(board.jobs):
        tell(f"{counted(len(board.jobs), 'run')} finished; read them with `maspo-dsl report {grid.path}`")
        return 0
    left = len(board.jobs) - counts["finished"]
    log(f"{counted(left, 'run')} of {len(board.jobs)} not finished; the same command goes on with them")
    return FAILED if counts["failed"] else INTERRUPTED


@contextmanager
def _grid_errors() -> Iterator[None]:
    from maspo_dsl.ablation.changes import GridError
    from maspo_dsl.trainers.config_error import ConfigError

    try:
        yield
    except (GridError, ConfigError) as error:
        raise InputError(str(error)) from None
