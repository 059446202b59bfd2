"""`maspo-dsl verify`: what it prints, and how it exits."""

import json
import sys

import pytest
from typer.testing import CliRunner, Result

import maspo_dsl
from maspo_dsl.cli.app import app
from maspo_dsl.verification import verify as verification

FAILS = (
    'objective doubled extends group_ppo\n"Good completions count twice"\nweight twice = 2 if A > 0 else 1\n'
)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["verify", *arguments], prog_name="maspo-dsl")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


CHECKS = [check for check in verification.CHECKS if check.name in ("compiled, float64", "on policy", "rows")]
"""A quick three."""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(verification, "CHECKS", CHECKS)


@pytest.fixture
def doubled(tmp_path):
    path = tmp_path / "doubled.obj"
    path.write_text(FAILS)
    return str(path)


def test_one_objective_that_holds(quick):
    result = run("cispo", "params.cap=3", "--backend", "eager")
    assert result.exit_code == 0
    assert all(check.name in result.stdout for check in CHECKS)
    assert f"cispo@{maspo_dsl.load('cispo', {'cap': 3}).hash}: 2 held, 1 skipped" in result.stdout


def test_a_line_that_fails(doubled, quick):
    result = run(doubled, "--backend", "eager")
    assert result.exit_code == 1
    assert "1 failed, 1 held, 1 skipped" in result.stdout


def test_several(doubled, quick):
    result = run("cispo", doubled, "--backend", "eager")
    assert result.exit_code == 1
    text = result.stdout
    assert (
        text.index("cispo@") < text.index("2 held") < text.index("doubled@") < text.index("1 failed, 1 held")
    )
    assert text.splitlines()[-1] == "2 objectives: 1 fail"
    document = json.loads(run("cispo", doubled, "--backend", "eager", "--json").stdout)
    assert [one["name"] for one in document["objectives"]] == ["cispo", "doubled"] and not document["ok"]


def test_a_line_is_printed_when_it_is_known(monkeypatch):
    """Into a pipe too: whoever waits reads the first lines while the last are computed."""
    seen: list[str] = []

    def test(subject):
        """What was written so far."""
        seen.append(sys.stdout.getvalue().decode() if hasattr(sys.stdout, "getvalue") else read())
        return "pass", "seen"

    def read() -> str:
        sys.stdout.flush()
        return sys.stdout.buffer.getvalue().decode()

    checks = [verification.Check(name, test) for name in ("first", "second", "third")]
    monkeypatch.setattr(verification, "CHECKS", checks)
    run("cispo", "--backend", "eager")
    assert [("first" in text, "second" in text) for text in seen] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_json(doubled, quick):
    result = run(doubled, "--backend", "eager", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["name"], document["ok"], document["backend"]) == ("doubled", False, "eager")
    assert [line["name"] for line in document["lines"]] == [check.name for check in CHECKS]
    (failed,) = [line for line in document["lines"] if line["verdict"] == "fail"]
    assert failed["name"] == "on policy" and failed["detail"] and failed["seconds"] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maspoo"], "did you mean `maspo`"),
        (["maspo", "params.alpa=1"], "did you mean `alpha`"),
        (["maspo", "nonsense"], "nonsense"),
        (["maspo@nope"], "nope"),
        ([], "--all"),
        (["--all", "maspo"], "no place for `maspo`"),
        (["maspo", "--backend", "jit"], "jit"),
        (["maspo", "dapo", "params.alpha=1"], "`params.alpha=1` is of one SPEC"),
    ],
)
def test_invalid_input(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_invalid_input_as_json():
    result = run("maspoo", "--json")
    assert result.exit_code == 2
    assert "maspoo" in json.loads(result.stdout)["error"]


@pytest.mark.slow
def test_all(monkeypatch):
    """In several processes; here of two objectives."""
    monkeypatch.setattr(maspo_dsl, "shipped", lambda: ["cispo", "group_ppo"])
    result = run("--all", "--backend", "eager")
    assert result.exit_code == 0
    assert "2 objectives: all hold" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines()[:2]] == ["cispo", "group_ppo"]
