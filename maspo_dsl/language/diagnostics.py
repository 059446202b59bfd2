"""A mistake, or a warning, as data: what, where, what was expected, the nearest right thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from maspo_dsl.language.source import Span

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True)
class Diagnostic:
    """One finding about one place of a spec.

    `code` is kebab-case and names the fault; `message` is one sentence; `label` stands beside the caret;
    `hint` says what to do; `related` are other places that matter, each with its own words.
    """

    code: str
    message: str
    span: Span
    hint: str = ""
    label: str = ""
    severity: Severity = "error"
    related: tuple[tuple[Span, str], ...] = ()

    @property
    def file(self) -> str:
        """Name of the source."""
        return self.span.source.name

    @property
    def line(self) -> int:
        """Line of the first character, from 1."""
        return self.span.line

    @property
    def column(self) -> int:
        """Column of the first character, from 1."""
        return self.span.column


class SpecError(Exception):
    """A spec cannot be used; `diagnostics` holds every mistake found, in source order."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Take every mistake, in source order; the exception's text has a line for each."""
        self.diagnostics = list(diagnostics)
        super().__init__(
            "\n".join(
                f"{d.file}:{d.line}:{d.column}: {d.message}" + (f"; {d.hint}" if d.hint else "")
                for d in self.diagnostics
            )
        )


def nearest(name: str, known: Iterable[str], closeness: float = 0.6) -> str | None:
    """The known name closest to a misspelt one, if any is close; letters in the wrong order are closest.

    `closeness` is the share of letters, from 0 to 1, that the two must have in common and in the same order.
    """
    candidates = list(known)
    swapped = [candidate for candidate in candidates if sorted(candidate) == sorted(name)]
    matches = get_close_matches(name, swapped or candidates, n=1, cutoff=closeness)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest known name, else the sorted list of all of them."""
    candidates = sorted(set(known))
    match = nearest(name, candidates)
    if match is not None:
        return f"did you mean `{match}`?"
    return f"known: {', '.join(candidates)}" if candidates else ""
