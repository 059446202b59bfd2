"""What a name means: its formula, its meaning, its source; and where it is declared."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.editor.document import Declared, Document
from maspo_dsl.editor.tokens import Token
from maspo_dsl.editor.words import meaning_of
from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import format_domain, format_expression
from maspo_dsl.language.formatter import format_statement
from maspo_dsl.language.parser import parse_objective_partial
from maspo_dsl.language.source import Span
from maspo_dsl.language.walking import without_comments
from maspo_dsl.notation.formula import formula
from maspo_dsl.notation.plain import call_form
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.resolve import base_source
from maspo_dsl.semantics.shipped import library_definitions

_SORTS = {
    "word": ("part", "statement", "axis", "kind", "constant of a run", "constant", "per", "warning", "word"),
    "value": ("quantity", "scope", "primitive"),
    "target": ("part",),
}


def hover(document: Document, offset: int) -> tuple[str, Span] | None:
    """What the name at an offset means, in Markdown, and the place of the name; None where nothing is known."""
    token = document.names.at(offset)
    if token is None:
        return None
    paragraphs = list(_paragraphs(document, token))
    place = Span(document.source, token.start, token.end)
    return ("\n\n".join(paragraphs), place) if paragraphs else None


def definition(document: Document, offset: int) -> Span | None:
    """Where what the name at an offset means is declared; a base is its file's first line."""
    token = document.names.at(offset)
    if token is None:
        return None
    if token.role == "objective":
        return None if token.declares else _base_place(document, token.text)
    if token.role == "argument":
        of = document.definitions.get(token.owner)
        found = (p.name.span for p in of.parameters if p.name.text == token.text) if of is not None else ()
        return next(iter(found), None)
    meant = _meant(document, token)
    if meant is not None:
        return meant.span
    if token.role in ("target", "stage"):
        return next((other.span for other in _stages(document, token)), None)
    of = library_definitions().get(token.text) if token.role == "value" else None
    return of.name.span if of is not None else None


def _meant(document: Document, token: Token) -> Declared | None:
    """What a name means among those that the spec declares or inherits."""
    candidates = document.declared.get(token.text, [])
    if token.role == "word":
        candidates = [each for each in candidates if each.sort == "slot"]
    elif token.role == "part":
        candidates = [
            each for each in candidates if each.span.start == token.start or each.sort in PART_WORDS
        ]
    elif token.role == "value":
        named = ("slot", "variant", *(word for word, row in PART_WORDS.items() if not row.kept))
        candidates = [each for each in candidates if each.sort not in named]
    elif token.role == "target":
        candidates = [each for each in candidates if each.sort not in ("param", "def", "variant")]
        candidates = [each for each in candidates if token.path in ("", each.sort)]
    elif token.role == "variant":
        candidates = [each for each in candidates if each.sort == "variant"]
    else:
        candidates = []
    return candidates[0] if candidates else None


def _stages(document: Document, token: Token) -> Iterator[tree.Stage]:
    """The stages that an edit can mean by a name."""
    for all_ in document.declared.values():
        for each in all_:
            value = getattr(each.node, "value", None)
            if isinstance(value, tree.Pipe) and token.path in ("", each.name):
                yield from (stage for stage in value.stages if stage.name == token.text)


def _base_place(document: Document, name: str) -> Span | None:
    source = base_source(name, document.folder)
    if source is None:
        return None
    objective, _ = parse_objective_partial(source)
    return objective.header.name.span if objective is not None else Span(source, 0, 0)


def _paragraphs(document: Document, token: Token) -> Iterator[str]:
    if token.role == "objective":
        yield from _of_objective(document, token)
        return
    if token.role == "argument":
        of = document.definitions.get(token.owner)
        if of is not None:
            yield f"an argument of `{call_form(of)}`"
        return
    meant = _meant(document, token)
    if meant is not None:
        yield from _of_declared(document, meant)
    elif token.role in ("target", "stage"):
        for stage in _stages(document, token):
            yield _code(f"|> {format_expression(_as_call(stage))}")
            yield from _of_function(document, stage.function.text)
    elif token.role == "value":
        yield from _of_function(document, token.text)
    for word in meaning_of(token.text, _SORTS.get(token.role, ())):
        if word.meaning and not (meant is not None and meant.sort != "slot"):
            yield f"{word.sort}: {word.meaning}"


def _of_function(document: Document, name: str) -> Iterator[str]:
    of = document.definitions.get(name)
    if of is not None:
        yield _code(f"{call_form(of)} = {format_expression(of.body)}")
        if of.doc:
            yield of.doc
        yield _place(of.name.span)


def _of_declared(document: Document, meant: Declared) -> Iterator[str]:
    if meant.node is not None and meant.sort != "variant":
        yield _code(format_statement(without_comments(meant.node)))
    elif meant.sort == "param" and document.flat is not None:
        parameter = document.flat.params[meant.name]
        domain = f" in {format_domain(parameter.domain)}" if parameter.domain is not None else ""
        bind = f" bind {parameter.bind.text}" if parameter.bind is not None else ""
        yield _code(f"param {meant.name} = {format_expression(parameter.default)}{domain}{bind}")
    yield from ([meant.meaning] if meant.meaning and not isinstance(meant.node, tree.Def) else [])
    if isinstance(meant.node, tree.Def) and meant.node.doc:
        yield meant.node.doc
    if meant.span.source is not document.source:
        yield f"inherited from {_place(meant.span)}"


def _of_objective(document: Document, token: Token) -> Iterator[str]:
    source = document.source if token.declares else base_source(token.text, document.folder)
    if source is None:
        return
    there = document if token.declares else Document(source, document.folder)
    objective, _ = parse_objective_partial(source)
    if objective is not None and objective.header.doc:
        yield objective.header.doc
    resolved = there.objective
    if resolved is not None:
        lines = formula(resolved, there.definitions).lines
        yield _code("\n".join(f"{line.symbol} = {line.text}" if line.symbol else line.text for line in lines))
    if objective is not None:
        yield from (f"source: {text}" for text in objective.header.sources)
        yield from (f"differs: {text}" for text in objective.header.differs)


def _as_call(stage: tree.Stage) -> tree.Expression:
    return tree.Call(stage.function, stage.arguments, stage.span) if stage.arguments else stage.function


def _place(span: Span) -> str:
    return f"{span.source.name}:{span.line}"


def _code(text: str) -> str:
    return f"```obj\n{text}\n```"
