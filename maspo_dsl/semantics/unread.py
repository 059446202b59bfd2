"""Names that nothing reads: one's own is a mistake, an inherited one just vanishes."""

from __future__ import annotations

from collections.abc import Mapping

from maspo_dsl.language.diagnostics import nearest
from maspo_dsl.semantics.binding import setting_span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.flat import Flat

# Mistakes after which every place that reads a name is still understood.
_HIDE_NOTHING = frozenset(
    {
        "out-of-domain",
        "empty-interval",
        "no-neutral",
        "not-droppable",
        "not-a-stage",
        "unknown-target",
        "unknown-warning",
    }
)


def report_unread(
    flat: Flat, read: frozenset[str], params: Mapping[str, object], report: DiagnosticCollector
) -> None:
    """Report every own declaration that nothing reads, and every value set for a parameter that vanished.

    After other mistakes a name may only seem unread, because the place that reads it was not understood; then
    nothing is said of it.
    """
    if any(found.severity == "error" and found.code not in _HIDE_NOTHING for found in report.diagnostics):
        return
    declared = {
        "param": {name: parameter.span for name, parameter in flat.params.items()},
        "let": {name: let.name.span for name, let in flat.lets.items()},
        "def": {name: definition.name.span for name, definition in flat.defs.items()},
        "input": {name: given.name.span for name, given in flat.inputs.items()},
        "scope": {name: declared.name.span for name, declared in flat.scopes.items()},
        "teacher": {name: given.name.span for name, given in flat.teachers.items()},
        "memory": {name: part.name.span for name, (part, _) in flat.memories.items()},
    }
    for family, names in declared.items():
        for name, span in names.items():
            # A memory that was dropped is a `let`.
            if name not in read and not {(family, name), ("memory", name)} & flat.inherited:
                meant = nearest(name, [x for x in names if x in read and (family, x) in flat.inherited])
                hint = f"did you mean `{meant}`?" if meant else "drop the line, or use the name"
                report.error("unread-name", f"nothing reads the {family} `{name}`", span, hint)
    for name, value in params.items():
        if name in flat.params and name not in read:
            message = f"{flat.header.name.text} does not read its inherited parameter `{name}`"
            shown = number_text(value) if isinstance(value, float) else value
            report.error("unread-name", message, setting_span(name, shown), "it has no effect here")
