"""The editor service as a language server: positions and files of the protocol, and nothing that it does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path

from maspo_dsl.editor.changes import CannotRenameError, Replacement, actions, formatted, renamed
from maspo_dsl.editor.completion import completions
from maspo_dsl.editor.document import Document, file_of
from maspo_dsl.editor.hover import definition, hover
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.reading import foreign_text
from maspo_dsl.language.source import Source, Span

_KINDS = {
    "statement": types.CompletionItemKind.Keyword,
    "word": types.CompletionItemKind.Keyword,
    "part": types.CompletionItemKind.Property,
    "slot": types.CompletionItemKind.Property,
    "def": types.CompletionItemKind.Function,
    "primitive": types.CompletionItemKind.Function,
    "stage": types.CompletionItemKind.Method,
    "scope": types.CompletionItemKind.Module,
    "objective": types.CompletionItemKind.Class,
    "warning": types.CompletionItemKind.Constant,
}
_SEVERITIES = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}
_LINE_ENDS = re.compile(r"\r\n|\n|\r")


class Positions:
    """A document as the protocol counts: lines, and UTF-16 units in them; tells offsets from positions and back."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(found.end() for found in _LINE_ENDS.finditer(text))]

    def offset(self, position: types.Position) -> int:
        """The offset of a position; one beyond a line is its end."""
        if position.line >= len(self.starts):
            return len(self.text)
        start = self.starts[position.line]
        units = 0
        for offset in range(start, self._end(position.line)):
            if units >= position.character:
                return offset
            units += _units(self.text[offset])
        return self._end(position.line)

    def position(self, offset: int) -> types.Position:
        """The position of an offset."""
        line = max(index for index, start in enumerate(self.starts) if start <= offset)
        return types.Position(line, sum(map(_units, self.text[self.starts[line] : offset])))

    def range(self, start: int, end: int) -> types.Range:
        """The range of two offsets."""
        return types.Range(self.position(start), self.position(end))

    def _end(self, line: int) -> int:
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        return self.starts[line] + len(self.text[self.starts[line] : end].rstrip("\r\n"))


def _units(character: str) -> int:
    return 2 if ord(character) > 0xFFFF else 1


class ObjectiveServer(LanguageServer):
    """A server that keeps the document of each open text."""

    def __init__(self) -> None:
        super().__init__("maspo-dsl", version("maspo-dsl"))
        self.documents: dict[str, Document] = {}
        self.warned: dict[str, list[Diagnostic]] = {}

    def document(self, uri: str) -> tuple[Document, Positions]:
        """The open text of an address, read once for each change; what is beside it may have changed, too."""
        text = self.workspace.get_text_document(uri).source
        path = to_fs_path(uri)
        known = self.documents.get(uri)
        if known is None or known.source.text != Source("", text).text:
            known = Document(Source(path or uri, text), Path(path).parent if path else None)
            self.documents[uri] = known
            self.warned.pop(uri, None)
        return known, Positions(text)


def server() -> ObjectiveServer:
    """A language server with everything that it answers."""
    serving = ObjectiveServer()
    _register_findings(serving)
    _register_questions(serving)
    _register_changes(serving)
    return serving


def _register_findings(serving: ObjectiveServer) -> None:
    def publish(uri: str, *, warn: bool) -> None:
        document, text = serving.document(uri)
        if warn and not document.errors:
            serving.warned[uri] = _warnings(document)
        found = [*_findings(document), *serving.warned.get(uri, [])]
        shown = [_diagnostic(each, document, text) for each in found]
        serving.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, shown))

    @serving.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        publish(params.text_document.uri, warn=True)

    @serving.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        publish(params.text_document.uri, warn=False)

    @serving.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        for uri in list(
            serving.workspace.text_documents
        ):  # another that extends this one may be right, or wrong, now
            serving.documents.pop(uri, None)
            publish(uri, warn=True)

    @serving.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        serving.documents.pop(uri, None)
        serving.warned.pop(uri, None)
        serving.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def _findings(document: Document) -> list[Diagnostic]:
    refusal = foreign_text(document.source)
    return [refusal] if refusal is not None else document.errors


