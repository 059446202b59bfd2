"""The notation of a `def`: where it may stand, what is wrong with it, and that it is printed as it was read."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import maspo_dsl
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.printing import Precedence, write
from maspo_dsl.language.source import Source
from maspo_dsl.language.template import read_template
from maspo_dsl.notation.latex import latex_style

PIECES = r"""$x $y ${x} ${y} $[ ] { } ( ) [ ] | \left( \right) \left| \right| \left\{ \right. + - / \cdot \log
    \frac ^ _ a 2 , = & \\ \text{ \begin{cases} \end{cases} % # $ \ \{ \} \leftarrow ' < \quad""".split()  # noqa: SIM905
PIECES += ["${x before f}", r"\text{in }$x"]


def spec(notation: str) -> Source:
    text = f'objective t\ndef f(x, y = 2) = x + y  "a sum"  notation "{notation}"\nlet z = f(a - b, y = c_0 + 1) * 2\n'
    return Source("<test>", text)


def shown(notation: str) -> str:
    definition, let = parse_objective(spec(notation)).statements
    return write(let.value, latex_style({"f": definition}))


def test_the_word_is_a_name_everywhere_else():
    text = """objective t extends grpo

param notation = 2

def f(notation, x = 1) = notation + x
  notation "$notation + $x"

let a                = notation
before clip |> min(notation) as notation
penalty notation     = 0.1 * f(notation = entropy(policy), x = 3)
exclude notation where a > f(notation)
"""
    tree = parse_objective(Source("<test>", text))
    assert parse_objective(Source("<test>", format_objective(tree))) == tree
    assert maspo_dsl.parse(text).hash == maspo_dsl.parse(re.sub(r'\n *notation ".*"', "", text)).hash


def test_it_is_kept_by_fmt_and_flat_text_and_is_no_part_of_the_hash():
    with_notation = """objective t extends grpo

def half(x) = x / 2  "half of x"
  notation "\\frac{$x}{2}"

penalty h = half(policy)
"""
    without = with_notation.replace('\n  notation "\\frac{$x}{2}"', "")
    assert format_objective(parse_objective(Source("<test>", with_notation))) == with_notation
    objective = maspo_dsl.parse(with_notation)
    assert '\n  notation "\\frac{$x}{2}"\n' in objective.text
    assert objective.hash == maspo_dsl.parse(without).hash == maspo_dsl.parse(objective.text).hash


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        (r"\frac{$x}{$y}", r"\frac{a - b}{c_{\mathrm{0}} + 1} \cdot 2"),
        ("$x + $y", r"\left(a - b + c_{\mathrm{0}} + 1\right) \cdot 2"),
        ("$y - $x", r"\left(c_{\mathrm{0}} + 1 - \left(a - b\right)\right) \cdot 2"),
        (r"$x \cdot $y", r"\left(a - b\right) \cdot \left(c_{\mathrm{0}} + 1\right) \cdot 2"),
        ("$x^{$y}", r"\left(a - b\right)^{c_{\mathrm{0}} + 1} \cdot 2"),
        (r"\log$x", r"\log{\left(a - b\right)} \cdot 2"),
        (r"\sqrt$y", r"\sqrt{\left(c_{\mathrm{0}} + 1\right)} \cdot 2"),
        (r"${y}_{k}", r"\left(c_{\mathrm{0}} + 1\right)_{k} \cdot 2"),
        (r"\left|$x\right|$[_{$y}]", r"\left|a - b\right|_{c_{\mathrm{0}} + 1} \cdot 2"),
        ("$x", r"\left(a - b\right) \cdot 2"),
        (r"\mathrm{F}", r"\mathrm{F}\left(a - b, y = c_{\mathrm{0}} + 1\right) \cdot 2"),
        ("$x, $x, $x", r"\mathrm{f}\left(a - b, y = c_{\mathrm{0}} + 1\right) \cdot 2"),
    ],
)
def test_brackets_follow_from_what_stands_beside_a_parameter(notation, expected):
    assert shown(notation) == expected


def test_a_part_is_left_out_where_its_parameters_have_their_defaults():
    definition, *lets = parse_objective(
        Source(
            "<test>",
            'objective t\ndef f(x, y = 2) = x notation "F$[_{$y}]($x)"\n'
            "let a = f(1)\nlet b = f(1, y = 2.0)\nlet c = f(1, 3)\n",
        )
    ).statements
    style = latex_style({"f": definition})
    assert [write(let.value, style) for let in lets] == ["F(1)", "F(1)", "F_{3}(1)"]


def test_an_index_of_an_index_is_bracketed():
    definition, let = parse_objective(
        Source("<test>", 'objective t\ndef at(x) = x notation "${x}_{k}"\nlet a = at(old) + at(A)\n')
    ).statements
    assert write(let.value, latex_style({"at": definition})) == r"\left(\pi_{\mathrm{old}}\right)_{k} + A_{k}"


@pytest.mark.parametrize(
    ("notation", "code", "place"),
    [
        ("$z", "unknown-placeholder", "z"),
        ("a + ${yy}", "unknown-placeholder", "yy"),
        (r"\frac{$x}{$y", "broken-notation", "{"),
        (r"\left($x)", "broken-notation", r"\left("),
        ("$x$[a]", "broken-notation", "$["),
        ("$x$[$x]", "broken-notation", "$["),
        ("100%", "broken-notation", "%"),
        ("$", "broken-notation", "$"),
        ("", "broken-notation", ""),
        ("x_$x_a", "unknown-placeholder", "x_a"),
        ("x_a_b", "broken-notation", "_"),
        ("x^{a}^b", "broken-notation", "^"),
        (r"a \\ b", "broken-notation", r"\\"),
    ],
)
def test_mistakes_have_a_caret(notation, code, place):
    with pytest.raises(SpecError) as caught:
        parse_objective(spec(notation))
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.text) == (code, place)


def test_what_stands_before_a_function_must_be_one(tmp_path):
    text = 'objective t extends grpo\ndef f(x) = x notation "${x before centre}"\npenalty p = f(policy)\n'
    with pytest.raises(SpecError) as caught:
        maspo_dsl.parse(text)
    (found,) = caught.value.diagnostics
    assert found.code == "unknown-function" and found.hint == "did you mean `center`?"


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=("C",)), max_size=3), max_size=8
    ).map("".join)
)
@example(r"\left")
@example("$[$[$y]]")
def test_any_notation_is_written_or_has_one_mistake(notation):
    notation = re.sub(r'["\n\r\x00-\x1f]', "", notation)
    try:
        text = shown(notation)
    except SpecError as caught:
        (found,) = caught.diagnostics
        assert found.code in ("broken-notation", "unknown-placeholder")
        return
    bare = re.sub(r"\\[{}\\]", "", text)
    depths = [bare[:end].count("{") - bare[:end].count("}") for end in range(len(bare) + 1)]
    assert min(depths) == depths[-1] == 0
    assert len(re.findall(r"\\left(?![a-z])", text)) == len(re.findall(r"\\right(?![a-z])", text))
    assert read_template(notation).own in Precedence
