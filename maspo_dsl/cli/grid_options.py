"""Options of `maspo-dsl ablate` as they are typed, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from maspo_dsl.cli.output import InputError


def default_folder(spec: str) -> Path:
    """Where the grid of a spec is written if nobody says."""
    from maspo_dsl.semantics.resolve import split_variant

    name, variant = split_variant(spec)
    stem = Path(name).stem.replace("@", "_")
    return Path("grids") / (f"{stem}_{variant}" if variant else stem)


def factors(options: Sequence[str], option: str) -> dict[str, tuple[str, ...]]:
    """`NAME=VALUE,VALUE` options as a mapping. Raises InputError: no `=`, an empty value, a name given twice."""
    found: dict[str, tuple[str, ...]] = {}
    for text in options:
        name, equals, rest = text.partition("=")
        values = tuple(split_outside_brackets(rest))
        if not equals or not name.strip() or not all(values):
            raise InputError(f"{option} {text}: expected NAME=VALUE,VALUE")
        if name.strip() in found:
            raise InputError(f"{option} {name.strip()} is given twice; name all its values at once")
        found[name.strip()] = values
    return found


def others(options: Sequence[str]) -> tuple[str, ...]:
    """The names of all `--against`. Raises InputError: one is empty, or given twice."""
    names: list[str] = []
    for text in options:
        for name in split_outside_brackets(text):
            if not name:
                raise InputError(f"--against {text!r}: expected NAME,NAME")
            if name in names:
                raise InputError(f"--against {name} is given twice")
            names.append(name)
    return tuple(names)


def split_outside_brackets(text: str) -> Iterator[str]:
    """The pieces between commas, leaving alone commas inside brackets."""
    depth, piece = 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            yield piece.strip()
            piece = ""
        else:
            piece += letter
    yield piece.strip()


def split_params(overrides: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Values of parameters, which become part of every point, and the overrides of the runs."""
    from maspo_dsl.cli.overrides import read

    params = [text for text in overrides if text.startswith("params.")]
    return read(params)[0], [text for text in overrides if not text.startswith("params.")]
