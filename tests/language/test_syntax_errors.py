"""What is said about a mistake, and where: `fixtures/syntax_errors.txt` is the manual of these errors."""

from pathlib import Path

import pytest

from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.parser import (
    names_on_broken_lines,
    parse_library,
    parse_objective,
    parse_objective_partial,
)
from maspo_dsl.language.source import Source

MANUAL = (Path(__file__).parent / "fixtures" / "syntax_errors.txt").read_text(encoding="utf-8")
BLOCKS = MANUAL.split("\n\n")[1:]


def told(text: str) -> list[str]:
    """Everything said about the lines below `objective x`, as the manual writes it."""
    _, diagnostics = parse_objective_partial(Source("<string>", f"objective x\n{text}"))
    return [
        f"{d.line - 1}:{d.column} {d.code}: {d.message}" + (f"; {d.hint}" if d.hint else "")
        for d in diagnostics
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_manual(block):
    lines = block.rstrip("\n").split("\n")
    expected = [line[2:] for line in lines if line.startswith("! ")]
    assert told("\n".join(line for line in lines if not line.startswith("! "))) == expected


@pytest.mark.parametrize("ending", ["\n", "\r\n", "  # a comment\n", "\n\n\n"])
def test_the_end_of_a_line_is_where_its_text_ends(ending):
    [message] = told(f"let x = (1 + 2{ending}let y = 3{ending}")
    assert message.startswith("1:15 syntax: unexpected end of line; expected `)`")


def test_tabs_and_byte_order_marks_are_blanks():
    tree = parse_objective(Source("<string>", "\ufeffobjective\tx\n\tlet\ty\t=\t1\n"))
    assert tree.statements[0].name.text == "y"


@pytest.mark.parametrize(
    ("text", "place", "code", "hint"),
    [
        ("let x = 1", (1, 1), "no-objective", "start with: objective NAME"),
        ("objectve grpo", (1, 1), "no-objective", "did you mean `objective`?"),
        ("def f(x) = x", (1, 1), "no-objective", "this looks like a library of `def` lines"),
        ("\n  objective", (2, 12), "syntax", ""),
        ("objective 3x", (1, 11), "syntax", "a name starts with a letter"),
        ("objective my-own", (1, 13), "syntax", "a name has letters, digits and _"),
        ('objective x "text"', (1, 13), "syntax", "the text stands on a line of its own"),
        ("objective x extends", (1, 20), "syntax", ""),
        ("objective if", (1, 11), "reserved-name", "take another name"),
        ("# nothing\n", (1, 1), "empty-file", "start with: objective NAME"),
    ],
)
def test_a_bad_first_line_ends_the_reading(text, place, code, hint):
    tree, [diagnostic] = parse_objective_partial(Source("<string>", text))
    assert tree is None
    assert ((diagnostic.line, diagnostic.column), diagnostic.code, diagnostic.hint) == (place, code, hint)


def test_all_mistakes_are_told_at_once_in_source_order_and_the_rest_is_kept():
    text = """objective x
param a = 20_480
let good = 1
let if = 2
ratio = policy / old |> clip(1,
  2
variant v {
  drop a b
  drop c
}
penalty kl = 1e999
let also_good = 2
"""
    tree, diagnostics = parse_objective_partial(Source("<string>", text))
    assert [(d.line, d.code) for d in diagnostics] == [
        (2, "syntax"),
        (4, "reserved-name"),
        (6, "syntax"),
        (8, "syntax"),
        (11, "infinite-literal"),
    ]
    kept = [type(s).__name__ for s in tree.statements]
    assert kept == ["Let", "Variant", "Part", "Let"]
    assert len(tree.statements[1].edits) == 1
    with pytest.raises(SpecError) as caught:
        parse_objective(Source("spec.obj", text))
    assert len(caught.value.diagnostics) == 5
    assert "spec.obj:2:11: " in str(caught.value)


def test_names_on_broken_lines_are_known():
    source = Source(
        "<string>", "objective x\nparam a = 1, b = = 2\nlet c = (\ndef f(x) = +\nlet d = 1\nmute m where )"
    )
    _, diagnostics = parse_objective_partial(source)
    assert names_on_broken_lines(source, diagnostics) == {"a", "b", "c", "f", "m"}


def test_an_open_bracket_is_shown_where_it_was_opened():
    source = Source("<string>", "objective x\nlet y = f(1,\n  2\nlet z = 1")
    _, [diagnostic] = parse_objective_partial(source)
    [(span, words)] = diagnostic.related
    assert (span.line, span.column, span.text, words) == (2, 10, "(", "opened here")


@pytest.mark.parametrize("start", ["let z = 1", "  param z = 1", "  drop z", "reduce = 1"])
def test_a_statement_starts_inside_an_open_bracket(start):
    tree, [diagnostic] = parse_objective_partial(
        Source("<string>", f"objective x\nlet y = f(1,\n{start}\nlet q = 1")
    )
    assert (diagnostic.line, diagnostic.column) == (2, 13)
    assert len(tree.statements) == 2


def test_a_library_has_definitions_alone():
    with pytest.raises(SpecError) as caught:
        parse_library(Source("lib.obj", '"text"\ndef f(x) = x\nlet y = 1\ndef g(x) = x +\n'))
    assert [(d.line, d.column) for d in caught.value.diagnostics] == [(3, 1), (4, 15)]
