"""What each command prints, writes and exits with when all is well; and the manners of the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.cli.app import COMMANDS

SHIPPED = maspo_dsl.shipped()
WARNED = "objective w extends group_ppo\nreduce = loss |> mean(micro)\n"
UNTIDY = "# why\nobjective   w extends grpo   # this one\n\nparam kl=0.1\nparam   eps_low =0.1\n\n\n\ndrop   scale\n"
TIDY = (
    "# why\nobjective w extends grpo  # this one\n\nparam kl      = 0.1\nparam eps_low = 0.1\n\ndrop scale\n"
)


# ---- manners


@pytest.mark.parametrize(
    "arguments", [["check", "maspo"], ["fmt", "--check", "m.obj"], ["list"], ["show", "maspo"]]
)
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    (tmp_path / "m.obj").write_text(maspo_dsl.load("maspo").source_text)
    heavy = {"torch", "lightning", "transformers", "omegaconf", "matplotlib"}
    code = (
        f"import sys\nsys.argv = ['maspo-dsl', *{arguments}]\n"
        "from maspo_dsl.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)


def test_help_lists_every_command(cli):
    text = cli("--help").stdout
    assert len(COMMANDS) >= 10 and all(f"\n  {name} " in text for name in COMMANDS)
    assert "..." not in text.split("Commands:")[1], "a line of help is cut off"


def test_version(cli):
    assert cli("--version").stdout.startswith("maspo-dsl ")


def test_no_colour_where_nobody_looks(cli, write, monkeypatch):
    write("w.obj", WARNED)
    assert "\x1b[" not in cli("check", "w.obj").output


@pytest.mark.parametrize(
    "environment, expected",
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_on_a_terminal_unless_told(monkeypatch, environment, expected):
    from maspo_dsl.cli.output import colored

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colored(Terminal()) is expected


def test_a_closed_pipe_is_no_error():
    result = subprocess.run(
        f"{sys.executable} -c 'from maspo_dsl.cli import main; main()' list | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout == "Objectives\n" and "Traceback" not in result.stderr


# ---- check


@pytest.mark.parametrize("name", ["bapo", "grpo", "maspo"])
def test_what_ships_checks_clean(cli, name):
    """Every one of them does by tests/analysis/test_lints.py; here it is the command."""
    result = cli("check", name, "--strict")
    assert (result.exit_code, result.stdout) == (0, f"{name}: fine\n")


def test_check_takes_names_files_and_folders(cli, write):
    write("specs/a.obj", "objective a extends grpo\n")
    write("specs/deeper/lib.obj", '"Mine."\ndef twice(x) = 2 * x   "x, two times"\n')
    result = cli("check", "maspo", "specs", "specs/a.obj")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "maspo: fine",
        "specs/a.obj: fine",
        "specs/deeper/lib.obj: fine",
        "3 specs: no errors",
    ]


def test_warnings_fail_when_strict(cli, write):
    write("w.obj", WARNED)
    result = cli("check", "w.obj")
    assert result.exit_code == 0
    assert "warning[micro-scope]" in result.stdout and result.stdout.endswith("w.obj: 1 warning\n")
    assert cli("check", "w.obj", "--strict").exit_code == 1
    write("w.obj", WARNED + 'allow micro-scope "as TRL does"\n')
    assert cli("check", "w.obj", "--strict").stdout == "w.obj: fine\n"


def test_check_counts_all_mistakes_at_once(cli, write):
    write(
        "b.obj",
        "objective b extends group_ppo\nparam eps_low = 7\nratio = polici / old\nreduce = loss |> mean(windw)\n",
    )
    result = cli("check", "b.obj", "maspo")
    assert result.exit_code == 1
    assert result.stdout.endswith("b.obj: 3 errors\nmaspo: fine\n2 specs: 1 with errors\n")
    assert "did you mean `policy`?" in result.stdout and "did you mean `window`?" in result.stdout


def test_check_as_json(cli, write):
    write("w.obj", WARNED)
    document = json.loads(cli("check", "w.obj", "maspo", "nowhere", "--json").stdout)
    assert (document["errors"], document["warnings"]) == (1, 1)
    assert [d["code"] for d in document["diagnostics"]] == ["micro-scope", "unknown-objective"]
    first, second, third = document["specs"]
    assert (first["name"], second["hash"], third["name"]) == ("w", maspo_dsl.load("maspo").hash, None)
    (warning,) = first["diagnostics"]
    assert (warning["file"], warning["line"], warning["severity"]) == ("w.obj", 2, "warning")


# ---- fmt


def test_fmt_rewrites_and_keeps_comments_and_mode(cli, write):
    path = write("w.obj", UNTIDY)
    path.chmod(0o640)
    result = cli("fmt", "w.obj")
    assert (result.exit_code, result.stdout) == (0, "w.obj: changed\n")
    assert path.read_text() == TIDY
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["w.obj"]
    again = cli("fmt", "w.obj")
    assert (again.exit_code, again.stdout) == (0, "") and "1 file in canonical form" in again.stderr


def test_fmt_check_writes_nothing(cli, write):
    path = write("w.obj", UNTIDY)
    tidy = write("t.obj", TIDY)
    result = cli("fmt", "--check", "w.obj", "t.obj")
    assert (result.exit_code, result.stdout) == (1, "w.obj: would change\n")
    assert path.read_text() == UNTIDY
    assert cli("fmt", "--check", tidy).exit_code == 0


def test_fmt_of_standard_input(cli):
    result = cli("fmt", "-", stdin=UNTIDY)
    assert (result.exit_code, result.stdout) == (0, TIDY)
    assert cli("fmt", "-", "--check", stdin=UNTIDY).exit_code == 1
    assert cli("fmt", "-", "--check", stdin=TIDY).exit_code == 0
    bad = cli("fmt", "-", stdin="objective\n")
    assert (bad.exit_code, bad.stdout) == (2, "") and "<stdin>:1" in bad.stderr
    assert cli("fmt", "-", stdin=b"\xff\xfe").exit_code == 2
    assert cli("fmt", "-", stdin="").exit_code == 2


def test_fmt_of_libraries_line_ends_and_folders(cli, write):
    library = write("specs/lib.obj", '"Mine."\ndef  twice(x)=2*x "x, two times"\n')
    windows = write("specs/w.obj", TIDY.replace("\n", "\r\n"))
    result = cli("fmt", "specs")
    assert result.stdout == "specs/lib.obj: changed\nspecs/w.obj: changed\n"
    assert library.read_text() == '"Mine."\ndef twice(x) = 2 * x  "x, two times"\n'
    assert windows.read_bytes() == TIDY.encode()


def test_fmt_writes_through_a_link(cli, write, tmp_path):
    path = write("real/w.obj", UNTIDY)
    (tmp_path / "link.obj").symlink_to(path)
    assert cli("fmt", "link.obj").exit_code == 0
    assert (tmp_path / "link.obj").is_symlink() and path.read_text() == TIDY


# ---- show


@pytest.mark.parametrize("name", ["maspo", "bapo", "ppo", "stapo"])
def test_the_flat_objective_is_a_file_again(cli, write, name):
    """So are all that ship, by `tests/semantics/test_hash.py`."""
    text = cli("show", name).stdout
    write("flat.obj", text)
    assert maspo_dsl.load("flat.obj").hash == maspo_dsl.load(name).hash
    assert cli("fmt", "--check", "flat.obj").exit_code == 0
    assert cli("check", "flat.obj", "--strict").exit_code == 0


def test_show_binds_values_and_takes_variants(cli):
    assert "param alpha      = 0.5" in cli("show", "maspo", "params.alpha=0.5").stdout
    hard = cli("show", "maspo", "--variant", "hard").stdout
    assert hard == cli("show", "maspo@hard").stdout
    assert "objective maspo_hard" in hard and "clip(0.8, 1.28)" in hard
    assert "param max_length = 8 " in cli("show", "dapo", "rollout.max_new_tokens=8").stdout


def test_the_tree_is_of_the_file_itself(cli):
    text = cli("show", "maspo", "--stage", "tree").stdout
    assert "extends=group_ppo" in text and "Stage gaussian_gate alias=gate" in text
    assert "Slot advantage" not in text, "inherited, so not in this file"


def test_the_graph_before_and_after_simplification(cli):
    after, before = (cli("show", "grpo", "--stage", "graph", *raw).stdout for raw in ([], ["--raw"]))
    assert "before simplification (--raw)" in after and "# before simplification" in before
    assert len(before.splitlines()) > len(after.splitlines())
    assert "param eps_high (0.2)" in after and "scope=group" in after and "\n  term:kl " in after
    line = next(line for line in after.splitlines() if "input logp " in line)
    assert "token" in line and "live" in line
    assert "logp_ref" not in cli("show", "grpo", "--stage", "graph", "params.kl=0").stdout


def test_the_torch_stage_is_what_compile_writes(cli):
    assert cli("show", "grpo", "--stage", "torch").stdout == cli("compile", "grpo").stdout


# ---- list


def test_list_names_everything_that_ships(cli):
    text = cli("list").stdout
    assert all(f"\n  {name} " in text for name in SHIPPED)
    assert "arXiv:2602.17550" in text and "gaussian_gate(r, width)" in text and "\n  quantile " in text
    document = json.loads(cli("list", "--json").stdout)
    assert [entry["name"] for entry in document["objectives"]] == SHIPPED
    assert all(entry["meaning"] and entry["sources"] for entry in document["objectives"])
    definitions = [d for library in document["library"] for d in library["definitions"]]
    assert all(d["meaning"] for d in definitions)
    assert {"policy", "A"} <= {entry["name"] for entry in document["quantities"]}


# ---- compile


def load_file(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compile_writes_a_module_that_says_what_it_is(cli, tmp_path):
    result = cli("compile", "maspo", "-o", "loss.py", "params.alpha=0.5")
    objective = maspo_dsl.load("maspo", {"alpha": 0.5})
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"maspo@{objective.hash} -> loss.py" in result.stderr
    module = load_file(tmp_path / "loss.py")
    assert objective.hash == module.HASH and objective.text == module.SPEC
    assert float(module.Loss().params["alpha"]) == 0.5


def test_compile_with_a_head_writes_it_into_the_file(cli, tmp_path):
    assert cli("compile", "maspo", "-o", "loss.py", "--head", "linear").exit_code == 0
    assert hasattr(load_file(tmp_path / "loss.py").Loss, "from_hidden")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--format", "export"], "writes a .pt2 file; name it"),
        (["--format", "aoti", "-o", "loss.py"], "writes a .pt2 file; name it"),
        (["--format", "export", "--head", "linear", "-o", "loss.pt2"], "has no head"),
    ],
)
def test_compile_refuses_what_is_no_program(cli, tmp_path, arguments, message):
    result = cli("compile", "maspo", *arguments)
    assert result.exit_code == 2 and message in result.stderr
    assert not list(tmp_path.iterdir())


def test_compile_overwrites_its_own_program_alone(cli, write, tmp_path):
    """A program of other hands is a .pt2, too."""
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as file:
        file.writestr("other/extra/notes.json", "{}")
    assert "--force" in cli("compile", "maspo", "-o", "other.pt2", "--format", "export").stderr
    with zipfile.ZipFile(tmp_path / "mine.pt2", "w") as file:
        file.writestr("mine/extra/maspo_dsl.json", "{}")
    assert cli("compile", "dapo", "-o", "mine.pt2", "--format", "export").exit_code == 0
    assert (tmp_path / "mine.pt2").stat().st_size > 10_000


def test_compile_shows_what_check_warns_of(cli, write):
    write("own.obj", "objective own extends group_ppo\nafter clip |> min(0.5) as low_cap\n")
    warned = cli("compile", "own.obj", "-o", "loss.py")
    assert warned.exit_code == 0 and warned.stdout == "" and "warning[cap-below-one]" in warned.stderr
    assert warned.stderr.count("warning[") == cli("check", "own.obj").stdout.count("warning[")
    assert "warning" not in cli("compile", "maspo", "-o", "loss.py").stderr


def test_compile_overwrites_its_own_file_alone(cli, write):
    mine = write("mine.py", "print('hours of work')\n")
    result = cli("compile", "maspo", "-o", "mine.py")
    assert result.exit_code == 2 and "--force" in result.stderr and "hours" in mine.read_text()
    assert cli("compile", "maspo", "-o", "mine.py", "--force").exit_code == 0
    before = mine.read_text()
    assert cli("compile", "grpo", "-o", "mine.py").exit_code == 0, "this one was generated"
    assert mine.read_text() != before
    write("empty.py", "")
    assert cli("compile", "grpo", "-o", "empty.py").exit_code == 0


def test_a_full_disk_leaves_the_old_file(monkeypatch, tmp_path):
    from maspo_dsl.cli.output import InputError, write_file

    path = tmp_path / "a.obj"
    path.write_text("old")

    def full(handle, *arguments, **options):
        os.close(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdopen", full)
    with pytest.raises(InputError, match=r"`.*a\.obj` cannot be written: no space left"):
        write_file(path, "new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


# ---- train


def test_train_lists_its_keys(cli):
    text = cli("train", "--keys").stdout
    assert "trainer.max_steps = " in text and "params.NAME" in text and "optimizer updates of a step" in text


def test_train_and_resume_by_the_run_alone(cli, tmp_path, brief):
    result = cli("train", "grpo", "run=run", "params.kl=0", "trainer.max_steps=1", *brief)
    assert result.exit_code == 0, result.stderr
    assert "done after step 1" in result.stdout
    assert "warning[dead-part]" in result.stderr  # the term whose weight was set to 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"spec.obj", "config.yaml", "metrics.csv", "metrics.jsonl", "curves.png", "samples.jsonl"} <= names
    assert cli("check", "run/spec.obj").exit_code == 0
    more = cli("train", "resume=run", "trainer.max_steps=2")
    assert more.exit_code == 0 and "done after step 2" in more.stdout
    other = cli("train", "maspo", "resume=run", "trainer.max_steps=3")
    assert other.exit_code == 2


def test_ctrl_c_leaves_a_run_to_resume(tmp_path, model_cache):
    code = "from maspo_dsl.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "maspo", "run=run", f"cache={model_cache}"]
    command += ["rollout.prompts=8", "rollout.samples=4", "trainer.eval_prompts=16"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "go on with `maspo-dsl train resume=run`" in output and "Traceback" not in errors


@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_before_the_first_step(cli, monkeypatch, swallowed):
    """Lazy imports turn it into an ImportError."""
    from maspo_dsl.trainers import run

    def train(config, source):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if swallowed:
                raise ModuleNotFoundError("half a module") from error
            raise

    monkeypatch.setattr(run, "train", train)
    result = cli("train", "maspo")
    assert result.exit_code == 130 and "nothing to resume" in result.stderr


def test_a_fault_of_ours_is_not_called_an_interruption(cli, monkeypatch):
    from maspo_dsl.trainers import run

    def train(config, source):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(run, "train", train)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli("train", "maspo")
