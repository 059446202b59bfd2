"""Two specs part by part: what each says, without running either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.notation.formula import formula
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.shipped import library_definitions


@dataclass(frozen=True)
class PartDifference:
    """A part that two specs say differently; empty where one does not have it."""

    part: str
    first: str
    second: str


def part_differences(first: Objective, second: Objective) -> list[PartDifference]:
    """Parameters with other values, and parts with other formulas, in the order of a file."""
    values = _values(first), _values(second)
    lines = _formulas(first), _formulas(second)
    return [*_unequal(*values), *_unequal(*lines)]


def _unequal(first: dict[str, str], second: dict[str, str]) -> Iterator[PartDifference]:
    for name in dict.fromkeys([*first, *second]):
        if first.get(name) != second.get(name):
            yield PartDifference(name, first.get(name, ""), second.get(name, ""))


def _values(objective: Objective) -> dict[str, str]:
    return {f"param {name}": number_text(value) for name, value in objective.params.items()}


def _formulas(objective: Objective) -> dict[str, str]:
    """The lines of the formula by what they say, those that go on from the one before put to it."""
    resolved = objective.resolved
    written = formula(resolved, {**library_definitions(), **resolved.flat.defs})
    found: dict[str, str] = {}
    last = ""
    for line in written.lines:
        if line.symbol:
            last = line.symbol
            found[last] = line.text
        else:
            found[line.note or last] = (found.get(line.note or last, "") + f" {line.text}").strip()
    return found
