"""A warning as it is found, before it is asked whether the spec acknowledges it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.vocabulary import WARNINGS


@dataclass(frozen=True)
class Finding:
    """One warning. `place` may be a search for what is at fault, made only if the warning is given.

    `about` says what an inherited `allow` must be about, too, to cover it: which side of ratio 1, for one. Where it
    is empty, any `allow` of the code covers it.
    """

    code: str
    message: str
    place: Span | Callable[[], Span]
    hint: str = ""
    about: frozenset[str] = frozenset()

    def diagnostic(self) -> Diagnostic:
        """The warning as it is shown; without a hint of its own it says why there is such a warning."""
        span = self.place if isinstance(self.place, Span) else self.place()
        return Diagnostic(self.code, self.message, span, self.hint or WARNINGS[self.code], severity="warning")
