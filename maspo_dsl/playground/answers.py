"""Answers to a page about one text, each a function from JSON to JSON. Nothing but specs is read, and nothing is run.

A text may extend what ships, and nothing else: there is no folder beside it. `params` sets values of parameters.
Answers that need an objective raise SpecError for a text that is none; `answer` says so as data. Needs no torch, and
no more of numpy than a page can have (web/python).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from difflib import unified_diff
from functools import lru_cache
from typing import Any

from maspo_dsl.analysis.weight_curves import OLDS, RATIO, weight_curves
from maspo_dsl.comparison.parts import part_differences
from maspo_dsl.editor.completion import completions
from maspo_dsl.editor.document import Document
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.keywords import RESERVED_WORDS
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source, Span
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.binding import BoundParameter, allowed_values
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.resolve import examine, resolve
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.shipped import library_definitions, shipped_names, shipped_source
from maspo_dsl.semantics.vocabulary import PRIMITIVES

NAME = "playground.obj"
"""What messages call the text."""
_STEPS = 50
Json = dict[str, Any]
Params = Mapping[str, float]


def answer(question: str, given: str) -> str:
    """The answer to a question by name, from a JSON object of its arguments, as JSON.

    `{"answer": …}`, or `{"diagnostics": […]}` for a text that is no objective.
    """
    arguments = json.loads(given)
    text = Source(NAME, str(arguments.get("text", "")))
    try:
        found: Json = {"answer": QUESTIONS[question](**arguments)}
    except SpecError as error:
        found = {"diagnostics": [_finding(each, text) for each in error.diagnostics]}
    except RecursionError:
        message = "this spec is nested too deeply; name parts of it with `let`"
        found = {"diagnostics": [_finding(Diagnostic("too-deep", message, Span(text, 0, 0)), text)]}
    return json.dumps(found, allow_nan=False)


def shipped() -> list[Json]:
    """What ships: names, meanings, texts."""
    found = []
    for name in shipped_names():
        source = shipped_source(name)
        meaning = parse_objective(source).header.doc or ""
        found.append({"name": name, "meaning": meaning, "text": source.text})
    return found


def words() -> list[Json]:
    """What a spec can say: each word, its sort, and its meaning in a line."""
    rows = [
        *(("keyword", word, "") for word in sorted(RESERVED_WORDS)),
        *(("part", word, row.doc) for word, row in PART_WORDS.items()),
        *(("scope", word, row.meaning) for word, row in SCOPES.items()),
        *(("quantity", word, row.doc) for word, row in QUANTITIES.items()),
        *(("primitive", word, meaning) for word, meaning in PRIMITIVES.items()),
        *(("def", word, row.doc or "") for word, row in library_definitions().items()),
    ]
    return [{"sort": sort, "word": word, "meaning": meaning} for sort, word, meaning in rows]


def complete(text: str, at: int) -> list[Json]:
    """The words that may stand at a place, those of the spec first; places count UTF-16 units."""
    offset = len(text.encode("utf-16-le", "surrogatepass")[: 2 * at].decode("utf-16-le", "replace"))
    return [
        {"sort": word.sort, "word": word.text, "meaning": word.meaning}
        for word in completions(Document(Source(NAME, text)), offset)
    ]


def errors(text: str) -> list[Json]:
    """The mistakes of a text, in its order; positions count UTF-16 units, as editors in a browser do."""
    source = Source(NAME, text)
    _, found = examine(source)
    return [_finding(each, source) for each in found]


def warnings(text: str) -> list[Json]:
    """What a reader would ask about an objective; takes seconds where numpy is not compiled."""
    objective = _objective(text, {})
    return [_finding(each, objective.resolved.source) for each in objective.warnings]


def formatted(text: str) -> str:
    """The text in the canonical layout."""
    return format_objective(parse_objective(Source(NAME, text)))


def summary(text: str, params: Params) -> Json:
    """What an objective is: its hash, lineage, what others do otherwise, its parameters, its formula in LaTeX."""
    resolved = _objective(text, params).resolved
    written = latex_formula(resolved)
    return {
        "name": resolved.name,
        "meaning": resolved.doc,
        "hash": resolved.hash,
        "lineage": [resolved.name, *reversed(resolved.lineage)],
        "sources": list(resolved.sources),
        "differs": list(resolved.differs),
        "parameters": [
            _parameter(bound, resolved)
            for bound in resolved.parameters.values()
            if bound.name in resolved.read
        ],
        "formula": "\n".join(latex_lines(written)),
        "helpers": [asdict(helper) for helper in written.helpers],
    }


def curves(text: str, params: Params, olds: Sequence[float] = OLDS) -> Json:
    """The gradient weight of a token alone in its window, over its ratio: a curve for each sign and old probability.

    `why` says in a sentence why there are none, `note` what they leave out. A value is null where
    the policy would be more probable than 1.
    """
    objective = _objective(text, params)
    found = weight_curves(objective.resolved, objective.graph, olds=olds, steps=_STEPS)
    over_ratio = found.along(RATIO)
    return {
        "ratios": list(over_ratio[0].places) if over_ratio else [],
        "curves": [
            {
                "advantage": int(curve.at["A"]),
                "old": curve.at["old"],
                "weights": [_number(weight) for weight in curve.weights],
            }
            for curve in over_ratio
        ],
        "why": found.why,
        "note": "; ".join(found.notes),
    }


def torch(text: str, params: Params) -> str:
    """One file that computes it, its only import torch."""
    return _objective(text, params).torch_source()


def difference(text: str, params: Params, other: str) -> Json:
    """What an objective says otherwise than a shipped one: part by part, and as lines of two flat files."""
    one, base = _objective(text, params), Objective(resolve(shipped_source(other)))
    before, after = (each.resolved.text.splitlines() for each in (base, one))
    return {
        "same": one.hash == base.hash,
        "parts": [asdict(each) for each in part_differences(base, one)],
        "lines": list(unified_diff(before, after, other, one.name, lineterm="", n=2))[2:],
        "notes": [f"{each.name}: {note}" for each in (base, one) for note in each.resolved.differs],
    }


QUESTIONS: dict[str, Callable[..., Any]] = {
    question.__name__: question
    for question in (
        shipped,
        words,
        complete,
        errors,
        warnings,
        formatted,
        summary,
        curves,
        torch,
        difference,
    )
}
"""Every question that `answer` knows."""


def _objective(text: str, params: Params) -> Objective:
    return _resolved(text, tuple(params.items()))


# A page asks several things of one text with the same values.
@lru_cache(maxsize=4)
def _resolved(text: str, params: tuple[tuple[str, float], ...]) -> Objective:
    return Objective(resolve(Source(NAME, text), params=dict(params)))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _parameter(bound: BoundParameter, resolved: ResolvedObjective) -> Json:
    """A parameter with the numbers it may be; null for an end that there is not."""
    values = allowed_values(bound.declared, resolved.flat, resolved.parameters)
    return {
        "name": bound.name,
        "value": bound.value,
        "meaning": bound.declared.doc or "",
        "domain": "any" if values is None else str(values),
        "low": None if values is None else _number(values.low),
        "high": None if values is None else _number(values.high),
        "choices": [] if values is None else list(values.choices),
    }


def _finding(found: Diagnostic, text: Source) -> Json:
    """A mistake or warning with its place in the text; of another file, the first line, and the file by name."""
    here = found.span.source.text == text.text
    place = (
        found.span
        if here
        else Span(text, 0, min(text.text.find("\n") % (len(text.text) + 1), len(text.text)))
    )
    start, end = (_utf16(text.text[:offset]) for offset in (place.start, place.end))
    return {
        "from": start,
        "to": end,
        "line": place.line,
        "column": place.column,
        "severity": found.severity,
        "code": found.code,
        "message": found.message if here else f"{found.file}:{found.line}: {found.message}",
        "label": found.label,
        "hint": found.hint,
    }


def _utf16(text: str) -> int:
    """How many units a browser counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
