"""`maspo-dsl diff` and `maspo-dsl identify`: what a loss is, and where two of them part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from maspo_dsl.cli.output import FAILED, InputError, invalid_input_exits, print_line

_SIDE = "A spec (NAME, NAME@VARIANT, FILE.obj), trl:KEY=VALUE,…, verl:KEY=VALUE,… or python:module.function."


@contextmanager
def comparable() -> Iterator[None]:
    """Turn what cannot be compared into its message and exit code 2."""
    from maspo_dsl.comparison.sides import NotComparableError
    from maspo_dsl.importing.options import SettingsError

    with invalid_input_exits():
        try:
            yield
        except (NotComparableError, SettingsError) as error:
            raise InputError(str(error)) from None


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.")],
) -> None:
    """Show where two losses part.

    What two specs say differently, on which tokens gradients differ, and the smallest batch that shows it. Exits with
    0 if nothing differs, 1 if something does, 2 if they cannot be compared.
    """
    from maspo_dsl.comparison.compare import compare
    from maspo_dsl.comparison.named import side_of
    from maspo_dsl.comparison.parts import part_differences
    from maspo_dsl.comparison.report import comparison_lines, part_lines
    from maspo_dsl.comparison.sides import SpecSide

    with comparable():
        one, other = side_of(first), side_of(second)
        specs = [side.objective for side in (one, other) if isinstance(side, SpecSide)]
        if len(specs) == 2 and specs[0].hash == specs[1].hash:
            print_line(
                f"{one.name} and {other.name} have the same hash, {specs[0].hash}: they compute the same"
            )
            return
        found = compare(one, other)
    if len(specs) == 2:
        for line in part_lines(part_differences(*specs), found.names):
            print_line(line)
        print_line()
    for line in comparison_lines(found):
        print_line(line)
    for objective in specs:
        for note in objective.resolved.differs:
            print_line(f"{objective.name} notes: {note}")
    if not found.same:
        raise typer.Exit(FAILED)


def identify(
    loss: Annotated[str, typer.Argument(metavar="LOSS", help=_SIDE)],
) -> None:
    """Say which shipped objective a loss is.

    With which parameters, or which is nearest and where it parts. Exits with 1 if it is none.
    """
    from maspo_dsl.comparison import identify as search
    from maspo_dsl.comparison.named import side_of
    from maspo_dsl.comparison.report import estimator_lines, identity_lines

    with comparable():
        side = side_of(loss)
        if not side.has_loss:
            estimator = search.identify_estimator(side)
            for line in estimator_lines(estimator, side.name):
                print_line(line)
            raise typer.Exit(FAILED if estimator.parting else 0)
        found = search.identify(side)
    for line in identity_lines(found, side.name):
        print_line(line)
    if not found.exact:
        raise typer.Exit(FAILED)
