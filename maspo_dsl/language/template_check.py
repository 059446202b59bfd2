"""What is wrong with the notation of a `def`: LaTeX that cannot be read, and names that are none of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maspo_dsl.language.diagnostics import Diagnostic, did_you_mean
from maspo_dsl.language.latex_pieces import TemplateError
from maspo_dsl.language.source import Span
from maspo_dsl.language.template import OptionalPart, Place, TemplatePart, read_template
from maspo_dsl.language.tree import DefParameter, Text


def notation_mistake(notation: Text, parameters: Sequence[DefParameter]) -> Diagnostic | None:
    """The first mistake in a notation, with its place in the text."""
    try:
        template = read_template(notation.value)
    except TemplateError as error:
        place = _inside(notation, error.start, error.length)
        return Diagnostic("broken-notation", error.message, place, error.hint)
    return next(_mistakes(template.parts, notation, parameters), None)


def _mistakes(
    parts: Sequence[TemplatePart], notation: Text, parameters: Sequence[DefParameter]
) -> Iterator[Diagnostic]:
    names = [parameter.name.text for parameter in parameters]
    defaulted = {parameter.name.text for parameter in parameters if parameter.default is not None}
    for part in parts:
        if isinstance(part, Place) and part.parameter not in names:
            start = notation.value.index(part.parameter, part.start)
            span = _inside(notation, start, len(part.parameter))
            hint = did_you_mean(part.parameter, names) if names else "this `def` has no parameters"
            yield Diagnostic("unknown-placeholder", f"no parameter is named `{part.parameter}`", span, hint)
        if isinstance(part, OptionalPart):
            yield from _mistakes(part.parts, notation, parameters)
            inside = {place.parameter for place in part.parts if isinstance(place, Place)}
            if not inside & defaulted:
                message = "nothing in this `$[ … ]` has a default, so it would never be left out"
                yield Diagnostic("broken-notation", message, _inside(notation, part.start, 2))


def _inside(notation: Text, start: int, length: int) -> Span:
    """A place in the text, whose quotation mark comes first."""
    first = notation.span.start + 1 + start
    return Span(notation.span.source, first, first + length)
