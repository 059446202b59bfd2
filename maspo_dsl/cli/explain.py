"""`maspo-dsl explain`: an objective in prose."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, print_json, print_line
from maspo_dsl.cli.overrides import OverridesArgument, SpecArgument, load_with


def explain(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Print the formula alone, in LaTeX for a column of 80 mm.")
    ] = False,
) -> None:
    """Explain an objective in prose.

    Its formula, every value and policy, the tensors it needs, and where each part comes from.
    """
    with invalid_input_exits(as_json=as_json):
        if as_json and latex:
            raise InputError("--json and --latex are two forms; choose one")
        objective = load_with(spec, overrides)
        if latex:
            from maspo_dsl.notation.latex_lines import latex_formula, paper_lines

            for line in paper_lines(latex_formula(objective.resolved)):
                print_line(line)
            return
        from maspo_dsl.cli.explanation_text import explanation_lines
        from maspo_dsl.notation.explanation import explanation

        found = explanation(objective)
    if as_json:
        print_json(asdict(found))
        return
    for line in explanation_lines(found):
        print_line(line)
