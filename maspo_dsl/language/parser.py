"""Text to tree: the grammar, and the loop that goes on after a mistake until all of them are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

from lark import Lark, Token, UnexpectedInput
from lark.lark import PostLex

from maspo_dsl.language.building import EXPRESSION_DEPTH, Builder, ParseTree
from maspo_dsl.language.cache_folder import cache_folder
from maspo_dsl.language.comments import with_comments, with_library_comments
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.layout import Layout, read_layout
from maspo_dsl.language.reading import foreign_text
from maspo_dsl.language.source import Source, Span
from maspo_dsl.language.syntax_errors import explain, missing_header
from maspo_dsl.language.tree import LibraryTree, ObjectiveTree

MISTAKES_SHOWN = 50
"""Syntax errors after which the rest of a file is not read: it is something else than an objective."""
STATEMENT_LIMIT = 50_000
"""Characters of one statement; a longer one would take noticeable time only to be refused for its depth."""
_NAME_PARTS = "name parts of it with `let`"
_DECLARED = re.compile(r"\b([A-Za-z_]\w*)[ \t]*(?:\([^()]*\)[ \t]*)?(?==(?!=)|where\b|:)")


class _KeepWords(PostLex):
    """Makes NAME and JUNK candidates everywhere.

    Without NAME `A orange` would be read as `A or ange`; without JUNK a stray character would end the lexing
    with the alternatives of several merged parser states.
    """

    always_accept = ("_NL", "NAME", "JUNK")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def grammar() -> Lark:
    """The parser of `grammars/objective.lark`, built once; its tables are kept, and made anew if they do not fit."""
    text = resources.files("maspo_dsl.grammars").joinpath("objective.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        parser="lalr",
        start=["objective", "library"],
        postlex=_KeepWords(),
        propagate_positions=True,
        maybe_placeholders=True,
        cache=_tables(),
    )


def _tables() -> str | bool:
    """The file for the tables of the grammar, which take longer to make than most specs to check; False for none."""
    folder = cache_folder()
    return str(folder / "grammar.tables") if folder is not None else False


def parse_objective(source: Source) -> ObjectiveTree:
    """The tree of an objective file. Raises `SpecError` with every syntax error, in source order."""
    objective, diagnostics = parse_objective_partial(source)
    if objective is None or diagnostics:
        raise SpecError(diagnostics)
    return objective


def parse_objective_partial(source: Source) -> tuple[ObjectiveTree | None, list[Diagnostic]]:
    """The tree without the statements that have a syntax error, and the errors.

    None stands for a file whose `objective` line cannot be read.
    """
    parsed, diagnostics, layout = _parse(source, "objective")
    if parsed is None:
        return None, _in_order(diagnostics)
    builder = Builder(source)
    objective = builder.objective(parsed)
    if objective is not None:
        objective = with_comments(objective, source, layout)
    return objective, _in_order(diagnostics + builder.diagnostics)


def parse_library(source: Source) -> LibraryTree:
    """The tree of a library file. Raises `SpecError` with every syntax error, in source order."""
    parsed, diagnostics, layout = _parse(source, "library")
    builder = Builder(source)
    library = builder.read_library(parsed) if parsed is not None else None
    diagnostics = _in_order(diagnostics + builder.diagnostics)
    if library is None or diagnostics:
        raise SpecError(diagnostics)
    return with_library_comments(library, source, layout)


def names_on_broken_lines(source: Source, diagnostics: Iterable[Diagnostic]) -> frozenset[str]:
    """The names that lines with a mistake would declare, so that nobody reports them as missing as well."""
    layout = read_layout(source.text, EXPRESSION_DEPTH)
    broken = {
        (line.start, line.end) for d in diagnostics if (line := layout.line_at(d.span.start)) is not None
    }
    return frozenset(name for start, end in broken for name in _DECLARED.findall(source.text[start:end]))


def _in_order(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    return sorted(diagnostics, key=lambda d: d.span.start)


def _parse(source: Source, start: str) -> tuple[ParseTree | None, list[Diagnostic], Layout]:
    """Parse, and after a mistake parse again without the logical line that has it."""
    if (refusal := foreign_text(source)) is not None:
        return None, [refusal], read_layout("", EXPRESSION_DEPTH)
    layout = read_layout(source.text, EXPRESSION_DEPTH)
    diagnostics, text, blanked = _refusals(source, layout), layout.text, set[int]()
    for refusal in diagnostics:
        if refusal.span.start < layout.lines[0].end:
            return None, [missing_header(source, layout.lines[0]) or refusal], layout
        text = _without(text, layout, refusal.span.start)
    while len(diagnostics) < MISTAKES_SHOWN:
        try:
            return grammar().parse(text, start=start), diagnostics, layout
        except UnexpectedInput as error:
            diagnostics.append(explain(error, source, layout, grammar()))
            line = layout.line_at(_offset(error, source))
            if line is None or line.start in blanked or (start == "objective" and line is layout.lines[0]):
                break
            blanked.add(line.start)
            text = _without(text, layout, line.start)
    else:
        message = f"{MISTAKES_SHOWN} mistakes are shown; the rest of the file was not read"
        diagnostics.append(Diagnostic("too-many-mistakes", message, diagnostics[-1].span))
    return None, diagnostics, layout


def _offset(error: UnexpectedInput, source: Source) -> int:
    """Where the parser stopped; a line end belongs to the line it ends."""
    return error.pos_in_stream if error.pos_in_stream is not None else len(source.text)


def _refusals(source: Source, layout: Layout) -> list[Diagnostic]:
    """What the layout alone shows to be wrong, one mistake a statement; the grammar is not asked about it."""
    found: dict[int, Diagnostic] = {}

    def reject(code: str, offset: int, message: str, hint: str) -> None:
        line = layout.line_at(offset)
        place = Span(source, offset, offset + 1)
        found.setdefault(line.start if line else 0, Diagnostic(code, message, place, hint))

    for line in layout.lines:
        if line.end - line.start > STATEMENT_LIMIT:
            message = f"this statement has more than {STATEMENT_LIMIT} characters"
            reject("too-long", line.start, message, _NAME_PARTS)
    for bracket in layout.too_deep:
        reject("too-deep", bracket, f"more than {EXPRESSION_DEPTH} brackets are open here", _NAME_PARTS)
    for brace in layout.unclosed_blocks:
        reject("unclosed-brace", brace, "this `{` is never closed", "close the variant with `}`")
    return list(found.values())


def _without(text: str, layout: Layout, offset: int) -> str:
    """The text with blanks for a logical line; for the head or end of a block, the whole block."""
    line = layout.line_at(offset)
    if line is None:
        return text
    first = last = layout.lines.index(line)
    while line.closes_block and layout.lines[first].opens_block is None:
        first -= 1
    if line.opens_block is not None:
        while last + 1 < len(layout.lines) and layout.lines[last + 1].in_block:
            if line.opens_block in layout.unclosed_blocks and not layout.lines[last + 1].indented:
                break
            last += 1
    start = layout.lines[first].start
    end = layout.lines[last + 1].start if last + 1 < len(layout.lines) else len(text)
    return text[:start] + " " * (end - start) + text[end:]
