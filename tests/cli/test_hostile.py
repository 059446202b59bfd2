"""Every command that reads a spec, on what is none: exit code 2 (of `check` 1, where there is a text), and words."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from maspo_dsl.cli.app import COMMANDS, app

READING = {
    "check": ["check", "{}"],
    "fmt": ["fmt", "{}"],
    "show": ["show", "{}"],
    "explain": ["explain", "{}"],
    "compile": ["compile", "{}"],
    "diff": ["diff", "{}", "grpo"],
    "identify": ["identify", "{}"],
    "verify": ["verify", "{}"],
    "train": ["train", "{}", "run=run"],
    "ablate": ["ablate", "{}", "--dry-run"],
    "plot": ["plot", "{}"],
    "new": ["new", "mine", "--like", "{}"],
    "import": ["import", "trl", "{}"],
}
NOT_READING = {"list", "report", "export", "lsp", "playground", "inspect"}
HEAD = b"objective x extends grpo\n"
HOSTILE = {
    "empty": b"",
    "nothing but NUL": bytes(100),
    "latin-1": "objective x\n# é".encode("latin-1"),
    "UTF-16": "objective x".encode("utf-16"),
    "escapes": b"objective \x1b[31mx\n",
    "a bracket": HEAD + b"let x = (",
    "brackets": HEAD + b"let x = " + b"(" * 3000,
    "old line ends": HEAD.replace(b"\n", b"\r") + b"param q = 1\r",
    "a quote": b'objective x\n"',
    "another format": b'{"loss": "grpo"}',
    "YAML": b"loss: grpo\nkl: 0.1\n",
    "a long line": HEAD + b"let x = " + b"1 + " * 20_000 + b"1\n",
    "an unknown base": b"objective x extends nothing_here\n",
    "itself": b"objective hostile extends hostile\n",
}


def run(*arguments: str):
    """A command that ends in words and an exit code."""
    result = CliRunner().invoke(app, list(arguments), prog_name="maspo-dsl")
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output and "\x1b" not in result.output
    return result


def test_no_command_is_forgotten():
    assert set(READING) | NOT_READING >= set(COMMANDS)


@pytest.mark.parametrize("command", READING)
def test_what_is_no_spec_is_refused_in_words(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    slow = command == "diff"  # imports torch, and asks what the other side is
    for name, content in list(HOSTILE.items())[:: 5 if slow else 1]:
        (tmp_path / "hostile.obj").write_bytes(content)
        result = run(*(each.format("hostile.obj") for each in READING[command]))
        unread = command == "fmt" and name in ("old line ends", "an unknown base", "itself")
        assert result.exit_code == (0 if unread else 1 if command == "check" else 2), (name, result.output)
        assert len(result.output.strip()) > 0, name
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.obj"]


@pytest.mark.parametrize("command", READING)
def test_what_is_not_there_is_2(tmp_path, monkeypatch, command):
    monkeypatch.setattr("maspo_dsl.language.reading.PIPE_PATIENCE", 0.05)
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.obj")
    (tmp_path / "folder.obj").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    for spec in (
        "nowhere.obj",
        "no/where.obj",
        "/dev/null",
        "/dev/zero",
        "pipe.obj",
        "folder.obj",
        "\x1b]0;x\x07.obj",
    ):
        assert run(*(each.format(spec) for each in READING[command])).exit_code == 2, spec
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.sampled_from(
        [name for name in READING if name not in ("train", "verify", "plot", "identify")]
    ),
    content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)),
    headed=st.booleans(),
)
def test_any_bytes(tmp_path, monkeypatch, command, content, headed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "any.obj").write_bytes(HEAD + content if headed else content)
    result = run(
        *(each.format("any.obj") for each in READING[command]), *(["--force"] if command == "new" else [])
    )
    assert result.exit_code in (0, 1, 2)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(READING)),
    st.lists(st.text(max_size=12).filter(lambda t: "=" not in t), max_size=2),
)
def test_any_arguments(command, words):
    arguments = [word for word in words if word not in ("", ".") and not word.isdigit()]
    assert run(command, "nowhere", *arguments, "--no-such-option").exit_code == 2
