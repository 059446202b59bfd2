"""Everything that can be said against a text: its mistakes, or else the warnings of the objective it defines."""

from __future__ import annotations

from pathlib import Path

from maspo_dsl.analysis.lints import lint
from maspo_dsl.graph.build import build
from maspo_dsl.graph.passes import simplify
from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.resolve import examine


def diagnose(source: Source, folder: Path | None = None, variant: str | None = None) -> list[Diagnostic]:
    """Every error of a text, or of one of its variants, in source order; without any, every warning.

    `extends` looks in `folder`, then among the shipped. Without `variant`, errors of all its variants and sweeps are
    there too; warnings are those of the objective itself, or of the variant asked for.
    """
    objective, errors = examine(source, folder, variant)
    if errors or objective is None:
        return errors
    return list(lint(objective, simplify(build(objective.parts))).warnings)
