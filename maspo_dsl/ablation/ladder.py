"""The ladder from the plain ancestor of an objective to the objective: one part added at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from maspo_dsl.ablation.changes import droppable, short_names
from maspo_dsl.ablation.point import Candidate, identifier
from maspo_dsl.language.expression_text import format_arithmetic
from maspo_dsl.language.formatter import format_statement
from maspo_dsl.semantics.flat import Flat, Parameter
from maspo_dsl.semantics.objective import ResolvedObjective


@dataclass(frozen=True)
class LadderStep:
    """One part in which an objective differs from its ancestor; `revert` is the line that undoes it."""

    name: str
    revert: str


def ladder(base: ResolvedObjective, ancestor: Flat) -> list[Candidate]:
    """Points from the ancestor up, the base itself left out; none if nothing differs.

    Each is the base with what is not yet added reverted. Values of inherited parameters come first, then parts in
    the order data meets them, and last the `let`s, which can do nothing before the part that reads them is there.
    """
    differences = list(differences_from(base, ancestor))
    root = ancestor.header.name.text
    points = []
    for step in range(len(differences)):
        added, missing = differences[:step], differences[step:]
        name = identifier(base.name, "ladder", str(step), added[-1].name if added else root)
        so_far = (
            f"{root} + {' + '.join(part.name for part in added)}" if added else f"{root}, where it starts"
        )
        points.append(
            Candidate(
                name,
                "ladder",
                base.name,
                f"the way to {base.name}: {so_far}",
                tuple(part.revert for part in missing),
                (("ladder", f"{step}/{len(differences)}"),),
            )
        )
    return points


def differences_from(base: ResolvedObjective, ancestor: Flat) -> Iterator[LadderStep]:
    """Every part in which an objective differs from an ancestor."""
    flat, names = base.flat, short_names(droppable(base))
    for name, before in ancestor.params.items():
        if name in flat.params and _value(flat.params[name]) != _value(before):
            yield LadderStep(name, f"param {name} = {_value(before)}")
    yield from _parts(flat, ancestor, names)
    for name, slot in flat.slots.items():
        if name not in ancestor.slots:
            yield LadderStep(name, f"drop {name}")
        elif ancestor.slots[name] != slot:
            yield LadderStep(name, format_statement(ancestor.slots[name]).strip())
    for name, let in flat.lets.items():
        if name in ancestor.lets:
            if ancestor.lets[name] != let:
                yield LadderStep(name, format_statement(ancestor.lets[name]).strip())
        elif f"let.{name}" in names:
            yield LadderStep(name, f"drop {names[f'let.{name}']}")


def _parts(flat: Flat, ancestor: Flat, names: Mapping[str, str]) -> Iterator[LadderStep]:
    for (kind, name), part in flat.parts.items():
        before = ancestor.parts.get((kind, name))
        if before is None:
            yield LadderStep(name, f"drop {names[f'{kind}.{name}']}")
        elif before != part:
            yield LadderStep(name, format_statement(before).strip())
    for (kind, name), part in ancestor.parts.items():
        if (kind, name) not in flat.parts:
            yield LadderStep(f"without_{name}", format_statement(part).strip())


def _value(parameter: Parameter) -> str:
    return format_arithmetic(parameter.default)
