"""A collector of diagnostics, so that every mistake of a spec is reported at once."""

from __future__ import annotations

from collections.abc import Iterable

from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.source import Span


class DiagnosticCollector:
    """Errors and warnings found so far."""

    def __init__(self, diagnostics: Iterable[Diagnostic] = ()) -> None:
        self.diagnostics: list[Diagnostic] = list(diagnostics)

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        hint: str = "",
        label: str = "",
        related: tuple[tuple[Span, str], ...] = (),
    ) -> None:
        """Record a mistake; one of a kind at one place is enough."""
        if not any(found.code == code and found.span == span for found in self.diagnostics):
            self.diagnostics.append(Diagnostic(code, message, span, hint, label, "error", related))

    @property
    def failed(self) -> bool:
        """Whether any error was found."""
        return any(found.severity == "error" for found in self.diagnostics)

    def raise_errors(self) -> None:
        """Raise SpecError if any error was found, in the order of the source."""
        errors = [found for found in self.diagnostics if found.severity == "error"]
        if errors:
            raise SpecError(in_source_order(errors))


def in_source_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sorted by file, then place."""
    return sorted(diagnostics, key=lambda found: (found.file, found.span.start, found.code))
