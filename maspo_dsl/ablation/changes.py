"""Single changes of an objective: a part dropped, a parameter varied, a stage swapped, a variant taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from maspo_dsl.ablation.point import Candidate, identifier
from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean, nearest
from maspo_dsl.language.formatter import format_statement
from maspo_dsl.semantics.edits import Target, neutral_targets, statement_of, targets
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import SLOTS


class GridError(Exception):
    """What was asked for cannot be a grid; the message says why in the user's terms."""


def droppable(base: ResolvedObjective) -> list[Target]:
    """Every part that can be dropped by a name that means it alone, in the order data meets them."""
    named = list(neutral_targets(base.flat, base.used))
    counts = Counter(target.path for target in named)
    return [target for target in named if counts[target.path] == 1]


def undroppable(base: ResolvedObjective) -> Iterator[tuple[str, str]]:
    """Parts that no edit can drop, each with the reason."""
    counts = Counter(target.path for target in neutral_targets(base.flat, base.used))
    for path, count in counts.items():
        if count > 1:
            yield path, f"{count} stages are called `{path}`; give them names of their own with `as`"
    for word in base.flat.slots:
        if SLOTS[word].neutral is None:
            yield word, f"`{word}` has no neutral; it can be replaced, not dropped"
    for name, let in base.flat.lets.items():
        if let.neutral is None and name in base.used:
            yield f"let.{name}", f"`{name}` has no neutral value"


def short_names(parts: Sequence[Target]) -> dict[str, str]:
    """For each path the shortest text that means it: the name alone where that is enough."""
    counts = Counter(target.name for target in parts)
    return {target.path: target.name if counts[target.name] == 1 else target.path for target in parts}


def without(base: ResolvedObjective, target: Target, name: str) -> Candidate:
    """The base with one part dropped."""
    return Candidate(
        identifier(base.name, "without", name),
        "without",
        base.name,
        f"{base.name} without {name}{_meaning(target)}",
        (f"drop {name}",),
        ((name, "dropped"),),
    )


def _meaning(target: Target) -> str:
    """What a drop leaves behind, in a few words."""
    match target.family:
        case "let":
            return ": its neutral value instead"
        case "stage":
            return f": that stage taken out of `{target.owner}`"
        case _:
            return ""


def varied(base: ResolvedObjective, flat: Flat, name: str, value: str, owner: str | None = None) -> Candidate:
    """A parameter at another value; `owner` names the variant that alone has the parameter.

    Raises GridError: no such parameter, with the nearest name.
    """
    if name not in flat.params:
        known = flat.params if nearest(name, flat.params) else base.params
        raise GridError(f"`{base.name}` has no parameter `{name}`; {did_you_mean(name, known)}".rstrip("; "))
    line = f"param {name} = {value}"
    edits = (line,) if owner is None else (*variant_edits(base, owner, unset=frozenset({name})), line)
    return Candidate(
        identifier(base.name, owner or "", name, value),
        "vary",
        base.name,
        f"{name} = {value}" + (f" in variant {owner}" if owner else ""),
        edits,
        ((name, value),),
    )


def swapped(base: ResolvedObjective, name: str, stages: str) -> Candidate:
    """Other stages in place of one, which is called by its name or by its function.

    Raises GridError: no such stage, with the nearest name.
    """
    found = find_stage(base, name)
    return Candidate(
        identifier(base.name, name, stages),
        "swap",
        base.name,
        f"{stages} in place of {name}",
        (f"swap {found} |> {stages}",),
        ((name, stages),),
    )


def find_stage(base: ResolvedObjective, name: str) -> str:
    """The text that means a stage, given its name, its path or its function."""
    stages = [target for target in targets(base.flat) if target.family == "stage"]
    by_name = [target for target in stages if name in (target.name, target.path)]
    by_function = [target for target in stages if name == _function(base.flat, target)]
    matches = by_name or by_function
    if not matches:
        known = {target.name for target in stages} | {_function(base.flat, target) for target in stages}
        raise GridError(f"`{base.name}` has no stage `{name}`; {did_you_mean(name, known)}".rstrip("; "))
    if len(matches) > 1:
        paths = ", ".join(dict.fromkeys(target.path for target in matches))
        raise GridError(f"`{name}` means {len(matches)} stages of `{base.name}`; say which: {paths}")
    return short_names(stages)[matches[0].path]


def _function(flat: Flat, target: Target) -> str:
    """The function that a stage calls."""
    pipe = statement_of(flat, target.key).value
    assert isinstance(pipe, tree.Pipe)
    return pipe.stages[target.index].function.text


def variant_edits(base: ResolvedObjective, name: str, unset: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The lines of a variant; without the values of the parameters `unset`, which get others."""
    edits = (_unset(edit, unset) for edit in base.flat.variants[name].edits)
    return tuple(format_statement(edit).strip() for edit in edits if edit is not None)


def _unset(edit: tree.Edit, names: frozenset[str]) -> tree.Edit | None:
    if not isinstance(edit, tree.Param):
        return edit
    rest = tuple(binding for binding in edit.bindings if binding.name.text not in names)
    return replace(edit, bindings=rest) if rest else None


def of_variant(base: ResolvedObjective, name: str) -> Candidate:
    """One of the spec's own variants."""
    return Candidate(
        identifier(base.name, name),
        "variant",
        base.name,
        f"variant {name} of {base.name}",
        variant_edits(base, name),
        (("variant", name),),
    )
