"""`maspo-dsl lsp` asked by a real client, in a process of its own."""

from __future__ import annotations

import asyncio
import sys

import pytest

pytest.importorskip("pygls", reason='pip install "maspo-dsl[lsp]"')

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient
from pygls.uris import from_fs_path

MAIN = "import sys; from maspo_dsl.cli import main; sys.argv = ['maspo-dsl', 'lsp']; main()"
TEXT = """objective own extends base
# 𝄞 α
param  wide = 2 in (0, inf)
ratio = policy / old |> mni(wide)
"""


def test_a_session(tmp_path):
    (tmp_path / "base.obj").write_text('objective base extends grpo\n"The base"\n')
    path = tmp_path / "own.obj"
    path.write_text(TEXT)
    asyncio.run(asyncio.wait_for(_session(path), 120))


async def _session(path):
    client = LanguageClient("test", "1")
    uri = from_fs_path(str(path))
    published: asyncio.Queue = asyncio.Queue()

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def take(params):
        published.put_nowait(params)

    await client.start_io(sys.executable, "-c", MAIN)
    await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    client.initialized(types.InitializedParams())
    item = types.TextDocumentItem(uri, "obj", 1, TEXT)
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    (found,) = (await published.get()).diagnostics
    assert (found.code, found.range.start) == ("unknown-function", types.Position(3, 24))
    assert "did you mean `min`?" in found.message

    document = types.TextDocumentIdentifier(uri)
    context = types.CodeActionContext([found])
    (action, *_) = await client.text_document_code_action_async(
        types.CodeActionParams(document, found.range, context)
    )
    (edit,) = action.edit.changes[uri]
    assert (edit.new_text, edit.range) == ("min", found.range)
    change = types.TextDocumentContentChangePartial(text=edit.new_text, range=edit.range)
    version = types.VersionedTextDocumentIdentifier(uri=uri, version=2)
    client.text_document_did_change(types.DidChangeTextDocumentParams(version, [change]))
    assert not (await published.get()).diagnostics

    place = types.Position(0, 24)
    shown = await client.text_document_hover_async(types.HoverParams(document, place))
    assert "The base" in shown.contents.value
    there = await client.text_document_definition_async(types.DefinitionParams(document, place))
    assert there.uri == from_fs_path(str(path.parent / "base.obj")) and there.range.start == types.Position(
        0, 10
    )
    words = await client.text_document_completion_async(
        types.CompletionParams(document, types.Position(3, 29))
    )
    assert "wide" in [item.label for item in words.items]
    edits = await client.text_document_rename_async(
        types.RenameParams(document, types.Position(3, 30), "width")
    )
    assert [edit.range.start for edit in edits.changes[uri]] == [types.Position(2, 7), types.Position(3, 28)]
    with pytest.raises(JsonRpcException, match="word of the language"):
        await client.text_document_rename_async(types.RenameParams(document, types.Position(3, 10), "pi"))
    options = types.FormattingOptions(4, insert_spaces=True)
    (laid_out,) = await client.text_document_formatting_async(
        types.DocumentFormattingParams(document, options)
    )
    assert "\nparam wide = 2 in (0, inf)\n" in laid_out.new_text

    broken = types.TextDocumentContentChangeWholeDocument("objective \x00 (\n|>")
    version = types.VersionedTextDocumentIdentifier(uri=uri, version=3)
    client.text_document_did_change(types.DidChangeTextDocumentParams(version, [broken]))
    assert [each.code for each in (await published.get()).diagnostics] == ["not-text"]
    assert await client.text_document_hover_async(types.HoverParams(document, types.Position(9, 9))) is None
    client.text_document_did_close(types.DidCloseTextDocumentParams(document))
    assert not (await published.get()).diagnostics
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()
