"""Colours of a text, one table for every editor: its patterns are the grammar's terminals, its words the tables'.

`python -m tests.editor.test_highlighting` writes the grammar of VS Code from it; the lexer of Pygments reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from maspo_dsl.editor.words import language_words
from maspo_dsl.language.parser import grammar
from maspo_dsl.semantics.shipped import library_definitions


@dataclass(frozen=True)
class Colour:
    """A pattern with its name in TextMate's grammars and in Pygments."""

    pattern: str
    textmate: str
    pygments: str


def _terminal(name: str) -> str:
    """The pattern of a terminal of the grammar; one with alternatives in their order."""
    return re.sub(r"\(\?P<[^>]*>", "(?:", grammar().get_terminal(name).pattern.to_regexp())


def _any_of(*sorts: str) -> str:
    words = {word.text for sort in sorts for word in language_words()[sort]}
    return rf"\b(?:{'|'.join(sorted(words))})\b"


@cache
def colours() -> tuple[Colour, ...]:
    """What is coloured, in the order in which patterns are tried."""
    functions = "|".join(sorted({*library_definitions(), *(w.text for w in language_words()["primitive"])}))
    opening = r"(?m:^[ \t]*|(?<=\{)[ \t]*)"
    return (
        Colour(r"#[^\n]*", "comment.line.number-sign.obj", "Comment.Single"),
        Colour(_terminal("STRING"), "string.quoted.double.obj", "String.Double"),
        Colour(
            rf"{opening}{_any_of('statement')}(?=[ \t]+[\w\"])", "keyword.other.obj", "Keyword.Declaration"
        ),
        Colour(rf"{opening}{_any_of('part')}(?=[ \t]+\w|[ \t]*=(?!=))", "storage.type.obj", "Keyword.Type"),
        Colour(rf"\bextends\b|{_any_of('word')}", "keyword.control.obj", "Keyword"),
        Colour(
            rf"\b(?:{functions})\b(?=[ \t]*\()|(?<=\|>)[ \t]*\w+", "support.function.obj", "Name.Function"
        ),
        Colour(_any_of("quantity"), "variable.language.obj", "Name.Builtin"),
        Colour(rf"{_any_of('scope')}(?=[ \t]*[,)])", "support.constant.obj", "Name.Namespace"),
        Colour(rf"(?<![\w.])(?:{_terminal('NUMBER')})", "constant.numeric.obj", "Number"),
        Colour(
            "|".join(_terminal(name) for name in ("PIPE", "RANGE", "COMPARISON", "SIGN", "TIMES", "POWER"))
            + "|=",
            "keyword.operator.obj",
            "Operator",
        ),
        Colour(r"[()\[\]{},:.]", "punctuation.obj", "Punctuation"),
        Colour(_terminal("NAME"), "variable.other.obj", "Name"),
    )


def textmate() -> dict[str, object]:
    """The grammar of VS Code, and of whatever else reads TextMate's."""
    patterns = [{"match": _oniguruma(colour.pattern), "name": colour.textmate} for colour in colours()]
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "Objective",
        "scopeName": "source.obj",
        "fileTypes": ["obj"],
        "patterns": patterns,
    }


def _oniguruma(pattern: str) -> str:
    """A pattern of Python in TextMate's dialect, where `^` is the start of a line as it is."""
    return pattern.replace("(?m:", "(?:")
