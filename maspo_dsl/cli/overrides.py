"""`key=value` overrides of the commands that read a spec without training with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from maspo_dsl.cli.output import InputError

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective

# Keys of a run that give a value to parameters bound to a constant of the run.
BOUND_KEYS = {"rollout.max_new_tokens": "generation_limit", "rollout.samples": "group_size"}

SpecArgument = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="A shipped name (NAME@VARIANT too), or the path of an .obj file."),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Values, such as params.alpha=0.5 or rollout.max_new_tokens=8."
    ),
]


def load_with(spec: str, overrides: Sequence[str] | None, variant: str | None = None) -> Objective:
    """The objective of a name or path with overrides applied.

    Raises SpecError, and InputError for an override that cannot be used.
    """
    import maspo_dsl

    params, run = read(overrides or [])
    return maspo_dsl.load(f"{spec}@{variant}" if variant else spec, params=params, run=run)


def read(overrides: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Values of parameters and constants of a run. Raises InputError that names every mistake."""
    if not overrides:
        return {}, {}
    from maspo_dsl.trainers.overrides import Keys, read_overrides

    keys = Keys(frozenset(BOUND_KEYS), frozenset({"params"}), frozenset())
    values, mistakes = read_overrides(overrides, keys)
    mistakes += [
        f"`{key}={value}`: expected a whole number above 0"
        for key, value in values.items()
        if key in BOUND_KEYS and (not isinstance(value, int) or isinstance(value, bool) or value < 1)
    ]
    if mistakes:
        raise InputError("\n       ".join(mistakes))
    params = {key.removeprefix("params."): value for key, value in values.items() if key not in BOUND_KEYS}
    run = {BOUND_KEYS[key]: value for key, value in values.items() if key in BOUND_KEYS}
    # That a parameter is a number is checked where parameters are bound, with the others of the spec's mistakes.
    return params, run
