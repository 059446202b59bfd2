"""One point of a grid: a base, a few edits, and the sentence that says what is tested."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Of a kind that a reader of the grid asks for; `base` is what all others are compared with.
KINDS = ("base", "without", "ladder", "vary", "swap", "variant", "combined", "against")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Candidate:
    """A point that may turn out not to exist: `edits` are lines of a spec that extends `base`.

    `axes` are the factors of the point with their values as text, for tables and for judging which parameters are
    dead; `text` replaces the derived one for a point that is a file of its own.
    """

    name: str
    kind: str
    base: str
    doc: str
    edits: tuple[str, ...] = ()
    axes: tuple[tuple[str, str], ...] = ()
    text: str | None = None

    @property
    def spec(self) -> str:
        """The point as the text of an `.obj` file."""
        if self.text is not None:
            return self.text
        lines = [f"objective {self.name} extends {self.base}", f'"{self.doc}"', "", *self.edits]
        return "\n".join(lines).rstrip() + "\n"


def identifier(*words: str) -> str:
    """A name of a spec made of words and values: `maspo`, `alpha`, `0.15` is `maspo_alpha_0_15`."""
    parts = (re.sub(r"\W+", "_", word.replace("-", "m").replace("+", "")).strip("_") for word in words)
    return "_".join(part for part in parts if part)[:_LONGEST_NAME].rstrip("_")


def combined(name: str, kind: str, parts: list[Candidate]) -> Candidate:
    """Several changes of one base at once."""
    return Candidate(
        name,
        kind,
        parts[0].base,
        "; ".join(part.doc for part in parts),
        tuple(line for part in parts for line in part.edits),
        tuple(axis for part in parts for axis in part.axes),
    )
