"""A program of one's own, run for every point and seed of a grid in place of `maspo-dsl train`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.language.diagnostics import did_you_mean

# What a command may name in braces, and what stands there in a run's own.
PLACEHOLDERS = {
    "file": "the point's .obj file",
    "name": "the point's name",
    "seed": "the seed of the run",
    "run": "the folder of the run, where the program writes its metrics",
}
_BRACES = re.compile(r"\{\{|\}\}|\{(\w+)\}")


@dataclass(frozen=True)
class Program:
    """A command as its words, placeholders and all; no shell reads it."""

    words: tuple[str, ...]

    def command(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The words of one run's command; `values` has a text for each placeholder."""
        return tuple(
            _BRACES.sub(lambda found: values[found[1]] if found[1] else found[0][0], word)
            for word in self.words
        )


def read_program(text: str, seeds: int) -> Program:
    """The program of a command line as a shell would split it; `{{` and `}}` are braces.

    Raises GridError: it cannot be split, names what no run has, or leaves out what tells its runs apart.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise GridError(f"--command {text}: {str(error).lower()}") from None
    if not words:
        raise GridError("--command names no program")
    named = {found[1] for word in words for found in _BRACES.finditer(word)} - {None}
    for name in sorted(named - PLACEHOLDERS.keys()):
        near = did_you_mean(name, tuple(PLACEHOLDERS))
        raise GridError(
            f"--command: no run has a `{{{name}}}`; {near}, or write {{{{{name}}}}} for the braces"
        )
    needed = ("file", "run", "seed") if seeds > 1 else ("file", "run")
    for name in needed:
        if name not in named:
            raise GridError(
                f"--command names no {{{name}}}, {PLACEHOLDERS[name]}: its runs would be the same"
            )
    return Program(words)
