"""Colours come from the grammar and the tables, in each editor the same.

`python -m tests.editor.test_highlighting` writes the grammar of VS Code anew.
"""

import json
import re
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pygments import lex
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, String
from typer.testing import CliRunner

from maspo_dsl.cli.app import app
from maspo_dsl.editor.highlighting import colours, textmate
from maspo_dsl.editor.pygments_lexer import ObjectiveLexer
from maspo_dsl.language.keywords import RESERVED_WORDS
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.shipped import shipped_names, shipped_source

FOLDER = Path(__file__).parents[2] / "editors" / "vscode"
GRAMMAR = FOLDER / "syntaxes" / "obj.tmLanguage.json"


def written() -> str:
    return json.dumps(textmate(), indent=2, ensure_ascii=False) + "\n"


def test_the_grammar_of_vs_code_is_what_the_tables_say():
    assert GRAMMAR.read_text(encoding="utf-8") == written(), "python -m tests.editor.test_highlighting"


def test_every_word_of_the_tables_is_in_it():
    text = GRAMMAR.read_text(encoding="utf-8")
    assert [
        word
        for word in (*RESERVED_WORDS, *PART_WORDS, "gaussian_gate")
        if not re.search(rf"\b{word}\b", text)
    ] == []


def test_the_folder_is_an_extension():
    package = json.loads((FOLDER / "package.json").read_text())
    contributed = package["contributes"]
    [language], [grammar] = contributed["languages"], contributed["grammars"]
    assert (FOLDER / grammar["path"]).is_file() and (FOLDER / language["configuration"]).is_file()
    assert (language["id"], grammar["scopeName"]) == (grammar["language"], textmate()["scopeName"])
    assert contributed["configuration"]["properties"]["maspo-dsl.command"]["default"] == ["maspo-dsl", "lsp"]
    if (node := shutil.which("node")) is not None:
        subprocess.run([node, "--check", str(FOLDER / package["main"])], check=True)


def sorts(text: str) -> list[tuple[object, str]]:
    return [(sort, value.strip()) for sort, value in lex(text, ObjectiveLexer()) if value.strip()]


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_spec_has_no_piece_without_a_colour(name):
    found = sorts(shipped_source(name).text)
    assert not [value for sort, value in found if sort is Error]


def test_colours():
    text = 'objective x extends grpo  # y\nparam lets = 1e-4 "kl"\nratio = policy / old |> mine when A > 0\n'
    assert sorts(text)[:8] == [
        (Keyword.Declaration, "objective"),
        (Name, "x"),
        (Keyword, "extends"),
        (Name, "grpo"),
        (Comment.Single, "# y"),
        (Keyword.Declaration, "param"),
        (Name, "lets"),
        (Operator, "="),
    ]
    rest = sorts(text)[8:]
    assert rest[:4] == [(Number, "1e-4"), (String.Double, '"kl"'), (Keyword.Type, "ratio"), (Operator, "=")]
    assert (Name.Function, "mine") in rest and (Name.Builtin, "policy") in rest and (Keyword, "when") in rest
    assert sorts("let ratio2 = ratio\n")[1:] == [(Name, "ratio2"), (Operator, "="), (Name, "ratio")]


def test_patterns_suit_textmate():
    """Its dialect has look-behind of fixed length, and no names of groups of Python's."""
    for colour in colours():
        assert "?P<" not in colour.pattern
        re.compile(colour.pattern)


def test_pygments_finds_it():
    if not any(entry.name == "obj" for entry in entry_points(group="pygments.lexers")):
        pytest.skip("installed before there was a lexer")
    assert isinstance(get_lexer_by_name("obj"), ObjectiveLexer)


def test_the_hooks_are_commands(tmp_path):
    hooks = (FOLDER.parents[1] / ".pre-commit-hooks.yaml").read_text()
    entries = re.findall(r"entry: maspo-dsl (\w+)", hooks)
    path = tmp_path / "a.obj"
    path.write_text("objective a extends grpo\n")

    def run(entry):
        return CliRunner().invoke(app, [entry, str(path)]).exit_code

    assert entries == ["fmt", "check"] and [run(entry) for entry in entries] == [0, 0]


if __name__ == "__main__":
    GRAMMAR.write_text(written(), encoding="utf-8")
