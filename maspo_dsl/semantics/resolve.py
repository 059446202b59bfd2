"""Text to objective: inheritance, edits, values, types; every mistake of every file at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import Diagnostic, SpecError, did_you_mean
from maspo_dsl.language.parser import names_on_broken_lines, parse_objective_partial
from maspo_dsl.language.reading import read_source
from maspo_dsl.language.source import Source, Span
from maspo_dsl.language.walking import names_in
from maspo_dsl.semantics.assemble import assemble
from maspo_dsl.semantics.binding import bind
from maspo_dsl.semantics.collector import DiagnosticCollector, in_source_order
from maspo_dsl.semantics.flat import Flat, Parameter
from maspo_dsl.semantics.layering import Layer
from maspo_dsl.semantics.objective import ResolvedObjective, Settings
from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.shipped import library_definitions, shipped_names, shipped_source
from maspo_dsl.semantics.unread import report_unread

MAX_LINEAGE = 50
_MISSING = frozenset({"missing-slot", "unknown-name", "unknown-function", "unknown-target", "unread-name"})


def find_source(spec: str | Path) -> tuple[Source, Path | None]:
    """The text that a shipped name or a path means, and its folder when it is a file.

    Raises SpecError: no such objective (with the nearest name), no such file, not a text.
    """
    text = str(spec)
    is_path = isinstance(spec, Path) or "/" in text or text.endswith(".obj") or Path(text).is_file()
    if not is_path and text in shipped_names():
        return shipped_source(text), None
    if is_path:
        path = Path(text)
        return read_source(path), path.parent
    span = Span(Source("<command line>", text), 0, len(text))
    message = f"no objective is named `{text}`, and there is no such file"
    raise SpecError([Diagnostic("unknown-objective", message, span, did_you_mean(text, shipped_names()))])


def split_variant(spec: str | Path) -> tuple[str | Path, str | None]:
    """`NAME@VARIANT` in its two parts; what is a file keeps its name whole."""
    match = re.fullmatch(r"(.+)@([A-Za-z_]\w*)", str(spec))
    if match is None or Path(str(spec)).exists():
        return spec, None
    return match[1], match[2]


def resolve(
    source: Source,
    folder: Path | None = None,
    *,
    params: Mapping[str, object] | None = None,
    run: Mapping[str, float] | None = None,
    variant: str | None = None,
) -> ResolvedObjective:
    """The objective that a text defines, with `params` set and `run` constants bound.

    `extends` looks in `folder`, then among the shipped. `variant` applies one of the spec's own variants.
    Raises SpecError with every mistake.
    """
    objective, report = _attempt(source, folder, params or {}, run or {}, variant)
    report.raise_errors()
    assert objective is not None
    return objective


def examine(
    source: Source, folder: Path | None = None, variant: str | None = None
) -> tuple[ResolvedObjective | None, list[Diagnostic]]:
    """The objective of a text, or of one of its variants, and every mistake in source order.

    Without `variant`, mistakes of all its variants and sweeps are there too. None where there is no objective.
    """
    objective, report = _attempt(source, folder, {}, {}, variant)
    return objective, in_source_order(report.diagnostics)


def outline(source: Source, folder: Path | None = None) -> Flat | None:
    """What of a text holds after inheritance and edits, mistakes aside; None where there is no first line."""
    return _flatten(source, folder, DiagnosticCollector(), ())


def _attempt(
    source: Source,
    folder: Path | None,
    params: Mapping[str, object],
    run: Mapping[str, float],
    variant: str | None,
) -> tuple[ResolvedObjective | None, DiagnosticCollector]:
    report = DiagnosticCollector()
    flat = _flatten(source, folder, report, ())
    if flat is None:
        return None, report
    broken = names_on_broken_lines(source, report.diagnostics)
    if variant is not None:
        flat = _apply_variant(flat, variant, report)
    objective = _complete(source, flat, params, run, report)
    if objective is not None:
        objective = replace(objective, settings=Settings(dict(params), dict(run), variant))
    if variant is None:
        _check_variants(flat, report)
        _check_sweeps(flat, report)
    report.diagnostics = [found for found in report.diagnostics if not _follows_from(found, broken)]
    return objective, report


def _follows_from(found: Diagnostic, broken: frozenset[str]) -> bool:
    """Whether something is only missing because the line that would have it has a mistake."""
    return found.code in _MISSING and any(f"`{name}`" in found.message for name in broken)


def _complete(
    source: Source,
    flat: Flat,
    params: Mapping[str, object],
    run: Mapping[str, float],
    report: DiagnosticCollector,
) -> ResolvedObjective | None:
    bound = bind(flat, params, run, report)
    parts, used = assemble(flat, bound, library_definitions(), report)
    read = _with_values(flat, used)
    report_unread(flat, read, params, report)
    if parts is None or report.failed:
        return None
    return ResolvedObjective(source, _without_idle(flat, parts, used), bound, parts, read, used)


def _without_idle(flat: Flat, parts: Parts, used: frozenset[str]) -> Flat:
    """Without the inherited memories that nothing reads, and the slots that a loss of penalties does not need."""
    unread = {name: part for name, (part, _) in flat.memories.items() if name not in used}
    kept = {key: part for key, part in flat.parts.items() if part is not unread.get(key[1])}
    slots = {word: slot for word, slot in flat.slots.items() if parts.get(word) or flat.is_none(word)}
    return replace(flat, parts=kept, slots=slots)


def _with_values(flat: Flat, used: frozenset[str]) -> frozenset[str]:
    """A parameter is read, too, when what is read names it: a default, an interval, a start."""
    grown, fresh = set(used), set(used)
    declared: dict[str, Parameter | tree.Input] = {**flat.params, **flat.inputs}
    kept = [kept for name, (_, kept) in flat.memories.items() if name in used]
    starts = {name for one in kept for name in names_in(one.start)}
    fresh |= starts & set(flat.params)
    grown |= fresh
    while fresh:
        named = {other for name in fresh if name in declared for other in _names_of(declared[name])}
        fresh = (named & set(flat.params)) - grown
        grown |= fresh
    return frozenset(grown)


def _names_of(declared: Parameter | tree.Input) -> set[str]:
    """Names in a parameter's default, and in what it or an input may be."""
    written = (declared.default if isinstance(declared, Parameter) else None, declared.domain)
    return {name for node in written if node is not None for name in names_in(node)}


