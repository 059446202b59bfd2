"""From the parser's complaint to a diagnostic."""

from __future__ import annotations

from lark import UnexpectedInput

from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.layout import Layout
from maspo_dsl.language.source import Source, Span


def explain(error: UnexpectedInput, source: Source, layout: Layout, start: str) -> Diagnostic:
    """One syntax error."""
    position = error.pos_in_stream or 0
    return Diagnostic("syntax", f"unexpected {source.text[position : position + 1]!r}", Span(source, position, position + 1))
