"""Walks over trees: everything is reached once, and only what a rule names is replaced."""

from dataclasses import replace

from hypothesis import given, settings

from maspo_dsl.language import tree
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source
from maspo_dsl.language.walking import children, descendants, names_in, transform, without_comments

from .strategies import objectives

TEXT = """objective t extends grpo

# above
def f(x, y = a) = g(x) |> max(y)  # beside
let z = f(a, y = 2) |> a as b when it > a  neutral a
variant v {
    drop z.a  # inside
    # closing
}
"""


def read(text: str) -> tree.ObjectiveTree:
    return parse_objective(Source("<test>", text))


def test_a_rule_replaces_values_and_neither_functions_nor_spans():
    objective = read(TEXT)

    def rule(node):
        return tree.Number(1.0, "1", node.span) if isinstance(node, tree.Name) and node.text == "a" else None

    changed = transform(objective, rule)
    text = format_objective(changed)
    assert "f(x, y = 1) = g(x) |> max(y)" in text and "# beside" in text
    assert "f(1, y = 2) |> a as b when it > 1  neutral 1" in text
    assert changed.statements[1].span is objective.statements[1].span
    assert changed.statements[2] is objective.statements[2]


def test_what_a_rule_gives_is_not_looked_into():
    objective = read(TEXT)

    def rule(node):
        return replace(node, left=node) if isinstance(node, tree.Arithmetic) else None

    assert transform(objective, rule) is objective
    doubled = transform(read("objective t\nlet z = (a + b) * c\n"), rule).statements[0].value
    assert doubled.left == tree.Arithmetic(
        "*", doubled.left.left, tree.Name(("c",), doubled.span), doubled.span
    )


def test_names_are_those_declared_read_and_called():
    assert names_in(read(TEXT).statements[1]) == {"z", "f", "a", "it"}
    assert names_in(read(TEXT).statements[2]) == {"v", "z", "a"}


@settings(deadline=None)
@given(objectives())
def test_every_node_is_reached_once_and_no_comment_is_left(objective):
    found = list(descendants(objective))
    assert (
        len({id(node) for node in found})
        <= len(found)
        == 1 + sum(len(list(descendants(child))) for child in children(objective))
    )
    bare = without_comments(objective)
    assert bare == objective and "#" not in [line.strip()[:1] for line in format_objective(bare).splitlines()]
    assert all(getattr(node, "comments", tree.NO_COMMENTS) == tree.NO_COMMENTS for node in descendants(bare))
    assert transform(objective, lambda node: None) is objective
