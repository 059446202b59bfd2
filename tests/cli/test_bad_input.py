"""What users get wrong: each mistake has its message, its place and its exit code, and leaves nothing behind."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

HEAD = "objective t extends group_ppo\n"
DEPTH = 5000


@dataclass(frozen=True)
class Bad:
    """A file, the code and words of its message, and where that points (`line:column`, empty for a whole file)."""

    content: str | bytes
    code: str
    words: tuple[str, ...]
    place: str = ""


BAD = {
    "empty": Bad("", "empty-file", ("the file is empty", "objective NAME")),
    "only comments": Bad("\n# nothing yet\n", "empty-file", ("no statement", "objective NAME")),
    "binary": Bad(bytes(range(256)) * 40, "not-text", ("not text in UTF-8",), "3:"),
    "Wavefront": Bad("o Cube\nv 1.0 1.0 -1.0\nf 1 2 3\n", "wavefront-file", ("3D shape",), "2:1"),
    "10 MB of one letter": Bad(b"x" * 10_000_000, "too-large", ("larger than 1 MiB",)),
    "10 MB of lines": Bad((HEAD + "param x = 1\n" * 850_000), "too-large", ("larger than 1 MiB",)),
    "10 MB of bytes": Bad(bytes(range(256)) * 40_000, "too-large", ("larger than 1 MiB",)),
    "brackets, deep": Bad(
        f"{HEAD}let x = {'(' * DEPTH}1{')' * DEPTH}\n", "too-deep", ("100 brackets",), "2:"
    ),
    "calls, deep": Bad(
        f"{HEAD}let x = {'abs(' * DEPTH}1{')' * DEPTH}\n", "too-deep", ("100 brackets",), "2:"
    ),
    "minus, deep": Bad(f"{HEAD}let x = {'-' * DEPTH}1\n", "too-deep", ("nested", "name parts"), "2:"),
    "powers, deep": Bad(f"{HEAD}let x = {'2^' * DEPTH}1\n", "too-deep", ("nested", "name parts"), "2:"),
    "stages, deep": Bad(f"{HEAD}ratio = policy / old{' |> abs' * DEPTH}\n", "too-deep", ("nested",), "2:9"),
    "lets, deep": Bad(
        HEAD
        + "".join(f"let a{i} = a{i + 1} + 1\n" for i in range(1500))
        + "let a1500 = 1\nratio = policy / old |> min(a0)\n",
        "too-deep",
        ("more than 100 operations", "let"),
    ),
    "not an objective": Bad("def main():\n    pass\n", "syntax", (), "1:"),
    "no header": Bad("param x = 1\n", "", ("objective NAME",), "1:1"),
    "extends itself": Bad("objective bad extends bad\n", "cyclic-extends", ("bad → bad",), "1:23"),
    "missing base": Bad(
        "objective t extends gropu_ppo\n", "unknown-base", ("did you mean `group_ppo`?",), "1:21"
    ),
    "outside its interval": Bad(
        HEAD + "param eps_low = 3\n",
        "out-of-domain",
        ("`eps_low` = 3 is outside (0, 1)", "the interval"),
        "2:17",
    ),
    "infinite default": Bad(HEAD + "param eps_high = inf\n", "infinite-literal", ("must be finite",), "2:18"),
    "NaN default": Bad(HEAD + "param eps_high = nan\n", "infinite-literal", ("must be finite",), "2:18"),
    "overflowing literal": Bad(HEAD + "param eps_high = 1e999\n", "infinite-literal", ("1e999",), "2:18"),
    "infinite in a formula": Bad(
        HEAD + "ratio = policy / old |> min(inf)\n",
        "infinite-literal",
        ("not a number to compute with",),
        "2:29",
    ),
    "unread parameter": Bad(
        HEAD + "param foo = 3\n", "unread-name", ("nothing reads the param `foo`",), "2:7"
    ),
    "drop without neutral": Bad(
        HEAD + "drop advantage\n", "no-neutral", ("`advantage`", "replace it"), "2:6"
    ),
    "drop of a let without neutral": Bad(
        HEAD + "let w = 2\nratio = policy / old |> min(w)\ndrop w\n", "no-neutral", ("`w`", "neutral"), "4:6"
    ),
    "drop of nothing": Bad(HEAD + "drop clipp\n", "unknown-target", ("did you mean `clip`?",), "2:6"),
    "ambiguous drop": Bad(HEAD + "drop mean\n", "ambiguous-target", ("`mean` is the name of 2",), "2:6"),
    "ambiguous path": Bad(
        HEAD
        + "param kl = 1\npenalty kl = kl * k3(policy, old)\nlet kl2 = 1\nbonus clip = entropy(policy)\ndrop clip\n",
        "ambiguous-target",
        ("ratio.clip", "bonus.clip"),
        "6:6",
    ),
    "defined twice": Bad(HEAD + "param x = 1\nparam x = 2\n", "defined-twice", ("`x`", "first here"), "3:7"),
    "two slots": Bad(
        HEAD + "reduce = loss |> mean(window)\nreduce = loss |> sum(window)\n",
        "defined-twice",
        ("`reduce`",),
        "3:1",
    ),
    "misspelt name": Bad(HEAD + "ratio = polici / old\n", "unknown-name", ("did you mean `policy`?",), "2:9"),
    "misspelt slot": Bad(
        HEAD + "advntage = reward\n", "unknown-statement", ("did you mean `advantage`?",), "2:1"
    ),
}
COMMANDS = {"show": [], "explain": [], "compile": ["-o", "loss.py"], "train": ["run=run"]}


@pytest.fixture
def bad_file(request, write):
    return write("bad.obj", BAD[request.param].content)


@pytest.mark.parametrize("bad_file, bad", list(BAD.items()), indirect=["bad_file"], ids=list(BAD))
def test_check_says_what_is_wrong_and_where(cli, bad_file, bad):
    result = cli("check", "bad.obj")
    assert result.exit_code == 1
    assert f"error[{bad.code}" in result.stdout
    for word in bad.words:
        assert word in result.stdout
    assert re.search(rf"--> (<command line>|.*bad\.obj{f':{bad.place}' if bad.place else ''})", result.stdout)
    assert re.search(r"^bad\.obj: \d+ errors?", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("bad_file, bad", list(BAD.items()), indirect=["bad_file"], ids=list(BAD))
def test_other_commands_refuse_it_and_write_nothing(cli, tmp_path, bad_file, bad):
    """All read a spec in one way: each mistake is shown to one of them, the next one to the next."""
    command = list(COMMANDS)[list(BAD.values()).index(bad) % len(COMMANDS)]
    result = cli(command, "bad.obj", *COMMANDS[command])
    assert result.exit_code == 2
    assert result.stdout == ""
    for word in bad.words:
        assert word in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.obj"]


SYNTAX = [
    name
    for name, bad in BAD.items()
    if bad.code in ("empty-file", "not-text", "wavefront-file", "too-large", "syntax", "")
]


@pytest.mark.parametrize("bad_file", SYNTAX, indirect=True)
def test_fmt_leaves_it_as_it_was(cli, tmp_path, bad_file):
    before = bad_file.read_bytes()
    good = tmp_path / "good.obj"
    good.write_text("objective  g extends grpo\n")
    result = cli("fmt", "good.obj", "bad.obj")
    assert result.exit_code == 2 and "error[" in result.stderr
    assert bad_file.read_bytes() == before
    assert good.read_text() == "objective  g extends grpo\n", "one file that cannot be read stops all"
    assert len(list(tmp_path.iterdir())) == 2


def test_long_garbage_is_refused(cli, write):
    """Mistakes enough to keep a parser busy for minutes."""
    write("garbage.obj", "objective t\n" + "".join(f"a{i} = = ) {i}\n" for i in range(19_000)))
    result = cli("check", "garbage.obj")
    assert result.exit_code == 1 and "the rest of the file was not read" in result.stdout


# ---- names and paths


@pytest.mark.parametrize(
    "spec, words",
    [
        ("mapso", ("no objective is named `mapso`", "did you mean `maspo`?")),
        ("nowhere.obj", ("there is no file `nowhere.obj`",)),
        ("no/folder/x.obj", ("there is no folder `no/folder`",)),
        ("maspo@hrad", ("has no variant `hrad`", "did you mean `hard`?")),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_spec_that_is_not_there(cli, tmp_path, command, spec, words):
    result = cli(command, spec, *COMMANDS[command])
    assert result.exit_code == 2 and result.stdout == ""
    assert all(word in result.stderr for word in words)
    assert not list(tmp_path.iterdir())


def test_a_misspelt_file_has_its_neighbour_named(cli, write):
    write("mine.obj", HEAD)
    result = cli("check", "mien.obj")
    assert result.exit_code == 2 and "did you mean `mine.obj`?" in result.stdout


def test_a_cycle_over_two_files(cli, write):
    write("a.obj", "objective a extends b\n")
    write("b.obj", "objective b extends a\n")
    result = cli("check", "a.obj")
    assert result.exit_code == 1 and "a → b → a" in result.stdout and "b.obj:1:21" in result.stdout


def test_a_base_with_mistakes_shows_them_in_its_own_file(cli, write):
    write("a.obj", "objective a extends b\n")
    write("b.obj", "objective b extends grpo\nparam kl = -1\n")
    result = cli("check", "a.obj")
    assert result.exit_code == 1 and "b.obj:2:12" in result.stdout
    write("b.obj", b"\xff\xfe\x00")
    result = cli("check", "a.obj")
    assert result.exit_code == 1 and "error[not-text]" in result.stdout


def test_a_file_that_cannot_be_read(cli, tmp_path):
    (tmp_path / "loop.obj").symlink_to(tmp_path / "loop.obj")
    result = cli("check", "loop.obj")
    assert result.exit_code == 2 and "`loop.obj` cannot be read: too many levels" in result.stdout


def test_a_folder_is_no_spec_but_a_folder_of_specs_is_checked(cli, tmp_path):
    (tmp_path / "specs").mkdir()
    assert cli("check", "specs").exit_code == 2
    assert cli("show", "specs/").exit_code == 2
    (tmp_path / "specs" / "a.obj").write_text(HEAD)
    assert cli("check", "specs").exit_code == 0


# ---- overrides


@pytest.mark.parametrize(
    "override, words",
    [
        ("params.alpha=3", ("`alpha` = 3 is outside [0, 1]", "params.alpha=3", "maspo.obj:8")),
        ("params.alpa=0.3", ("no parameter `alpa`", "did you mean `alpha`?")),
        ("params.alpha=wide", ("alpha", "wide", "number")),
        ("params.alpha=true", ("params.alpha", "number")),
        ("params.alpha=inf", ("alpha",)),
        ("params.alpha=nan", ("alpha",)),
        ("params.alpha=", ("a value is missing",)),
        ("params.eps_low=0.1", ("does not read its inherited parameter `eps_low`",)),
        ("alpha=0.3", ("params.alpha=0.3",)),
        ("alpha", ("has no `=`",)),
        ("~params.alpha", ("`~params.alpha`",)),
        ("trainer.max_stepz=3", ("trainer.max_stepz",)),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_overrides_that_cannot_be_used(cli, tmp_path, command, override, words):
    result = cli(command, "maspo", override, *COMMANDS[command])
    assert result.exit_code == 2 and result.stdout == ""
    assert all(word in result.stderr for word in words), result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["train", "explain", "show"])
def test_mistakes_in_keys_and_in_parameters_come_at_once(cli, tmp_path, command):
    (tmp_path / "own.obj").write_text(HEAD + "drop clipp\n")
    keys = ["rollout.samples=0", "rollout.sample=4", "params.eps_low=3", "params.eps_lo=0.1"]
    words = [
        "rollout.samples=0",
        "`rollout.sample`",
        "`eps_low` = 3 is outside",
        "no parameter `eps_lo`",
        "`clipp`",
    ]
    result = cli(command, "own.obj", *keys)
    assert result.exit_code == 2 and result.stdout == ""
    assert [word for word in words if word not in result.stderr] == []
    text = cli(command, "own.obj", *keys[2:]).stderr  # the spec's mistakes alone
    assert "outside" in text and "clipp" in text and "rollout" not in text
    assert cli(command, "grpo", *keys[:2]).stderr.count("error") == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ("an objective is missing",)),
        (["maspo", "grpo"], ("one objective trains at a time",)),
        (["resume=gone"], ("no run is there",)),
        (["maspo", "task=sotr"], ("no task", "sort")),
        (["maspo", "run=file"], ("is a file",)),
        (["maspo", "trainer.max_steps=0.5"], ("trainer.max_steps=0.5", "whole number")),
        (["maspo", "rollout.prompts=1", "rollout.samples=1"], ("too few",)),
    ],
)
def test_runs_that_cannot_start(cli, tmp_path, arguments, words):
    (tmp_path / "file").touch()
    result = cli("train", *arguments)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


REWARDS = """
import math
def nothing(prompts, completions, **columns): pass
def nones(prompts, completions, **columns): return [None for _ in completions]
def nans(prompts, completions, **columns): return [math.nan for _ in completions]
def few(prompts, completions, **columns): return [1.0]
def words(prompts, completions, **columns): return ["good" for _ in completions]
def raises(prompts, completions, **columns): return 1 / 0
"""


@pytest.mark.parametrize(
    "reward, words",
    [
        ("nothing", ("returned None", "is a `return` missing?")),
        ("nones", ("returned None", "for all 32 completions")),
        ("nans", ("nan for completion 0", "finite")),
        ("few", ("1 values for 32 completions",)),
        ("words", ("'good'", "completion 0")),
        ("raises", ("ZeroDivisionError", "cli_rewards.py:8")),
        ("nons", ("did you mean `nones`?",)),
    ],
)
def test_reward_functions_that_fail(cli, write, tmp_path, brief, monkeypatch, reward, words):
    monkeypatch.syspath_prepend(str(tmp_path))
    write("cli_rewards.py", REWARDS)
    result = cli("train", "maspo", f"reward=cli_rewards.{reward}", "run=run", "trainer.max_steps=1", *brief)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert not (tmp_path / "run").exists()


def test_what_training_cannot_provide(cli, write, tmp_path, brief):
    write("mine.obj", HEAD + "input surprise : token\nweight w = surprise\n")
    assert cli("check", "mine.obj").exit_code == 0
    result = cli("train", "mine.obj", "run=run", "trainer.max_steps=1", *brief)
    assert result.exit_code == 2 and "`surprise`, which training does not provide" in result.stderr
    assert not (tmp_path / "run").exists()


# ---- usage


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["trian", "maspo"], ("'trian'", "'train'")),
        (["check"], ("SPEC",)),
        (["check", "maspo", "--jsno"], ("--jsno", "--json")),
        (["show", "maspo", "--stage", "grap"], ("graph",)),
        (["show", "maspo", "--raw"], ("--stage graph",)),
        (["show", "maspo", "--stage", "tree", "params.alpha=0.1"], ("--stage resolved",)),
        (["show", "maspo", "--variant", "hrad"], ("did you mean `hard`?",)),
        (["fmt", "-", "x.obj"], ("stands alone",)),
        (["compile", "maspo", "-o", "no/where.py"], ("no folder `no`",)),
        (["compile", "maspo", "-o", "."], ("is a folder",)),
    ],
)
def test_wrong_usage(cli, arguments, words):
    result = cli(*arguments)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("command", ["explain", "check"])
def test_json_stays_one_document_when_the_spec_is_bad(cli, write, command):
    import json

    write("bad.obj", HEAD + "param eps_low = 3\n")
    result = cli(command, "bad.obj", "--json")
    document = json.loads(result.stdout)
    (found,) = document["diagnostics"]
    assert (found["code"], found["line"], found["column"]) == ("out-of-domain", 2, 17)
    assert result.stderr == ""
