"""What `explain` says of an objective, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from maspo_dsl.analysis.trial import dropped
from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import format_arithmetic, format_domain, format_expression
from maspo_dsl.language.formatter import format_statement
from maspo_dsl.language.source import Span
from maspo_dsl.notation.conventions import Convention, conventions
from maspo_dsl.notation.coupled import Coupled, coupled
from maspo_dsl.notation.formula import Formula, formula
from maspo_dsl.notation.tensors import Tensor, tensors
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.binding import BoundParameter
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.edits import Target, neutral_targets, targets
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.shipped import library_definitions, shipped_names, shipped_path


@dataclass(frozen=True)
class ParameterRow:
    """A parameter: its value, where the value comes from, what it may be, what it means."""

    name: str
    value: float
    origin: str
    interval: str
    meaning: str
    unread: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a part is written; `inherited` names the objective it comes from, empty for the spec's own."""

    part: str
    place: str
    inherited: str


@dataclass(frozen=True)
class DropEffect:
    """What `drop NAME` does."""

    name: str
    effect: str


@dataclass(frozen=True)
class NamedText:
    """A variant with its edits, a sweep with its values, or a warning with why it is allowed."""

    name: str
    text: str


@dataclass(frozen=True)
class Explanation:
    """Everything that a reader can know of an objective without running it."""

    name: str
    hash: str
    meaning: str
    file: str
    sources: tuple[str, ...]
    differs: tuple[str, ...]
    extends: tuple[str, ...]
    formula: Formula
    parameters: tuple[ParameterRow, ...]
    conventions: tuple[Convention, ...]
    coupling: Coupled
    tensors: tuple[Tensor, ...]
    origins: tuple[Origin, ...]
    drops: tuple[DropEffect, ...]
    variants: tuple[NamedText, ...]
    sweeps: tuple[NamedText, ...]
    allowed: tuple[NamedText, ...]
    warnings: tuple[str, ...]


def explanation(objective: Objective) -> Explanation:
    """The explanation of an objective with its parameters bound."""
    resolved = objective.resolved
    flat = resolved.flat
    defs = {**library_definitions(), **flat.defs}
    written = formula(resolved, defs)
    return Explanation(
        name=resolved.name,
        hash=resolved.hash,
        meaning=resolved.doc,
        file=resolved.source.name,
        sources=resolved.sources,
        differs=resolved.differs,
        extends=tuple(map(_base, resolved.flat.bases)),
        formula=written,
        parameters=tuple(_parameter(bound, resolved) for bound in resolved.parameters.values()),
        conventions=tuple(conventions(objective, defs, written)),
        coupling=coupled(objective),
        tensors=tuple(tensors(objective)),
        origins=tuple(_origins(resolved)),
        drops=tuple(_drops(resolved)),
        variants=tuple(NamedText(name, _edits(variant)) for name, variant in flat.variants.items()),
        sweeps=tuple(
            NamedText(name, ", ".join(map(format_arithmetic, sweep.values)))
            for name, sweep in flat.sweeps.items()
        ),
        allowed=tuple(
            NamedText(code, allow.why)
            for code, allow in flat.allows.items()
            if code in objective.acknowledged
        ),
        warnings=tuple(f"{w.code}: {w.message}" for w in objective.warnings),
    )


def _base(header: tree.Header) -> str:
    """The name of a base; where a file beside the spec took the place of a shipped one, its file too."""
    source = header.span.source.name
    shadowed = PurePath(source).stem
    if shadowed not in shipped_names() or source == shipped_path(shadowed):
        return header.name.text
    return f"{header.name.text} ({source}, not the shipped {shadowed})"


def _place(span: Span) -> str:
    return f"{span.source.name}:{span.line}"


# ---- parameters


def _parameter(bound: BoundParameter, resolved: ResolvedObjective) -> ParameterRow:
    declared = bound.declared
    return ParameterRow(
        bound.name,
        bound.value,
        _origin_of_value(bound),
        format_domain(declared.domain) if declared.domain is not None else "any",
        declared.doc or "",
        bound.name not in resolved.read,
    )


def _origin_of_value(bound: BoundParameter) -> str:
    declared = bound.declared
    place = _place(declared.span)
    bind = declared.bind.text if declared.bind is not None else ""
    match bound.origin:
        case "set":
            return f"set by params.{bound.name}; declared in {place}"
        case "run":
            return f"the run's {bind}, {place}"
    written = format_expression(declared.default)
    as_number = isinstance(declared.default, tree.Number) or written == number_text(bound.value)
    formula_of = "" if as_number else f" = {written}"
    bound_later = f"; in a run: its {bind}" if bind else ""
    return f"default{formula_of}, {place}{bound_later}"


# ---- where parts come from


def _origins(resolved: ResolvedObjective) -> Iterator[Origin]:
    flat = resolved.flat
    here = flat.header.span.source.name
    named: list[tuple[str, Span]] = []
    named += [(f"input {name}", given.span) for name, given in flat.inputs.items() if name in resolved.read]
    named += [
        (f"teacher {name}", given.span) for name, given in flat.teachers.items() if name in resolved.read
    ]
    named += [(f"def {name}", given.span) for name, given in flat.defs.items() if name in resolved.read]
    named += [(f"let {name}", let.span) for name, let in flat.lets.items() if name in resolved.read]
    named += [(word, slot.span) for word, slot in flat.slots.items()]
    named += [(f"{word} {name}", part.span) for (word, name), part in flat.parts.items()]
    for part, span in named:
        inherited = "" if span.source.name == here else PurePath(span.source.name).stem
        yield Origin(part, _place(span), inherited)


def _edits(variant: tree.Variant) -> str:
    return "; ".join(format_statement(edit).strip() for edit in variant.edits)


# ---- what can be dropped


def _drops(resolved: ResolvedObjective) -> Iterator[DropEffect]:
    everything = [target for target in targets(resolved.flat) if target.family != "param"]
    names = Counter(target.name for target in everything)
    paths = Counter(target.path for target in everything)
    for target in neutral_targets(resolved.flat, resolved.used):
        # Without its last reduction, for one, it is no objective any more.
        if paths[target.path] == 1 and dropped(resolved, target) is not None:
            name = target.name if names[target.name] == 1 else target.path
            yield DropEffect(name, _effect(target, resolved))


def _effect(target: Target, resolved: ResolvedObjective) -> str:
    """What dropping a target does."""
    match target.family:
        case "let":
            neutral = resolved.flat.lets[target.name].neutral
            assert neutral is not None
            return f"{target.name} becomes {format_expression(neutral)}"
        case "stage":
            return f"`{target.owner}` goes on without this stage"
    return PART_WORDS[target.word].dropped
