"""Comments and blank lines given to the statement or stage they stand above or beside; none is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

from maspo_dsl.language.layout import Comment, Layout
from maspo_dsl.language.source import Source, Span
from maspo_dsl.language.tree import (
    Comments,
    Def,
    Insert,
    Let,
    LibraryTree,
    ObjectiveTree,
    Part,
    Pipe,
    Slot,
    Stage,
    Statement,
    Swap,
    Variant,
)
from maspo_dsl.language.walking import transform

_Statement = TypeVar("_Statement", bound=Statement)


def with_comments(objective: ObjectiveTree, source: Source, layout: Layout) -> ObjectiveTree:
    """The same tree with the comments of its text."""
    attacher = _Attacher(source, layout)
    header = objective.header
    above = attacher.above(header.span.start)
    inner = tuple(comment.text for comment in attacher.until(header.span.end))
    comments = Comments(_trimmed(above + inner), attacher.beside(header.span.end))
    statements = tuple(attacher.statement(s) for s in objective.statements)
    return ObjectiveTree(replace(header, comments=comments), statements, attacher.closing())


def with_library_comments(library: LibraryTree, source: Source, layout: Layout) -> LibraryTree:
    """The same tree with the comments of its text; those around the library's text go to the first `def`."""
    attacher = _Attacher(source, layout)
    definitions = tuple(attacher.statement(d) for d in library.definitions)
    return LibraryTree(library.doc, definitions, attacher.closing())


class _Attacher:
    """Hands out the comments of a layout in order."""

    def __init__(self, source: Source, layout: Layout) -> None:
        """Start before the first comment."""
        self.text = source.text
        self.comments = list(reversed(layout.comments))
        self.blank_before = layout.blank_before

    def until(self, end: int) -> list[Comment]:
        """The comments that start before an offset and were not handed out yet."""
        taken = []
        while self.comments and self.comments[-1].start < end:
            taken.append(self.comments.pop())
        return taken

    def above(self, start: int) -> tuple[str | None, ...]:
        """The comments before a node, with blank lines as None."""
        blank = (None,) if start in self.blank_before else ()
        return _lines(self.until(start)) + blank

    def beside(self, end: int) -> str | None:
        """The comment that ends the line of a node's end."""
        if self.comments and not self.text[end : self.comments[-1].start].strip(" \t\r"):
            return self.comments.pop().text
        return None

    def closing(self, end: int | None = None) -> Comments:
        """What stands after the last statement."""
        return Comments(_lines(self.until(len(self.text) if end is None else end)))

    def statement(self, node: _Statement) -> _Statement:
        """The statement with its comments, its stages with theirs."""
        above = self.above(node.span.start)
        if isinstance(node, Variant):
            return cast(_Statement, self._variant(node, above))
        hoisted, commented = _distribute(self.text, self.until(node.span.end), stages_of(node))
        comments = Comments(above + hoisted, self.beside(node.span.end))
        return replace(transform(node, lambda below: commented.get(id(below))), comments=comments)

    def _variant(self, node: Variant, above: tuple[str | None, ...]) -> Variant:
        """Comments beside the opening brace go above the variant."""
        brace = self.text.find("{", node.name.span.end)
        opening = [comment.text for comment in self.until(brace)]
        beside_brace = self.beside(brace + 1)
        opening += [beside_brace] if beside_brace is not None else []
        edits = tuple(self.statement(edit) for edit in node.edits)
        closing = self.closing(node.span.end)
        comments = Comments(above + tuple(opening), self.beside(node.span.end))
        return replace(node, edits=edits, comments=comments, closing=closing)


def _lines(comments: Sequence[Comment]) -> tuple[str | None, ...]:
    found: list[str | None] = []
    for comment in comments:
        found += [None, comment.text] if comment.blank_before else [comment.text]
    return tuple(found)


def _trimmed(above: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Without the blank lines at the top of a file."""
    first = next((i for i, line in enumerate(above) if line is not None), len(above))
    return above[first:]


def stages_of(node: Statement) -> tuple[Stage, ...]:
    """The stages that stand on lines of their own when the statement is broken into lines."""
    match node:
        case Insert(stages=stages) | Swap(stages=stages):
            return stages
        case Slot(value=Pipe(stages=stages)) | Part(value=Pipe(stages=stages)):
            return stages
        case Let(value=Pipe(stages=stages)) | Def(body=Pipe(stages=stages)):
            return stages
    return ()


def _distribute(
    text: str, comments: Sequence[Comment], stages: tuple[Stage, ...]
) -> tuple[tuple[str, ...], dict[int, Stage]]:
    """Comments that fit no stage and go above the statement; the commented stages, by `id` of the bare one."""
    hoisted: list[str] = []
    above: dict[int, list[str]] = {}
    beside: dict[int, str] = {}
    for comment in comments:
        ended = [i for i, s in enumerate(stages) if _ends_line(text, s.span, comment)]
        around = [i for i, s in enumerate(stages) if s.span.end > comment.start]
        if not comment.alone and ended and ended[-1] not in beside:
            beside[ended[-1]] = comment.text
        elif around and (comment.alone or stages[around[0]].span.start < comment.start):
            above.setdefault(around[0], []).append(comment.text)
        else:
            hoisted.append(comment.text)
    commented = {
        id(stage): replace(stage, comments=Comments(tuple(above.get(i, ())), beside.get(i)))
        for i, stage in enumerate(stages)
        if i in above or i in beside
    }
    return tuple(hoisted), commented


def _ends_line(text: str, span: Span, comment: Comment) -> bool:
    """Whether only blanks stand between the end of a stage and a comment."""
    return span.end <= comment.start and not text[span.end : comment.start].strip(" \t")
