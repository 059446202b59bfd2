"""What a shell completes: objectives and files, their variants, parameters and keys. Never an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from maspo_dsl.language.diagnostics import SpecError

Completion = tuple[str, str]


def complete_spec(incomplete: str) -> list[Completion]:
    """Shipped names, variants behind `@`, .obj files and folders."""
    return [found for found in _specs(incomplete) if found[0].startswith(incomplete)]


def complete_override(ctx: typer.Context, incomplete: str) -> list[Completion]:
    """`params.NAME=` of the spec that stands before, and constants of a run."""
    from maspo_dsl.cli.overrides import BOUND_KEYS

    keys = [*_parameters(str(ctx.params.get("spec") or "")), *((f"{key}=", "") for key in BOUND_KEYS)]
    return [found for found in keys if found[0].startswith(incomplete)]


def complete_training(ctx: typer.Context, incomplete: str) -> list[Completion]:
    """A spec, then `params.NAME=` of it and every key of a run."""
    given = [str(each) for each in ctx.params.get("arguments") or () if each != incomplete]
    specs = [each for each in given if "=" not in each]
    if not specs:
        return complete_spec(incomplete)
    from maspo_dsl.trainers.config import known_keys

    keys = [*_parameters(specs[0]), *((f"{key}=", "") for key in sorted(known_keys().paths))]
    return [found for found in keys if found[0].startswith(incomplete)]


def _specs(incomplete: str) -> Iterator[Completion]:
    from maspo_dsl.editor.words import shipped_words

    name, at, _ = incomplete.partition("@")
    if at:
        yield from ((f"{name}@{variant}", "a variant") for variant in _variants(name))
        return
    yield from ((word.text, word.meaning) for word in shipped_words())
    folder = incomplete[: incomplete.rfind("/") + 1]
    try:
        beside = sorted(Path(folder or ".").iterdir())
    except OSError:
        return
    for path in beside:
        if path.suffix == ".obj":
            yield f"{folder}{path.name}", ""
        elif path.is_dir() and not path.name.startswith("."):
            yield f"{folder}{path.name}/", ""


def _variants(spec: str) -> list[str]:
    import maspo_dsl

    try:
        return list(maspo_dsl.load(spec).resolved.flat.variants)
    except SpecError:
        return []


def _parameters(spec: str) -> list[Completion]:
    import maspo_dsl

    try:
        read = maspo_dsl.load(spec).resolved
    except SpecError:
        return []
    bound = [each for each in read.parameters.values() if each.name in read.read]
    return [(f"params.{each.name}=", each.declared.doc or "") for each in bound]
