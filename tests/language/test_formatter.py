"""Trees to text and back: canonical, idempotent, nothing lost."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings

from maspo_dsl.language.formatter import (
    format_expression,
    format_library,
    format_objective,
    format_statement,
)
from maspo_dsl.language.parser import parse_library, parse_objective
from maspo_dsl.language.source import Source
from maspo_dsl.language.tree import Comments, ObjectiveTree

from .strategies import libraries, objectives

FIXTURES = Path(__file__).parent / "fixtures"
WRITTEN = sorted((FIXTURES / "written").glob("*.obj"))


def formatted(text: str, name: str = "<string>") -> str:
    """The canonical text of an objective, or of the fixture that is a library."""
    if name == "library.obj":
        return format_library(parse_library(Source(name, text)))
    return format_objective(parse_objective(Source(name, text)))


def comment_words(node: object) -> list[str]:
    """Every comment of a tree, sorted."""
    if isinstance(node, Comments):
        return [text for text in (*node.above, node.beside) if text is not None]
    if isinstance(node, tuple):
        return sorted(word for item in node for word in comment_words(item))
    if is_dataclass(node):
        return sorted(
            word for f in fields(node) if f.name != "span" for word in comment_words(getattr(node, f.name))
        )
    return []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_specs_as_people_write_them(path):
    canonical = (FIXTURES / "canonical" / path.name).read_text(encoding="utf-8")
    assert formatted(path.read_text(encoding="utf-8"), path.name) == canonical
    assert formatted(canonical, path.name) == canonical


def test_every_comment_of_a_spec_survives():
    text = (FIXTURES / "written" / "every_statement.obj").read_text(encoding="utf-8")
    canonical = formatted(text)
    comments = [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]
    assert all(f"# {comment}" in canonical for comment in comments)
    assert canonical.count("#") == len(comments)


def test_line_ends_and_byte_order_mark_do_not_matter():
    text = (FIXTURES / "written" / "vespo.obj").read_text(encoding="utf-8")
    assert formatted("\ufeff" + text.replace("\n", "\r\n")) == formatted(text)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("((a + b)) * c", "(a + b) * c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("a ^ (b ^ c)", "a ^ b ^ c"),
        ("(a ^ b) ^ c", "(a ^ b) ^ c"),
        ("-(a ^ 2)", "-a ^ 2"),
        ("(-a) ^ 2", "(-a) ^ 2"),
        ("a ^ (-2)", "a ^ -2"),
        ("a or b and c", "a or (b and c)"),
        ("not (a < b)", "not a < b"),
        ("(a if b else c) + 1", "(a if b else c) + 1"),
        ("a if b else (c if d else e)", "a if b else c if d else e"),
        ("(a if b else c) if d else e", "(a if b else c) if d else e"),
        ("(a |> f) |> g", "a |> f |> g"),
        ("f((a |> g), k=(1))", "f(a |> g, k = 1)"),
        ("(a < b) |> f()", "(a < b) |> f"),
        ("x |> f when (a if b else c)", "x |> f when (a if b else c)"),
        ("1 < x <= 2", "1 < x <= 2"),
        ("(1 < x) <= 2", "(1 < x) <= 2"),
    ],
)
def test_brackets_are_written_where_they_are_needed(written, canonical):
    parsed = parse_objective(Source("<string>", f"objective x\nlet y = {written}"))
    assert format_expression(parsed.statements[0].value) == canonical


def test_a_long_pipe_is_broken_before_every_stage():
    stages = " |> ".join(f"stage_number_{i}(argument)" for i in range(5))
    parsed = parse_objective(Source("<string>", f"objective x\nratio = policy / old |> {stages}"))
    lines = format_statement(parsed.statements[0]).splitlines()
    assert lines[0] == "ratio = policy / old"
    assert lines[1:] == [f"  |> stage_number_{i}(argument)" for i in range(5)]


@settings(max_examples=150, deadline=None)
@given(objectives())
def test_reading_what_was_written_gives_the_same_objective(tree: ObjectiveTree):
    text = format_objective(tree)
    again = parse_objective(Source("<generated>", text))
    assert again == tree
    assert format_objective(again) == text
    assert comment_words(again) == comment_words(tree)


@settings(max_examples=50, deadline=None)
@given(libraries())
def test_reading_what_was_written_gives_the_same_library(tree):
    text = format_library(tree)
    if not text:
        return
    again = parse_library(Source("<generated>", text))
    assert again == tree
    assert format_library(again) == text
    assert comment_words(again) == comment_words(tree)
