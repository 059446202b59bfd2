"""`maspo-dsl train`: a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_origin

import typer

import maspo_dsl
from maspo_dsl.cli.completing import complete_training
from maspo_dsl.cli.interrupts import CtrlC
from maspo_dsl.cli.output import (
    FAILED,
    INTERRUPTED,
    InputError,
    invalid_input_exits,
    log,
    print_line,
    show_diagnostics,
)
from maspo_dsl.cli.overrides import of_spec
from maspo_dsl.language.diagnostics import Diagnostic

if TYPE_CHECKING:
    from maspo_dsl.trainers.config import RunConfig


def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SPEC [KEY=VALUE]...",
            help="A shipped name or the path of an .obj file, then values such as trainer.max_steps=100.",
            show_default=False,
            autocompletion=complete_training,
        ),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every key with its default.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and start nothing.")
    ] = False,
) -> None:
    """Train a policy with an objective.

    Ctrl-C leaves a run that resume=RUN goes on with.
    """
    if keys:
        for line in key_lines():
            print_line(line)
        return
    with invalid_input_exits():
        spec, overrides = split_spec(arguments or [])
        status = _run(spec, overrides, dry_run)
    if status:
        raise typer.Exit(status)


def split_spec(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The spec, which is the first argument without `=` or that is a file, and the overrides.

    Raises InputError: several specs; none, where no run is resumed.
    """
    spec = next((a for a in arguments if "=" not in a or Path(a).is_file()), None)
    overrides = [a for a in arguments if a is not spec]
    more = [a for a in overrides if a in maspo_dsl.shipped() or (a.endswith(".obj") and "=" not in a)]
    if spec is not None and more:
        raise InputError(f"one objective trains at a time; here are {spec}, {', '.join(more)}")
    if spec is None and not any(a.startswith("resume=") or _has_spec(a) for a in overrides):
        raise InputError(
            "an objective is missing: maspo-dsl train maspo, or the path of an .obj file; "
            "maspo-dsl list shows what ships"
        )
    return spec, overrides


def _has_spec(override: str) -> bool:
    """Whether it is `config=` with the config.yaml of a run, beside which the run's spec lies."""
    key, _, value = override.partition("=")
    return key == "config" and (Path(value).parent / "spec.obj").is_file()


def _run(spec: str | None, overrides: list[str], dry_run: bool) -> int:
    """Train; the exit code."""
    with CtrlC() as ctrl_c:
        try:
            return _train(spec, overrides, dry_run)
        except BaseException as error:
            if not ctrl_c.pressed and not isinstance(error, KeyboardInterrupt):
                raise
            what = "" if isinstance(error, KeyboardInterrupt) else f" ({type(error).__name__}: {error})"
            log(f"interrupted; no step was made, so there is nothing to resume{what}")
            return INTERRUPTED


def _train(spec: str | None, overrides: list[str], dry_run: bool) -> int:
    from maspo_dsl.trainers.config import read_config
    from maspo_dsl.trainers.config_error import ConfigError

    try:
        config = read_config(overrides)
    except ConfigError as error:
        raise InputError(str(error), _mistakes_in(spec, error.values)) from None
    try:
        if spec is not None:
            show_diagnostics(checked_early(spec, config).warnings)
        from maspo_dsl.emit.template.names import BatchError
        from maspo_dsl.trainers import run
        from maspo_dsl.trainers.frameworks import FRAMEWORKS

        try:
            if config.engine in FRAMEWORKS and spec is not None:
                return _by_another(config, spec, dry_run)
            if dry_run:
                return _show(config, run.trainable_objective(config, spec))
            result = run.train(config, spec)
        except BatchError as error:
            raise InputError(str(error)) from None
    except ConfigError as error:
        raise InputError(str(error)) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        log(f"error: the run failed: {error}")
        return FAILED
    if result.interrupted and not result.rows:
        log("interrupted; no step was made, so there is nothing to resume")
    return INTERRUPTED if result.interrupted else 0


def _by_another(config: RunConfig, spec: str, dry_run: bool) -> int:
    """Let another framework train; the exit code."""
    from maspo_dsl.trainers.plans import plan

    planned = plan(config, spec)
    if dry_run:
        for line in planned.lines():
            print_line(line)
        return 0
    log(planned.start())
    return 0


def _show(config: RunConfig, objective: maspo_dsl.Objective) -> int:
    from maspo_dsl.trainers.estimate import estimate
    from maspo_dsl.trainers.overrides import flat

    print_line(f"objective {objective.name}@{objective.hash[:12]}")
    for line in estimate(config, objective):
        print_line(line)
    for path, value in flat(config.model_dump(mode="json")).items():
        print_line(f"  {path} = {'null' if value is None else value}")
    return 0


def _mistakes_in(spec: str | None, values: Mapping[str, object]) -> Sequence[Diagnostic]:
    """What else is wrong: with the spec, or with the parameters that a configuration with mistakes gives it."""
    if spec is None:
        return ()
    params, run = of_spec(values)
    try:
        maspo_dsl.load(spec, params=params, run=run)
    except maspo_dsl.SpecError as error:
        return error.diagnostics
    return ()


def checked_early(spec: str, config: RunConfig) -> maspo_dsl.Objective:
    """The objective, so that its mistakes are found in a moment, before torch is imported. Raises SpecError."""
    return maspo_dsl.load(spec, params=config.params, run=config.constants)


def key_lines() -> Iterator[str]:
    """Every key of a run with its default and meaning."""
    from maspo_dsl.trainers.config import BLOCKS

    for prefix, block in BLOCKS.items():
        for name, field in block.model_fields.items():
            if field.annotation in BLOCKS.values():
                continue
            default = field.get_default(call_default_factory=True, validated_data={})
            shown = {None: "null"}.get(default, str(default)) if default != {} else "{}"
            open_block = ".NAME" if get_origin(field.annotation) is dict else ""
            yield f"{prefix}{name}{open_block} = {shown}".ljust(36) + f"  {field.description}"
    yield "With a model other than tiny some defaults are others; config.yaml of the run has them all."
