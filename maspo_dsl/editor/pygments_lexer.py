"""Colours for what Pygments highlights: pages, slides, terminals."""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer
from pygments.token import Whitespace, string_to_tokentype

from maspo_dsl.editor.highlighting import colours


class ObjectiveLexer(RegexLexer):
    """Objectives and libraries, `.obj`."""

    name = "Objective"
    aliases: ClassVar[list[str]] = ["obj", "maspo-dsl"]
    filenames: ClassVar[list[str]] = ["*.obj"]
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"\n", Whitespace),
            *((colour.pattern, string_to_tokentype(colour.pygments)) for colour in colours()),
            (r"[^\S\n]+", Whitespace),
        ]
    }
