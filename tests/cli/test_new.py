"""Files to begin with, what a shell completes, and examples of every command."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.cli.app import COMMANDS, app


@pytest.mark.parametrize("like", ["grpo", "maspo", "stapo_maspo", "group_ppo"])
def test_a_new_spec_is_like_another(cli, tmp_path, like):
    result = cli("new", "mine", "--like", like)
    assert result.exit_code == 0 and result.stdout == "mine.obj\n"
    made = maspo_dsl.load(tmp_path / "mine.obj")
    assert (made.name, made.hash) == ("mine", maspo_dsl.load(like).hash)
    assert not made.resolved.sources and made.resolved.doc.startswith(f"Like {like}: ")
    assert cli("fmt", "--check", "mine.obj").exit_code == 0
    assert cli("check", "mine.obj").exit_code == 0


def test_a_new_spec_like_a_file_of_ones_own(cli, write):
    write("specs/base.obj", "objective base extends grpo\nparam kl = 0.5\n")
    write("specs/own.obj", "objective own extends base\nparam kl = 0.1\n")
    write("base.obj", "objective base extends dapo\n")
    assert "another objective in this folder" in cli("new", "mine", "--like", "specs/own.obj").stderr
    assert cli("new", "mine", "--like", "specs/base.obj").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a b"], "no name"),
        (["if"], "no word of the language"),
        (["../x"], "no name"),
        (["there"], "`there.obj` exists"),
        (["x", "--like", "mapso"], "did you mean `maspo`?"),
        (["x", "--like", "nowhere.obj"], "there is no file"),
    ],
)
def test_new_specs_that_cannot_be(cli, write, tmp_path, arguments, words):
    write("there.obj", "objective there extends grpo\n")
    result = cli("new", *arguments)
    assert result.exit_code == 2 and words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.obj"]
    assert cli("new", "there", "--force").exit_code == 0


def completed(*words):
    """What a shell is offered for the last of some words."""
    line = " ".join(["maspo-dsl", *words])
    environment = {
        "_MASPO_DSL_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words)),
    }
    result = CliRunner().invoke(app, [], prog_name="maspo-dsl", env=environment)
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("chec",), {"check"}),
        (("check", "masp"), {"maspo", "maspo_dapo", "maspo_paper"}),
        (("check", "o"), {"oapl", "olmo3", "opd", "opo", "optimal_token_baseline", "own.obj"}),
        (("check", "specs/"), {"specs/a.obj"}),
        (("explain", "maspo@h"), {"maspo@hard"}),
        (("explain", "maspo", "params.a"), {"params.alpha="}),
        (("explain", "own.obj", "params.z"), {"params.zeta="}),
        (("explain", "maspo", "rollout.s"), {"rollout.samples="}),
        (("train", "masp"), {"maspo", "maspo_dapo", "maspo_paper"}),
        (("train", "maspo", "trainer.max_s"), {"trainer.max_steps="}),
        (("train", "maspo", "params.alph"), {"params.alpha="}),
        (("new", "x", "--like", "sap"), {"sapo"}),
        (("explain", "broken.obj", "params.a"), set()),
        (("explain", "nowhere@a"), set()),
    ],
    ids=lambda given: " ".join(
        sorted(given) if isinstance(given, set) else given
    ),  # as each process collects them
)
def test_shell_completion(write, tmp_path, monkeypatch, words, found):
    monkeypatch.chdir(tmp_path)
    write("own.obj", "objective own extends grpo\nparam zeta = 1\nweight w = zeta\n")
    write("broken.obj", "objective (\n")
    write("specs/a.obj", "objective a extends grpo\n")
    assert set(completed(*words)) == found


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_are_commands(cli, name):
    text = cli(name, "--help").stdout
    examples = re.findall(r"^\s+maspo-dsl (.*)", text.split("Examples:")[1], re.MULTILINE)
    assert examples and all(example.split()[0] == name for example in examples)
    command = typer.main.get_command(app).get_command(None, name)
    known = {option for parameter in command.params for option in parameter.opts}
    assert all(word.split("=")[0] in known for e in examples for word in e.split() if word.startswith("--"))
