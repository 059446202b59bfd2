"""The examples in the pages are true: specs check, and the blocks marked `test` run and print what they show.

* A block marked ```obj is a whole spec and checks without an error or a warning; later blocks of its page
  may extend it by name. ```obj extends=NAME holds lines of a spec that extends NAME, and ```obj fails a
  spec that must be refused. ```obj shipped repeats a shipped spec, which is checked where it is.
* A block marked ```python test runs; the blocks of one page share their names.
* In a block marked ```console test each line after `$ ` runs in bash, in a folder that holds the specs of
  the page, and must print the lines that follow; `...` stands for any text.
"""

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
COMMAND = str(Path(sys.executable).with_name("maspo-dsl"))
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1``` *$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, without the fence's indentation."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        indent, info, body = match.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        number = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, number, tuple(info.split()), "\n".join(lines) + "\n"))
    return found


def write_spec(block: Block, folder: Path) -> Path:
    """The block as a file, named as the objective that it declares."""
    extends = next(
        (word.removeprefix("extends=") for word in block.words if word.startswith("extends=")), None
    )
    text = f"objective example extends {extends}\n\n{block.text}" if extends else block.text
    name = re.search(r"^objective +(\w+)", text, re.MULTILINE)
    path = folder / f"{name.group(1) if name else 'library'}.obj"
    path.write_text(text)
    return path


def check(path: Path, block: Block) -> None:
    result = CliRunner().invoke(app, ["check", "--strict", str(path)])
    if "fails" in block.words:
        assert result.exit_code == 1, f"{block.place}: expected a mistake\n{block.text}"
    else:
        assert result.exit_code == 0, f"{block.place}\n{result.output}"


def run_python(block: Block, names: dict[str, object]) -> None:
    exec(compile("\n" * block.line + block.text, str(block.page), "exec"), names)


def run_console(block: Block, folder: Path) -> None:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(COMMAND).parent), os.environ["PATH"]]),
        "NO_COLOR": "1",
    }
    parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)[1:]
    for command, expected in zip(parts[::2], parts[1::2], strict=True):
        result = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        got = result.stdout + result.stderr
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        same = doctest.OutputChecker().check_output(expected, got, flags)
        assert same, f"{block.place}: $ {command}\nexpected:\n{expected}\ngot:\n{got}"


def as_test(page: Path) -> object:
    """Two pages take as long as all others: that about `verify` compiles an objective, the tutorial trains."""
    slow = [pytest.mark.slow] if page.name in {"verify.md", "tutorial.md"} else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=slow)


@pytest.mark.parametrize("page", map(as_test, PAGES))
def test_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(page):
        if block.words[:1] == ("obj",) and "shipped" not in block.words:
            check(write_spec(block, tmp_path), block)
        elif block.words[:2] == ("python", "test"):
            run_python(block, names)
        elif block.words[:2] == ("console", "test"):
            run_console(block, tmp_path)


def test_commands_of_the_readme_are_targets():
    """`make X` in a page must be a target, and the two that the README promises must be among them."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"^(?:\$ )?make ([\w-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"train", "test"} <= named <= targets


def test_shipped_objectives_are_documented():
    """Each has its one line and says where it comes from."""
    for name in maspo_dsl.shipped():
        text = maspo_dsl.load(name).source_text
        assert re.search(r'^"[^"]+"$', text, re.MULTILINE), f"{name} has no one-line meaning"
        assert re.search(r'^source +"[^"]+"$', text, re.MULTILINE), f"{name} names no source"
