"""What the text of a spec becomes: nodes and the places they came from."""

import re
import subprocess
import sys
import textwrap
from importlib.resources import files

import pytest

from maspo_dsl.language import tree
from maspo_dsl.language.keywords import CLOSING_WORDS, EDIT_WORDS, HEADER_WORDS, RESERVED_WORDS
from maspo_dsl.language.parser import parse_library, parse_objective
from maspo_dsl.language.source import Source


def objective(text: str) -> tree.ObjectiveTree:
    return parse_objective(Source("spec.obj", textwrap.dedent(text)))


def expression(text: str) -> tree.Expression:
    statement = objective(f"objective x\nlet y = {text}\n").statements[0]
    assert isinstance(statement, tree.Let)
    return statement.value


def test_header():
    header = objective('objective a extends b\n"what"\nsource "one"\nsource "two"\n').header
    assert (header.name.text, header.extends.text, header.doc, header.sources) == (
        "a",
        "b",
        "what",
        ("one", "two"),
    )
    assert header.span.text == 'objective a extends b\n"what"\nsource "one"\nsource "two"'
    assert header.differs == ()


def test_sources_and_differences_in_any_order():
    header = objective('objective a\ndiffers "x"\nsource "one"\ndiffers "y"\nsource "two"\n').header
    assert (header.doc, header.sources, header.differs) == (None, ("one", "two"), ("x", "y"))
    assert header.span.text.endswith('source "two"')


def test_param_lines():
    [param] = objective(
        'objective x\nparam n = 20, m = n / 5 in [1, inf) bind generation_limit "text"\n'
    ).statements
    assert [b.name.text for b in param.bindings] == ["n", "m"]
    assert isinstance(param.bindings[1].value, tree.Arithmetic)
    assert (param.domain.low_closed, param.domain.high_closed) == (True, False)
    assert (param.bind.text, param.doc) == ("generation_limit", "text")
    assert param.bindings[1].value.span.text == "n / 5"


def test_edits():
    text = """
        objective x extends y
        before a.b |> f
        after a |> f |> g(1) as h when it > 0
        swap a |> f
        drop a, b.c
        variant v { drop a }
        variant w {
            drop a
            param b = 2
        }
        sweep b = 1, -2
        input d : sequence "text"
        allow live-gate "why"
    """
    statements = objective(text).statements
    assert [type(s).__name__ for s in statements] == [
        *("Insert", "Insert", "Swap", "Drop", "Variant", "Variant", "Sweep", "Input", "Allow")
    ]
    assert (statements[0].side, statements[0].target.path) == ("before", ("a", "b"))
    assert [stage.name for stage in statements[1].stages] == ["f", "h"]
    assert [type(e).__name__ for e in statements[5].edits] == ["Drop", "Param"]
    assert (statements[7].axis.text, statements[7].doc, statements[8].code.text) == (
        "sequence",
        "text",
        "live-gate",
    )


def test_a_code_is_one_only_after_allow():
    [allow, let] = objective('objective x\nallow live "why"\nlet z = live-gate\n').statements
    assert allow.code.text == "live"
    assert isinstance(let.value, tree.Arithmetic)


def test_expressions_bind_as_in_mathematics():
    assert expression("1 - 2 - 3") == expression("(1 - 2) - 3")
    assert expression("2 ^ 3 ^ 4") == expression("2 ^ (3 ^ 4)")
    assert expression("-2 ^ 2") == expression("-(2 ^ 2)")
    assert expression("a or b and not c < d") == expression("a or (b and (not (c < d)))")
    assert expression("a if b else c if d else e") == expression("a if b else (c if d else e)")
    assert expression("a / b |> f |> g") == expression("((a / b) |> f) |> g")
    assert len(expression("1 < 2 <= 3").operands) == 3
    assert len(expression("a and b and c").operands) == 3


def test_a_pipe_ends_a_guard_and_a_line_that_starts_with_one_goes_on():
    text = "objective x\nratio = policy / old\n  |> min(2) when A > 0  # up\n\n  |> max(1) when A < 0\n"
    [slot] = objective(text).statements
    assert [stage.function.text for stage in slot.value.stages] == ["min", "max"]
    assert slot.value.stages[1].span.text == "max(1) when A < 0"
    assert slot.value.stages[0].comments.beside == "up"


def test_words_match_whole_words_only():
    names = expression("f(orange, iffy, inner, notable, android, bye, asleep, elsewhere)")
    assert len(names.arguments) == 8


@pytest.mark.parametrize(
    "name", ["objectives", "letter", "inner", "bind_", "source_", "inf", "nan", "generation_limit"]
)
def test_names_that_begin_with_a_word_are_names(name):
    assert objective(f"objective {name}\nlet {name}_ = {name}\n").header.name.text == name


def test_infinity_is_a_name():
    assert expression("-inf") == tree.Negate(tree.Name(("inf",), None), None)


def test_numbers_keep_how_they_were_written():
    number = expression("3e-4")
    assert (number.value, number.text) == (3e-4, "3e-4")


def test_words_are_those_of_the_grammar():
    grammar = files("maspo_dsl.grammars").joinpath("objective.lark").read_text()
    rules = dict(re.findall(r"^(\w+)(?:\.\d)?: (.*)", re.sub(r"//.*", "", grammar), re.MULTILINE))

    def opened(rule: str) -> set[str]:
        """Words that a statement can begin with; slots and parts begin with a name."""
        first = rules[rule].replace("SIDE", rules["SIDE"])
        words = re.match(r'"(\w+)"|/\(([\w|]+)\)', first)
        return set() if words is None else set((words[1] or words[2]).split("|"))

    def statements(rule: str) -> set[str]:
        return set().union(*(opened(name) for name in rules[rule].split(" | ") if name != "_edit"))

    assert statements("_edit") == set(EDIT_WORDS)
    assert statements("_statement") == set(CLOSING_WORDS)
    assert opened("header") | statements("_note") == set(HEADER_WORDS)
    written = set(re.findall(r'"([a-z]+)"', grammar)) | opened("insert")
    assert written | {"it"} == RESERVED_WORDS | {"notation", "start", "per"}, "these are names elsewhere"


def test_spans_name_the_text_they_came_from():
    text = "objective x\nlet y = (a + b) * f(c, k = 2)\n"
    product = objective(text).statements[0].value
    assert product.span.text == "(a + b) * f(c, k = 2)"
    assert product.right.arguments[1].span.text == "k = 2"
    assert (product.right.span.line, product.right.span.column) == (2, 19)


def test_equal_trees_stand_anywhere():
    assert objective("objective x\nlet y=1 # c\n") == objective("# c\n\nobjective   x\n\n\n  let y = (1)")
    assert objective("objective x\nlet y = 1") != objective("objective x\nlet y = 2")


def test_library():
    library = parse_library(Source("std.obj", '"What it holds"\n\ndef f(x, k = 2) = x ^ k  "power"\n'))
    assert library.doc == "What it holds"
    [power] = library.definitions
    assert (power.name.text, power.doc, power.parameters[1].default.value) == ("f", "power", 2.0)
    assert parse_library(Source("std.obj", "# nothing yet\n")).definitions == ()


def test_reading_and_formatting_need_neither_torch_nor_numpy():
    program = """
        import sys
        from maspo_dsl.language import formatter, parser, reading, rendering
        from maspo_dsl.language.source import Source
        tree = parser.parse_objective(Source("x", "objective x\\nratio = policy / old"))
        formatter.format_objective(tree)
        assert not {"torch", "numpy"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
