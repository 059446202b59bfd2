"""What must hold for any bytes: read, parsed, formatted, checked, built and emitted, or refused in words."""

import tempfile
import time
from functools import cache
from pathlib import Path

from maspo_dsl.analysis.diagnosis import diagnose
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.formatter import format_library, format_objective
from maspo_dsl.language.parser import parse_library, parse_objective, parse_objective_partial
from maspo_dsl.language.reading import read_source
from maspo_dsl.language.rendering import render, to_json
from maspo_dsl.language.source import Source
from maspo_dsl.objective import Objective
from maspo_dsl.semantics import resolve as semantics
from maspo_dsl.semantics.objective import ResolvedObjective

SLOW = 10.0
"""Seconds of computing that no input of a few kilobytes may take."""


def examine(content: bytes, *, thorough: bool = True) -> ResolvedObjective | None:
    """Raises whatever should not happen; gives the objective that the bytes are, if they are one.

    What is not `thorough` leaves out warnings and emitted source, which take most of the time.
    """
    started = time.process_time()
    try:
        source = read(content)
    except SpecError as error:
        judged(error.diagnostics)
        return None
    examine_library(source)
    resolved = examine_objective(source, thorough)
    assert time.process_time() - started < SLOW, f"took {time.process_time() - started:.1f} s"
    return resolved


def read(content: bytes) -> Source:
    """The bytes as the text of a file."""
    path = folder() / "any.obj"
    path.write_bytes(content)
    return read_source(path)


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="maspo-fuzz-"))


def judged(diagnostics: list[Diagnostic]) -> None:
    """Mistakes are at places of their files, have a code and a sentence, and can be shown."""
    for found in diagnostics:
        assert found.message and found.code
        assert 0 <= found.span.start <= found.span.end <= len(found.span.source.text), found
        assert found.line >= 1 and found.column >= 1
        for span, words in found.related:
            assert words and 0 <= span.start <= span.end <= len(span.source.text), found
    assert render(diagnostics) or not diagnostics
    assert len(to_json(diagnostics)) == len(diagnostics)


def examine_library(source: Source) -> None:
    """What parses as a library is printed as the same library."""
    try:
        library = parse_library(source)
    except SpecError as error:
        assert error.diagnostics
        judged(error.diagnostics)
        return
    text = format_library(library)
    if library.definitions or library.doc is not None:
        again = parse_library(Source("again.obj", text))
        assert again == library
        assert format_library(again) == text


def examine_objective(source: Source, thorough: bool) -> ResolvedObjective | None:
    """What parses prints as itself; what has no error becomes source that compiles."""
    tree, mistakes = parse_objective_partial(source)
    judged(mistakes)
    assert tree is not None or mistakes
    if tree is not None and not mistakes:
        text = format_objective(tree)
        again = parse_objective(Source("again.obj", text))
        assert again == tree
        assert format_objective(again) == text
    _, found = semantics.examine(source)
    judged(found)
    errors = {(d.code, d.message, d.span) for d in found}
    try:
        resolved = semantics.resolve(source)
    except SpecError as error:
        assert {(d.code, d.message, d.span) for d in error.diagnostics} == errors
        return None
    assert not errors
    built(resolved, thorough)
    for variant in resolved.flat.variants:
        built(semantics.resolve(source, variant=variant), thorough)
    if thorough:
        judged(diagnose(source))
    return resolved


def built(resolved: ResolvedObjective, thorough: bool) -> None:
    """The flat text is the same objective; it has a graph, and the emitted source is Python."""
    again = semantics.resolve(Source("flat.obj", resolved.text))
    assert (again.hash, again.text) == (resolved.hash, resolved.text)
    objective = Objective(resolved)
    assert objective.graph.outputs
    if thorough:
        compile(objective.torch_source(), "emitted.py", "exec")
