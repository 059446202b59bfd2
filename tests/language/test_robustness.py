"""No input of any kind gives a traceback, and nothing takes long."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from maspo_dsl.cli.app import app
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.formatter import format_library, format_objective
from maspo_dsl.language.parser import parse_library, parse_objective, parse_objective_partial
from maspo_dsl.language.reading import SIZE_LIMIT, read_source
from maspo_dsl.language.rendering import render, to_json
from maspo_dsl.language.source import Source

from ..fuzz.target import examine
from .strategies import libraries, objectives

SPECS = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parent / "fixtures" / "written").glob("*.obj"))
]
PIECES = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "|>",
    ",",
    "=",
    "==",
    "#",
    '"',
    "\n",
    "\n\n",
    "  ",
    "..",
    ".",
    "-",
    "^",
    "\r\n",
]
PIECES += [
    "let ",
    "param ",
    "variant x {",
    "objective ",
    " if ",
    " else ",
    " when ",
    "1e999",
    "5",
    "x",
    "\x00",
    "−",
    "é",
]


def read_anyhow(text: str) -> None:
    """Parse a text; whatever is wrong with it is reported at places of the text, in order."""
    source = Source("any.obj", text)
    objective, diagnostics = parse_objective_partial(source)
    assert objective is not None or diagnostics
    assert all(0 <= d.span.start <= d.span.end <= len(text) for d in diagnostics)
    assert [d.span.start for d in diagnostics] == sorted(d.span.start for d in diagnostics)
    assert all(d.message and d.code for d in diagnostics)
    assert len(to_json(diagnostics)) == len(diagnostics)
    assert render(diagnostics, color=True).count("error") >= len(diagnostics)
    if objective is not None and not diagnostics:
        canonical = format_objective(objective)
        again = parse_objective(Source("again.obj", canonical))
        assert again == objective
        assert format_objective(again) == canonical


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
@example("objective x\n}{")
@example("objective x\nvariant y {")
@example("objective x\r")
@example("\ufeff")
@example("objective x\nlet y = (\x0c")
def test_arbitrary_text(text):
    read_anyhow(text)
    read_anyhow(f"objective x\n{text}")
    try:
        parse_library(Source("any.obj", text))
    except SpecError as error:
        assert error.diagnostics


@st.composite
def mutated_specs(draw):
    """A spec with a few pieces cut out, doubled, moved or put in."""
    text = draw(st.sampled_from(SPECS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(["", text[start:end] * 2, *PIECES]))
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def noise_in_specs(draw):
    """A spec with bytes put in that need not be text."""
    content = draw(st.sampled_from(SPECS)).encode()
    place = draw(st.integers(0, len(content)))
    return content[:place] + draw(st.binary(max_size=8)) + content[place:]


@settings(max_examples=300, deadline=None)
@given(mutated_specs())
def test_mutated_specs(text):
    read_anyhow(text)


@settings(max_examples=60, deadline=None)
@given(st.one_of(mutated_specs(), objectives().map(format_objective), libraries().map(format_library)))
def test_any_spec_is_an_objective_or_refused_in_words(text):
    """Names that mean nothing, edits of what is not there, values of every kind: nothing but SpecError."""
    examine(text.encode())


@settings(max_examples=24, deadline=None)
@given(
    st.one_of(st.binary(max_size=300), mutated_specs().map(str.encode), noise_in_specs()),
    st.sampled_from([(), ("--json",), ("--strict",)]),
)
def test_check_answers_any_bytes(content, options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.obj"
        path.write_bytes(content)
        result = CliRunner().invoke(app, ["check", *options, str(path)])
        assert isinstance(result.exception, SystemExit | None), content
        assert result.exit_code in (0, 1) and "Traceback" not in result.output
        assert "any.obj" in result.output


def refused(text: str) -> list[str]:
    """The codes of what is wrong with a text."""
    with pytest.raises(SpecError) as caught:
        parse_objective(Source("deep.obj", text))
    assert render(caught.value.diagnostics)
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "(" * 5000,
        "f(" * 5000 + "1" + ")" * 5000,
        "f(" * 90 + "-" * 90 + "1" + ")" * 90,
        "-" * 5000 + "1",
        "not " * 5000 + "a",
        "1 if a else " * 5000 + "1",
        "2^" * 5000 + "1",
        "1 + " * 5000 + "1",
        "1 * " * 5000 + "1",
        "least c in 0 .. 1 by 1 where a else " * 5000 + "1",
        "a" + " |> f" * 5000,
        "a |> f(" * 5000,
    ],
    ids=lambda text: f"{text[:12].strip()}…",
)
def test_deep_nesting_is_refused(expression):
    assert refused(f"objective x\nlet a = {expression}\n") in (["too-deep"], ["too-long"])


def test_nesting_that_is_accepted():
    for expression in [
        "(" * 99 + "1" + ")" * 99,
        "-" * 90 + "1",
        "f(" * 90 + "1" + ")" * 90,
        " + ".join("a" * 90),
    ]:
        tree = parse_objective(Source("deep.obj", f"objective x\nlet a = {expression}\n"))
        assert parse_objective(Source("again.obj", format_objective(tree))) == tree


def test_every_deep_line_is_named():
    deep = "(" * 200
    assert refused(f"objective x\nlet a = {deep}\nlet b = 1\nlet c = {deep}\n") == ["too-deep", "too-deep"]


def test_a_file_full_of_mistakes_is_read_for_a_while():
    codes = refused("objective x\n" + "let a = 1 1\n" * 10_000)
    assert codes[0] == "syntax"
    assert codes[-1] == "too-many-mistakes"
    assert len(codes) < 100


GARBAGE = random.Random(0)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b" \n\t\r\n", "empty-file"),
        (b"\xef\xbb\xbf\n", "empty-file"),
        (b"# only a comment\n", "empty-file"),
        (b"objective x\n\xff\xfe", "not-text"),
        (b"objective x\n\x00", "not-text"),
        ("objective x\n# a \u202e b\n".encode(), "not-text"),
        ('objective x\n"a\u2028b"\n'.encode(), "not-text"),
        ("objective x\n# \x85\n".encode(), "not-text"),
        ("objective x\n# \u2066\x7f\n".encode(), "not-text"),
        (b"objective x\n# \x1b[31m\n", "not-text"),
        ("objective x\nweight w\u00ad = A\n".encode(), "not-text"),
        ("objective x\nweight w\U000e0041 = A\n".encode(), "not-text"),
        (b"\x7fELF\x02\x01\x01\x00", "not-text"),
        (
            b"# Blender\nmtllib cube.mtl\no Cube\nv 1.0 1.0 -1.0\nvn 0 1 0\nf 1//1 2//1 3//1\n",
            "wavefront-file",
        ),
        (b"v 0 0 0\nv 0 0 1\n", "wavefront-file"),
        (GARBAGE.randbytes(10_000_000), "too-large"),
        (b"x" * (SIZE_LIMIT + 1), "too-large"),
        (b"x" * SIZE_LIMIT, "no-objective"),
        (b"x y\n" * (SIZE_LIMIT // 4), "too-large"),
        (b"x y\n" * 10_000, "no-objective"),
        (GARBAGE.randbytes(500_000).hex().encode(), "no-objective"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_files_that_are_no_objective(tmp_path, content, code):
    path = tmp_path / "file.obj"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        parse_objective(read_source(path))
    shown = render(caught.value.diagnostics)
    assert [d.code for d in caught.value.diagnostics] == [code]
    assert str(path) in shown
    assert max(map(len, shown.splitlines())) < 200 + len(str(path))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "grpo.obj").write_text("objective grpo\n", encoding="utf-8")
    for path, hint in [
        (tmp_path / "grop.obj", f"did you mean `{tmp_path / 'grpo.obj'}`?"),
        (tmp_path / "nowhere" / "grpo.obj", f"there is no folder `{tmp_path / 'nowhere'}` either"),
        (tmp_path, ""),
    ]:
        with pytest.raises(SpecError) as caught:
            read_source(path)
        [diagnostic] = caught.value.diagnostics
        assert (diagnostic.code, diagnostic.hint) == ("missing-file", hint)
        assert str(path) in render([diagnostic])
