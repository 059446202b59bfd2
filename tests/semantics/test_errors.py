"""Every mistake of a spec, its place, its words and its hint; all of a file at once, and one message a mistake.

`fixtures/errors.txt` holds specs with `^ code: message | hint` under each line that has a mistake, the caret at its
column. Nothing else may be reported. `…` at the end of a hint stands for the rest of it.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.resolve import examine

HERE = Path(__file__).parent
SEMANTICS = Path(maspo_dsl.__file__).parent / "semantics"
CARET = re.compile(r"( *)\^ ([a-z0-9-]+): (.*?)(?: \| (.*))?")


@dataclass(frozen=True)
class Found:
    line: int
    column: int
    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class Case:
    title: str
    text: str
    expected: tuple[Found, ...]

    def __str__(self) -> str:
        return self.title


def cases() -> Iterator[Case]:
    for block in (HERE / "fixtures" / "errors.txt").read_text().split("=== ")[1:]:
        title, *lines = block.rstrip("\n").split("\n")
        spec: list[str] = []
        expected = []
        for line in lines:
            if (match := CARET.fullmatch(line)) is None:
                spec.append(line)
            else:
                expected.append(Found(len(spec), len(match[1]) + 1, match[2], match[3], match[4] or ""))
        yield Case(title, "\n".join(spec) + "\n", tuple(expected))


CASES = list(cases())


def found(text: str) -> list[Diagnostic]:
    return examine(Source("example.obj", text))[1]


def shown(diagnostic: Diagnostic) -> Found:
    d = diagnostic
    return Found(d.line, d.column, d.code, d.message, d.hint)


def cut(got: Found, expected: Found) -> Found:
    """The finding with its hint cut where the expected one ends in an ellipsis."""
    kept = expected.hint.removesuffix("…")
    if kept == expected.hint or not got.hint.startswith(kept):
        return got
    return Found(got.line, got.column, got.code, got.message, expected.hint)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mistakes(case):
    got = [shown(d) for d in found(case.text) if d.severity == "error"]
    if len(got) == len(case.expected):
        got = [cut(*pair) for pair in zip(got, case.expected, strict=True)]
    assert got == list(case.expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_python_raises_the_same(case):
    with pytest.raises(maspo_dsl.SpecError) as caught:
        maspo_dsl.parse(case.text, "example.obj")
    assert [shown(d) for d in caught.value.diagnostics] == [shown(d) for d in found(case.text)]
    for diagnostic in caught.value.diagnostics:
        assert f"example.obj:{diagnostic.line}:{diagnostic.column}: {diagnostic.message}" in str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_mistake_alone_gives_its_message(case):
    """No message hangs on another: without the other mistaken lines, a line's own messages stay.

    Pairs of lines that make a mistake together (a name twice, a cycle, a drop and what it drops) are left out.
    """
    together = {"defined-twice", "cyclic-let", "cyclic-param", "recursive-def", "unread-name", "missing-slot"}
    together |= {"shadowed-name", "unknown-base", "ambiguous-target", "no-neutral", "unknown-target"}
    together |= {"not-droppable"}
    lines = case.text.splitlines()
    wrong = {found.line for found in case.expected}
    for line in wrong:
        own = [found for found in case.expected if found.line == line]
        if {found.code for found in own} & together or "unknown-base" in {f.code for f in case.expected}:
            continue
        rest = [text for number, text in enumerate(lines, 1) if number == line or number not in wrong]
        place = rest.index(lines[line - 1]) + 1
        got = [(d.code, d.column) for d in found("\n".join(rest) + "\n") if d.line == place]
        assert [(f.code, f.column) for f in own] == [
            g for g in got if g[0] not in ("unread-name", "dead-part")
        ]


def test_every_hint_is_a_sentence_part_without_full_stop():
    for case in CASES:
        for expected in case.expected:
            assert not expected.message.endswith("."), expected
            assert not expected.hint.endswith(".") or "…" in expected.hint, expected


ELSEWHERE = {
    "unknown-objective": "a name on the command line",
    "unknown-variant": "a variant asked for by name",
    "not-a-number": "a parameter set from outside",
    "cyclic-extends": "more than one file",
}
"""Codes that no single file has; they are tested below."""


def test_every_code_is_here():
    """A code that is added to the semantics must be added to the fixture, or below."""
    known = {code for path in SEMANTICS.glob("*.py") for code in codes_of(ast.parse(path.read_text()))}
    warnings = set(maspo_dsl.semantics.vocabulary.WARNINGS)
    here = {found.code for case in CASES for found in case.expected}
    assert len(known) > 50
    assert known - warnings - here == set(ELSEWHERE)


def codes_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("error", "fail", "_fail", "Diagnostic"):
            first = [
                a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
            yield from first[:1]


def the_one(call) -> Diagnostic:
    with pytest.raises(maspo_dsl.SpecError) as caught:
        call()
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def test_unknown_objective():
    mistake = the_one(lambda: maspo_dsl.load("mapso"))
    assert (mistake.code, mistake.file, mistake.hint) == (
        "unknown-objective",
        "<command line>",
        "did you mean `maspo`?",
    )


def test_unknown_variant():
    mistake = the_one(lambda: maspo_dsl.load("maspo@hrad"))
    assert (mistake.code, mistake.hint) == ("unknown-variant", "did you mean `hard`?")
    assert the_one(lambda: maspo_dsl.load("grpo@hard")).hint == "it has no variants"


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"kl": "much"}, "not-a-number", "the parameter `kl` is a number, not 'much'"),
        ({"kl": True}, "not-a-number", "the parameter `kl` is a number, not True"),
        ({"kl": None}, "not-a-number", "the parameter `kl` is a number, not None"),
        ({"kl": float("nan")}, "infinite-literal", "the parameter `kl` must be finite, not nan"),
        ({"kl": float("inf")}, "infinite-literal", "the parameter `kl` must be finite, not inf"),
        ({"kl": -1}, "out-of-domain", "`kl` = -1 is outside [0, inf)"),
        ({"lk": 1}, "unknown-param", "grpo has no parameter `lk`"),
    ],
)
def test_parameters_set_from_outside(params, code, message):
    mistake = the_one(lambda: maspo_dsl.load("grpo", params=params))
    (name, value) = next(iter(params.items()))
    assert (mistake.code, mistake.message, mistake.file) == (code, message, "<parameters>")
    assert mistake.span.text == f"params.{name}={value}"


def test_several_parameters_set_from_outside():
    with pytest.raises(maspo_dsl.SpecError) as caught:
        maspo_dsl.load("grpo", params={"kl": -1, "eps_lo": 0.1})
    assert {d.code for d in caught.value.diagnostics} == {"unknown-param", "out-of-domain"}


def write(folder: Path, **specs: str) -> None:
    for name, text in specs.items():
        (folder / f"{name}.obj").write_text(f"objective {name} {text}\n")


def test_files_that_extend_each_other(tmp_path):
    write(tmp_path, one="extends two", two="extends three", three="extends one")
    mistake = the_one(lambda: maspo_dsl.load(tmp_path / "one.obj"))
    assert mistake.code == "cyclic-extends"
    assert "one → two → three → one" in mistake.message
    write(tmp_path, alone="extends alone")
    assert the_one(lambda: maspo_dsl.load(tmp_path / "alone.obj")).code == "cyclic-extends"


def test_a_file_may_extend_the_shipped_objective_of_its_own_name(tmp_path):
    write(tmp_path, grpo="extends grpo\nparam kl = 0.1")
    assert maspo_dsl.load(tmp_path / "grpo.obj").params["kl"] == 0.1


def test_base_is_looked_for_beside_the_file_first(tmp_path):
    write(tmp_path, mine="extends grpo\nparam kl = 0.5", child="extends mine")
    assert maspo_dsl.load(tmp_path / "child.obj").params["kl"] == 0.5
    write(tmp_path, lost="extends mien")
    mistake = the_one(lambda: maspo_dsl.load(tmp_path / "lost.obj"))
    assert (mistake.code, mistake.hint) == ("unknown-base", "did you mean `mine`?")


def test_a_mistake_of_the_base_is_reported_in_the_base(tmp_path):
    write(tmp_path, base="extends grpo\npenalty drift = kll * k2(policy, old)", child="extends base")
    mistake = the_one(lambda: maspo_dsl.load(tmp_path / "child.obj"))
    assert (mistake.code, Path(mistake.file).name, mistake.line) == ("unknown-name", "base.obj", 2)


def test_a_type_error_in_the_library_names_the_call_and_shows_the_line():
    text = "objective example extends grpo\npenalty drift = 0.1 * binary_kl(policy, A > 0)\n"
    mistake = the_one(lambda: maspo_dsl.parse(text, "example.obj"))
    assert (mistake.file, mistake.line) == ("example.obj", 2)
    assert mistake.code == "condition-as-number"


def test_a_type_error_deep_in_the_library_is_at_the_call():
    """`leave_one_out` calls `center`, which calls `mean`, which calls `sum`: the user wrote the first."""
    text = "objective example extends grpo\nadvantage = mean(reward, group) |> leave_one_out(group)\n"
    mistake = the_one(lambda: maspo_dsl.parse(text, "example.obj"))
    assert (mistake.file, mistake.line) == ("example.obj", 2)
    assert mistake.span.text in ("mean(reward, group)", "leave_one_out(group)")
    assert all(span.source.name.startswith("maspo_dsl/objectives/std/") for span, _ in mistake.related)