def _warnings(document: Document) -> list[Diagnostic]:
    """Warnings of an objective without mistakes; found when it is opened and saved, since they take longer."""
    if document.objective is None:
        return []
    from maspo_dsl.objective import Objective

    return list(Objective(document.objective, document.folder).warnings)


def _diagnostic(found: Diagnostic, document: Document, text: Positions) -> types.Diagnostic:
    here = found.span.source.name == document.source.name
    where = found.message if here else f"{found.file}:{found.line}: {found.message}"
    place = text.range(found.span.start, found.span.end) if here else text.range(0, 0)
    return types.Diagnostic(
        range=place,
        message=f"{where}\n{found.hint}" if found.hint else where,
        severity=_SEVERITIES[found.severity],
        code=found.code,
        source="maspo-dsl",
    )


def _register_questions(serving: ObjectiveServer) -> None:
    @serving.feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(params: types.HoverParams) -> types.Hover | None:
        document, text = serving.document(params.text_document.uri)
        found = hover(document, text.offset(params.position))
        if found is None:
            return None
        words, span = found
        content = types.MarkupContent(types.MarkupKind.Markdown, words)
        return types.Hover(content, text.range(span.start, span.end))

    @serving.feature(
        types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[" ", ">", "(", ".", "{"])
    )
    def completed(params: types.CompletionParams) -> types.CompletionList:
        document, text = serving.document(params.text_document.uri)
        words = completions(document, text.offset(params.position))
        items = [
            types.CompletionItem(
                word.text,
                kind=_KINDS.get(word.sort, types.CompletionItemKind.Variable),
                detail=word.sort,
                documentation=word.meaning or None,
                sort_text=f"{index:04}",
            )
            for index, word in enumerate(words)
        ]
        return types.CompletionList(is_incomplete=False, items=items)

    @serving.feature(types.TEXT_DOCUMENT_DEFINITION)
    def defined(params: types.DefinitionParams) -> types.Location | None:
        document, text = serving.document(params.text_document.uri)
        span = definition(document, text.offset(params.position))
        return _location(span, document, text, params.text_document.uri) if span is not None else None


def _location(span: Span, document: Document, text: Positions, uri: str) -> types.Location | None:
    if span.source.name == document.source.name:
        return types.Location(uri, text.range(span.start, span.end))
    path = file_of(span, document)
    there = from_fs_path(str(path.resolve())) if path is not None else None
    return types.Location(there, Positions(span.source.text).range(span.start, span.end)) if there else None


def _register_changes(serving: ObjectiveServer) -> None:
    @serving.feature(types.TEXT_DOCUMENT_FORMATTING)
    def laid_out(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        document, text = serving.document(params.text_document.uri)
        try:
            written = formatted(document)
        except SpecError:
            return None
        return [types.TextEdit(text.range(0, len(text.text)), written)] if written != text.text else []

    @serving.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=False))
    def named(params: types.RenameParams) -> types.WorkspaceEdit:
        uri = params.text_document.uri
        document, text = serving.document(uri)
        try:
            changes = renamed(document, text.offset(params.position), params.new_name)
        except CannotRenameError as error:
            raise JsonRpcInvalidParams(str(error)) from None
        return types.WorkspaceEdit(changes={uri: list(_edits(changes, text))})

    @serving.feature(types.TEXT_DOCUMENT_CODE_ACTION)
    def mended(params: types.CodeActionParams) -> list[types.CodeAction]:
        uri = params.text_document.uri
        document, text = serving.document(uri)
        start, end = text.offset(params.range.start), text.offset(params.range.end)
        found = [*_findings(document), *serving.warned.get(uri, [])]
        near = [each for each in found if each.span.start <= end and start <= each.span.end]
        return [
            types.CodeAction(
                action.title,
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[_diagnostic(action.finding, document, text)],
                edit=types.WorkspaceEdit(changes={uri: list(_edits([action.replacement], text))}),
            )
            for action in actions(document, near)
        ]


def _edits(changes: list[Replacement], text: Positions) -> Iterator[Any]:
    for change in changes:
        yield types.TextEdit(text.range(change.start, change.end), change.text)
