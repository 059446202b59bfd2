"""What a grid starts from: the base as a point of its own, its family, and the files that points extend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from maspo_dsl.ablation.changes import variant_edits
from maspo_dsl.ablation.point import Candidate, identifier
from maspo_dsl.language.naming import unused_name
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.resolve import find_source, resolve, split_variant


@dataclass(frozen=True)
class Base:
    """The base of a grid. `beside` are files that it extends and that are no points, by name."""

    candidate: Candidate
    beside: Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """The base resolved, its plain ancestor if it has one, and its variants, each as a flat spec."""

    base: ResolvedObjective
    ancestor: Flat | None
    variants: Mapping[str, Flat]


def read_base(spec: str, params: Mapping[str, float]) -> Base:
    """The base of a shipped name, a path or NAME@VARIANT, with values that hold for every point.

    Raises SpecError: it does not check, or a value cannot be used.
    """
    name, variant = split_variant(spec)
    source, folder = find_source(name)
    plain = resolve(source, folder)
    resolve(source, folder, params=params, variant=variant)
    beside = dict(_local_bases(plain, folder))
    if variant is None and not params:
        return Base(
            Candidate(plain.name, "base", plain.name, f"{plain.name} as it is", text=source.text), beside
        )
    if folder is not None:
        beside[f"{plain.name}.obj"] = source.text
    derived = _derived(plain, variant, params)
    name = unused_name(derived.name, {Path(file).stem for file in beside})
    return Base(replace(derived, name=name), beside)


def read_family(base: Base, folder: Path) -> Family:
    """The base as it stands in a folder with its files. Raises SpecError."""
    path = folder / f"{base.candidate.name}.obj"
    source = Source(path.name, path.read_text(encoding="utf-8"))
    resolved = resolve(source, folder)
    variants = {name: resolve(source, folder, variant=name).flat for name in resolved.flat.variants}
    return Family(resolved, _ancestor(resolved, folder), variants)


def _derived(plain: ResolvedObjective, variant: str | None, params: Mapping[str, float]) -> Candidate:
    edits = () if variant is None else variant_edits(plain, variant, unset=frozenset(params))
    values = {name: number_text(float(value)) for name, value in params.items()}
    lines = tuple(f"param {name} = {value}" for name, value in values.items())
    words = [word for pair in values.items() for word in pair]
    changes = [f"variant {variant}"] if variant else []
    changes += [f"{name} = {value}" for name, value in values.items()]
    name = identifier(plain.name, variant or "", *words)
    return Candidate(name, "base", plain.name, f"{plain.name} with {', '.join(changes)}", edits + lines)


def _local_bases(objective: ResolvedObjective, folder: Path | None) -> Iterator[tuple[str, str]]:
    """Files beside a user's spec that it extends, at whatever distance."""
    if folder is None:
        return
    for name in objective.lineage:
        path = folder / f"{name}.obj"
        if path.is_file():
            yield path.name, path.read_text(encoding="utf-8")


def _ancestor(objective: ResolvedObjective, folder: Path) -> Flat | None:
    """The objective that the base descends from and that extends nothing itself."""
    if not objective.lineage:
        return None
    path = folder / f"{objective.lineage[0]}.obj"
    source, beside = find_source(path if path.is_file() else objective.lineage[0])
    return resolve(source, beside).flat
