"""`maspo-dsl plot`: how objectives weigh the gradient of a token, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, log, print_line, write_file
from maspo_dsl.cli.overrides import load_with

if TYPE_CHECKING:
    from maspo_dsl.analysis.weight_curves import WeightCurves
    from maspo_dsl.objective import Objective

_STEPS = 400


def plot(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC...",
            help="Shipped names or paths of .obj files; each KEY=VALUE is for all that have such a parameter.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The picture: FILE.svg, .pdf or .png."),
    ] = Path("weights.svg"),
) -> None:
    """Draw how much each token pushes.

    The gradient weight of a token over its ratio for A > 0 and A < 0, at several probabilities under the old policy;
    over that probability; over A. Of several objectives also the difference from the first.
    """
    from maspo_dsl.pictures.style import figure_bytes, kind_of

    with invalid_input_exits():
        try:
            kind = kind_of(output)
        except ValueError as error:
            raise InputError(str(error)) from None
        names = [each for each in specs if "=" not in each]
        if not names:
            raise InputError("no SPEC is given")
        drawn = _drawn(_loaded(names, [each for each in specs if "=" in each]))
        from maspo_dsl.pictures.weights import weight_figure

        try:
            figure = weight_figure(drawn)
        except ValueError as error:
            raise InputError(str(error)) from None
        write_file(output, figure_bytes(figure, kind))
    print_line(f"written to {output}")


def _loaded(names: Sequence[str], values: Sequence[str]) -> list[Objective]:
    """The objectives; of several, each with the values of parameters that it has. Raises InputError, SpecError."""
    if len(names) == 1 or not values:
        return [load_with(name, values) for name in names]
    known = [load_with(name, None).params.keys() for name in names]
    every = frozenset[str]().union(*known)
    strange = [each for each in values if _parameter(each) not in every]
    if strange:
        raise InputError(f"`{strange[0]}`: none of {', '.join(names)} has such a parameter")
    return [
        load_with(name, [each for each in values if _parameter(each) in own])
        for name, own in zip(names, known, strict=True)
    ]


def _parameter(override: str) -> str:
    return override.split("=")[0].removeprefix("params.")


def _drawn(objectives: list[Objective]) -> list[WeightCurves]:
    """The curves of those that have some. Raises InputError, with what there is, where none has."""
    from maspo_dsl.analysis.weight_curves import weight_curves

    every = [weight_curves(each.resolved, each.graph, steps=_STEPS) for each in objectives]
    missing = [
        f"{curves.why}\n{_formula(each)}"
        for each, curves in zip(objectives, every, strict=True)
        if curves.why
    ]
    drawn = [curves for curves in every if not curves.why]
    if not drawn:
        raise InputError("\n       ".join(missing))
    for line in missing:
        log(f"not in the picture: {line}")
    return drawn


def _formula(objective: Objective) -> str:
    """What there is instead of a curve."""
    from maspo_dsl.cli.explanation_text import formula_lines
    from maspo_dsl.notation.explanation import explanation

    return "\n".join(formula_lines(explanation(objective).formula))
