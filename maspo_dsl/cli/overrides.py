"""`key=value` overrides of the commands that read a spec without training with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, cast

import typer

from maspo_dsl.cli.completing import complete_override, complete_spec
from maspo_dsl.cli.output import InputError
from maspo_dsl.semantics.vocabulary import RUN_CONSTANTS

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective

# Keys of a run that give a value to parameters bound to a constant of the run.
BOUND_KEYS = {constant.key: name for name, constant in RUN_CONSTANTS.items()}

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A shipped name (NAME@VARIANT too), or the path of an .obj file.",
        autocompletion=complete_spec,
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Values, such as params.alpha=0.5 or rollout.max_new_tokens=8.",
        autocompletion=complete_override,
    ),
]


def load_with(spec: str, overrides: Sequence[str] | None, variant: str | None = None) -> Objective:
    """The objective of a name or path with overrides applied.

    Raises SpecError, and InputError for overrides that cannot be used, with the mistakes of the spec beside them.
    """
    import maspo_dsl

    params, run, mistakes = _understood(overrides or [])
    try:
        objective = maspo_dsl.load(f"{spec}@{variant}" if variant else spec, params=params, run=run)
    except maspo_dsl.SpecError as error:
        if not mistakes:
            raise
        raise InputError(_listed(mistakes), error.diagnostics) from None
    if mistakes:
        raise InputError(_listed(mistakes))
    return objective


def read(overrides: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Values of parameters and constants of a run. Raises InputError that names every mistake."""
    params, run, mistakes = _understood(overrides)
    if mistakes:
        raise InputError(_listed(mistakes))
    return params, run


def _listed(mistakes: Sequence[str]) -> str:
    return "\n       ".join(mistakes)


def _understood(overrides: Sequence[str]) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Values of parameters and constants of a run, as far as they can be used, and what is wrong with the others."""
    if not overrides:
        return {}, {}, []
    from maspo_dsl.trainers.overrides import Keys, read_overrides

    keys = Keys(frozenset(BOUND_KEYS), frozenset({"params"}), frozenset())
    values, mistakes = read_overrides(overrides, keys)
    params, run = of_spec(values)
    wrong = [key for key in values if key in BOUND_KEYS and BOUND_KEYS[key] not in run]
    mistakes += [f"`{key}={values[key]}`: expected a whole number above 0" for key in wrong]
    return params, run, mistakes


def of_spec(values: Mapping[str, object]) -> tuple[dict[str, float], dict[str, float]]:
    """What a spec reads of values by path: its parameters, and constants of the run that are such.

    That a parameter is a number is checked where parameters are bound, with the others of the spec's mistakes.
    """
    params = {
        key.removeprefix("params."): value for key, value in values.items() if key.startswith("params.")
    }
    run = {BOUND_KEYS[key]: value for key, value in values.items() if key in BOUND_KEYS and _is_count(value)}
    return cast("dict[str, float]", params), cast("dict[str, float]", run)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
