"""Encodings, full and closed streams, pipes, devices, old line ends: a right answer or one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from maspo_dsl.cli import quick
from maspo_dsl.language.reading import read_source
from maspo_dsl.language.writing import write_whole

MAIN = "import sys; from maspo_dsl.cli import main; sys.argv[0] = 'maspo-dsl'; main()"


def ran(folder, *arguments, encoding="utf-8", shell="", stdin=b""):
    """A command in a process of its own, its streams put in place by a shell."""
    command = ["sh", "-c", f'exec "$0" "$@" {shell}', sys.executable, "-c", MAIN, *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "XDG_CACHE_HOME": str(folder), "COLUMNS": "40"}
    result = subprocess.run(
        command, cwd=folder, env=environment, input=stdin, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in result.stderr and b"Exception ignored" not in result.stderr
    return result


@pytest.mark.parametrize(
    "arguments", [("explain", "maspo"), ("list",), ("check", "any.obj"), ("diff", "--help")], ids=" ".join
)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_any_encoding_of_a_terminal(tmp_path, arguments, encoding):
    (tmp_path / "any.obj").write_text("objective x\n“π → 𝄞”\n", encoding="utf-8")
    result = ran(tmp_path, *arguments, encoding=encoding)
    assert result.returncode == (1 if "any.obj" in arguments else 0)
    assert len(result.stdout.decode(encoding)) > 100


def test_what_a_file_holds_is_utf_8_whatever_the_terminal_is(tmp_path):
    text = 'objective x extends grpo\n"α → 𝄞"\n'
    result = ran(tmp_path, "fmt", "-", encoding="cp1252", stdin=text.encode())
    assert result.stdout.decode() == text
    result = ran(tmp_path, "list", "--json", encoding="cp1252")
    assert "‖" in json.dumps(json.loads(result.stdout), ensure_ascii=False)


@pytest.mark.parametrize(
    "arguments", [("list",), ("check", "grpo"), ("fmt", "-"), ("show", "grpo"), ("--help",)]
)
@pytest.mark.parametrize("shell", [">/dev/full", ">&-"])
def test_a_standard_output_that_takes_nothing(tmp_path, arguments, shell):
    result = ran(tmp_path, *arguments, shell=shell, stdin=b"objective x extends grpo\n")
    assert result.returncode == 2
    [line] = result.stderr.decode().splitlines()
    assert line.startswith("error: standard output cannot be written: ")


def test_closed_inputs_and_errors_are_no_tracebacks(tmp_path):
    result = ran(tmp_path, "fmt", "-", shell="<&-")
    assert result.returncode == 2 and result.stderr == b"error: standard input is closed\n"
    assert ran(tmp_path, "check", "nowhere", shell="2>&-").returncode == 2


def test_a_reader_that_has_gone(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-c", MAIN, "list"], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, b"")


def test_pipes_and_devices(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("maspo_dsl.language.reading.PIPE_PATIENCE", 0.2)
    os.mkfifo(tmp_path / "pipe.obj")
    for command in (["check"], ["explain"], ["fmt"]):
        result = cli(*command, "pipe.obj")
        assert result.exit_code == 2 and "`pipe.obj` cannot be read: " in result.output
    assert cli("check", "/dev/zero").exit_code == 2
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.obj").write_text("objective x extends grpo\n"))
    writer.start()
    assert read_source(tmp_path / "pipe.obj").text == "objective x extends grpo\n"
    writer.join()
    result = cli("compile", "grpo", "-o", "pipe.obj")
    assert result.exit_code == 2 and "`pipe.obj` cannot be written" in result.stderr


def test_a_device_is_written_to_and_stays_what_it_is(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    write_whole(tmp_path / "null", "text")
    assert (tmp_path / "null").is_char_device()


def test_old_line_ends(cli, write):
    path = write("old.obj", "objective x extends grpo\rparam kl = -1\r# a comment\r")
    assert "old.obj:2:12" in cli("check", "old.obj").stdout
    assert cli("fmt", "old.obj").exit_code == 0
    assert path.read_bytes() == b"objective x extends grpo\nparam kl = -1\n# a comment\n"


def test_nothing_steers_the_terminal(cli, write):
    write("\x1b[31mred.obj", "objective x\n")
    result = cli("check", "\x1b[31mred.obj", "\x1b]0;title\x07")
    assert "\x1b" not in result.output and "\\x1b[31mred.obj" in result.output


# ---- verdicts that are kept


@pytest.fixture
def short_way(tmp_path, monkeypatch):
    """Asks by the short way; whether a verdict was kept from before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def ask(spec):
        before = quick._key(spec) in quick._known()
        assert quick.quick_check(["check", spec])
        return before

    return ask


def test_a_verdict_is_kept_until_something_changes(short_way, write, capsys):
    own = write("own.obj", "objective own extends base\n")
    base = write("base.obj", "objective base extends grpo\n")
    assert [short_way("own.obj"), short_way("own.obj")] == [False, True]
    assert capsys.readouterr().out == "own.obj: fine\n" * 2
    base.write_text("objective base extends grpo\nparam kl = -1\n")
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            short_way("own.obj")
        assert ended.value.code == 1 and "base.obj:2:12" in capsys.readouterr().out
    base.write_text("objective base extends grpo\n# again\n")
    assert not short_way("own.obj")
    write("grpo.obj", "objective grpo extends group_ppo\nnothing\n")
    with pytest.raises(SystemExit):
        short_way("own.obj")
    own.unlink()
    with pytest.raises(SystemExit):
        short_way("grpo.obj")


def test_warnings_are_said_each_time(short_way, write, capsys):
    write("warned.obj", "objective w extends grpo\npenalty a = 0.1 * k1(policy, reference)\n")
    for _ in range(2):
        assert not short_way("warned.obj")
        assert "warning[" in capsys.readouterr().out


def test_the_short_way_is_for_one_plain_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for arguments in (
        ["check"],
        ["check", "--json"],
        ["check", "a", "b"],
        ["fmt", "a"],
        ["check", "nowhere"],
    ):
        assert not quick.quick_check(arguments)
