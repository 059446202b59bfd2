"""docs/errors.md is true: every code has an example, and each example prints the message below it.

An example is a spec (```spec) or a call (```python); the ```text block after it is what is printed.
`python -m tests.test_docs_errors` writes these blocks anew.
"""

import ast
import re
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.analysis.diagnosis import diagnose
from maspo_dsl.language.rendering import render
from maspo_dsl.language.source import Source

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
EXAMPLE = re.compile(r"```(spec|python)\n(.*?)```\n\n```text\n(.*?)```\n", re.DOTALL)
SECTION = re.compile(r"^### `([\w-]+)`$", re.MULTILINE)
REPORTERS = {"error", "fail", "_fail", "_fault", "reject", "Diagnostic", "Finding"}
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def printed(kind: str, text: str) -> str:
    """The messages of an example, as a terminal without colour shows them."""
    if kind == "spec":
        return render(diagnose(Source("example.obj", text)))
    try:
        exec(text, {"maspo_dsl": maspo_dsl})
    except maspo_dsl.SpecError as error:
        return render(error.diagnostics)
    return ""


def rewritten(page: str) -> str:
    """The page with every message rendered anew."""

    def block(match: re.Match[str]) -> str:
        kind, text, _ = match.groups()
        return f"```{kind}\n{text}```\n\n```text\n{printed(kind, text)}\n```\n"

    return EXAMPLE.sub(block, page)


def sections() -> dict[str, str]:
    """Text of each section by its code."""
    pieces = SECTION.split(PAGE.read_text())
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def codes_in_sources() -> set[str]:
    """Every code that a text can be reported with."""
    found = set()
    for layer in ("language", "semantics", "analysis"):
        for path in (ROOT / "maspo_dsl" / layer).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    found |= _codes_of(node)
    return found


def _codes_of(call: ast.Call) -> set[str]:
    """The code that a call reports: the first text among its first two arguments."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [a.value for a in call.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return {text for text in texts[:1] if name in REPORTERS and CODE.fullmatch(text)}


@pytest.mark.parametrize("code", sections())
def test_messages_are_what_is_printed(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = sections()[code]
    assert EXAMPLE.search(text), "a section needs an example and its message"
    assert rewritten(text) == text
    assert re.search(rf"^(error|warning)\[{code}\]", text, re.MULTILINE), "the example is of another mistake"


def test_every_code_has_an_example():
    assert set(sections()) == codes_in_sources()


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        PAGE.write_text(rewritten(PAGE.read_text()))
