"""`maspo-dsl lsp`: the editor's questions over the Language Server Protocol, by pygls, which is an extra."""

from __future__ import annotations

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits


def lsp() -> None:
    """Serve an editor over standard input and output.

    Mistakes as you type, meanings, completion, definitions, renaming, layout, and mends. Needs `pip install
    "maspo-dsl[lsp]"`; how editors start it is in docs/editors.md.
    """
    with invalid_input_exits():
        try:
            from maspo_dsl.cli.language_server import server
        except ModuleNotFoundError as error:
            if error.name not in ("pygls", "lsprotocol"):
                raise
            raise InputError('this needs pygls: pip install "maspo-dsl[lsp]"') from None
    server().start_io()
    raise typer.Exit