# ---- inheritance


def base_source(name: str, folder: Path | None = None) -> Source | None:
    """The text that `extends NAME` means beside files of a folder; None where there is none. Raises SpecError."""
    beside = folder / f"{name}.obj" if folder is not None else None
    if beside is not None and beside.is_file():
        return read_source(beside)
    return shipped_source(name) if name in shipped_names() else None


def _flatten(
    source: Source, folder: Path | None, report: DiagnosticCollector, above: tuple[str, ...]
) -> Flat | None:
    """The flat spec of a text laid over that of its base; None when there is nothing to go on with."""
    objective, mistakes = _parsed_base(source) if above else parse_objective_partial(source)
    report.diagnostics.extend(mistakes)
    if objective is None:
        return None
    header = objective.header
    if header.extends is None:
        flat: Flat | None = Flat(header)
    else:
        flat = _base(header.extends, source, folder, report, above)
        flat = None if flat is None else flat.as_base(header)
    if flat is None:
        _without_base(objective, report)
        return None
    return Layer(flat, library_definitions(), report).apply(objective.statements)


@lru_cache(maxsize=64)
def _parsed_base(source: Source) -> tuple[tree.ObjectiveTree | None, list[Diagnostic]]:
    """A base, read once however many objectives extend it."""
    return parse_objective_partial(source)


def _without_base(objective: tree.ObjectiveTree, report: DiagnosticCollector) -> None:
    """What can be said of a file whose base is not there: mistakes in the form of its statements."""
    alone = DiagnosticCollector()
    Layer(Flat(objective.header), library_definitions(), alone).apply(objective.statements)
    edited = {"unknown-target", "not-a-stage", "not-droppable", "ambiguous-target", "no-neutral"}
    report.diagnostics.extend(found for found in alone.diagnostics if found.code not in edited)


def _base(
    name: tree.Identifier,
    source: Source,
    folder: Path | None,
    report: DiagnosticCollector,
    above: tuple[str, ...],
) -> Flat | None:
    here = (*above, source.name)
    beside = folder / f"{name.text}.obj" if folder is not None else None
    if beside is not None and beside.is_file() and str(beside) not in here and len(here) < MAX_LINEAGE:
        return _flatten(read_source(beside), folder, report, here)
    if beside is not None and str(beside) in here and name.text not in shipped_names():
        chain = " → ".join(Path(step).stem for step in (*here[here.index(str(beside)) :], str(beside)))
        report.error("cyclic-extends", f"`{name.text}` extends itself: {chain}", name.span)
        return None
    if name.text not in shipped_names():
        candidates = [p.stem for p in folder.glob("*.obj")] if folder is not None else []
        hint = did_you_mean(name.text, [*candidates, *shipped_names()])
        report.error("unknown-base", f"no objective is named `{name.text}`", name.span, hint)
        return None
    return _flatten(shipped_source(name.text), None, report, here)


# ---- variants and sweeps


def _apply_variant(flat: Flat, variant: str, report: DiagnosticCollector) -> Flat:
    header = flat.header
    if variant not in flat.variants:
        hint = did_you_mean(variant, flat.variants) if flat.variants else "it has no variants"
        report.error(
            "unknown-variant", f"`{header.name.text}` has no variant `{variant}`", header.name.span, hint
        )
        return flat
    statement = flat.variants[variant]
    name = tree.Identifier(f"{header.name.text}_{variant}", statement.name.span)
    base = flat.as_base(replace(header, name=name))
    return Layer(base, library_definitions(), report).apply(statement.edits)


def _check_variants(base: Flat, report: DiagnosticCollector) -> None:
    """Mistakes of the variants; of a spec that has some itself, only those in the variant's own text."""
    failed = report.failed
    for name, statement in base.variants.items():
        inner = DiagnosticCollector()
        flat = _apply_variant(base, name, inner)
        bound = bind(flat, {}, {}, inner)
        _, used = assemble(flat, bound, library_definitions(), inner)
        report_unread(flat, _with_values(flat, used), {}, inner)
        for found in inner.diagnostics:
            if found not in report.diagnostics and (not failed or found.span.within(statement.span)):
                report.diagnostics.append(found)


def _check_sweeps(flat: Flat, report: DiagnosticCollector) -> None:
    for name, statement in flat.sweeps.items():
        if name not in flat.params:
            hint = did_you_mean(name, flat.params)
            report.error("unknown-param", f"no parameter is named `{name}`", statement.name.span, hint)
            continue
        declared = flat.params[name]
        for value in statement.values:
            swept = replace(declared, default=value, bind=None)
            trial = replace(flat, params={**flat.params, name: swept})
            bind(trial, {}, {}, report)
