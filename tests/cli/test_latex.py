"""Formulas in LaTeX: what they say, and that a renderer can read every one of them."""

from __future__ import annotations

import re

import pytest

import maspo_dsl
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.printing import write
from maspo_dsl.language.source import Source
from maspo_dsl.notation.latex import latex_style
from maspo_dsl.notation.latex_breaking import COLUMN, broken, width_of
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines, paper_lines
from maspo_dsl.semantics.shipped import library_definitions

# Commands of MathJax and KaTeX alike that GitHub does not refuse.
COMMANDS = set(
    r"""\frac \sqrt \exp \log \tanh \arctan \min \max \sum \prod \le \ge \ne \cdot \quad \infty \ell \pi \alpha \beta
    \gamma \delta \epsilon \varepsilon \zeta \eta \theta \kappa \lambda \mu \nu \xi \rho \sigma \tau \phi \chi \psi
    \omega \lVert \rVert
    \mathrm \mathit \mathcal \text \underset \left \right \begin \end \in \ldots \_ \{ \} \\ \,""".split()  # noqa: SIM905
)


def text_of(expression: str) -> str:
    (let,) = parse_objective(Source("<test>", f"objective t\nlet x0 = {expression}\n")).statements
    return write(let.value, latex_style(library_definitions()))


def written(name: str) -> str:
    return "\n".join(latex_lines(latex_formula(maspo_dsl.load(name).resolved)))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("policy / old", r"\frac{\pi}{\pi_{\mathrm{old}}}"),
        ("-a^2 * (b - c)", r"-a^{2} \cdot \left(b - c\right)"),
        ("(a / b) ^ c", r"\left(\frac{a}{b}\right)^{c}"),
        ("a ^ (b + 1)", "a^{b + 1}"),
        ("a - (b - c)", r"a - \left(b - c\right)"),
        ("eps_low + beta_pos * tau", r"\varepsilon_{\mathrm{low}} + \beta_{\mathrm{pos}} \cdot \tau"),
        ("max_length", r"\mathit{max\_length}"),
        ("1e-4 + 3e-4 + 0.5", r"10^{-4} + 3 \cdot 10^{-4} + 0.5"),
        ("2 ^ 1e-4 + 3e-4 ^ 2", r"2^{10^{-4}} + \left(3 \cdot 10^{-4}\right)^{2}"),
        ("detach(exp(a)) + abs(b)", r"\mathrm{sg}\left[\exp\left(a\right)\right] + \left|b\right|"),
        ("sum(loss, sequence)", r"\underset{\mathrm{sequence}}{\sum}\left(\ell\right)"),
        ("reward - mean(reward, group)", r"R - \underset{\mathrm{group}}{\mathrm{mean}}\left(R\right)"),
        (
            "2 * center(reward, group)",
            r"2 \cdot \left(R - \underset{\mathrm{group}}{\mathrm{mean}}\left(R\right)\right)",
        ),
        (
            "reward |> center(group) |> scale(group, ddof = 0, eps = 1e-8)",
            r"\frac{R - \underset{\mathrm{group}}{\mathrm{mean}}\left(R\right)}"
            r"{\underset{\mathrm{group}}{\mathrm{std}_{0}}\left(R\right) + 10^{-8}}",
        ),
        (
            "reward |> whiten(rollout_batch)",
            r"\frac{R - \underset{\mathrm{rollout\_batch}}{\mathrm{mean}}\left(R\right)}"
            r"{\underset{\mathrm{rollout\_batch}}{\mathrm{std}}\left(R\right) + 10^{-8}}",
        ),
        (
            "leave_one_out(reward, group)",
            r"R - \underset{\text{others in }\mathrm{group}}{\mathrm{mean}}\left(R\right)",
        ),
        (
            "reward |> leave_one_out(group) |> leave_one_out_scale(group)",
            r"\frac{R - \underset{\text{others in }\mathrm{group}}{\mathrm{mean}}\left(R\right)}"
            r"{\underset{\text{others in }\mathrm{group}}{\mathrm{std}}\left(R\right)}",
        ),
        ("2 * k1(old, reference)", r"2 \cdot \log\left(\frac{\pi_{\mathrm{old}}}{\pi_{\mathrm{ref}}}\right)"),
        ("gae(reward, gamma, 1)", r"\mathrm{GAE}_{\gamma, 1}\left(R\right)"),
        (
            "discounted_sum(a + b, gamma)",
            r"\sum_{k \ge t} \left(\prod_{t \le j < k} \gamma\right) \left(a + b\right)_{k}",
        ),
        ("scale(reward, group)", r"\frac{R}{\underset{\mathrm{group}}{\mathrm{std}}\left(R\right)}"),
        (
            "1 if A > 0 and not a <= 2 else 0 if b != inf else 3",
            r"\begin{cases} 1 & \text{if } A > 0 \text{ and } \text{not } a \le 2 \\ "
            r"0 & \text{if } b \ne \infty \\ 3 & \text{else} \end{cases}",
        ),
        (
            "a |> min(2) when A > 0 |> max(1) when A < 0",
            r"\begin{cases} \min\left(a, 2\right) & \text{if } A > 0 \\ "
            r"\max\left(a, 1\right) & \text{if } A < 0 \\ a & \text{else} \end{cases}",
        ),
        ("a |> min(2) |> f(1, b = 2)", r"\mathrm{f}\left(\min\left(a, 2\right), 1, b = 2\right)"),
    ],
)
def test_expressions(expression, expected):
    assert text_of(expression) == expected


def test_a_def_of_the_spec_is_written_by_its_notation(cli, tmp_path):
    path = tmp_path / "own.obj"
    path.write_text(
        "objective own extends group_ppo\n"
        "def spread(x, scope, eps = 0) = sqrt(mean(center(x, scope) ^ 2, scope)) + eps\n"
        '  notation "\\sigma_{$scope}\\left(${x before center}\\right)$[ + $eps]"\n'
        'def share(x, scope) = x / sum(x, scope)  "of the whole"  notation "\\mathrm{Share}"\n'
        "def soft(r, width) = r * detach(exp(-abs(r - 1) / width))\n"
        '  notation "$r \\cdot K_{$width}\\left($r - 1\\right)"\n'
        "let a = 2 * spread(center(reward, group), group) ^ 2\n"
        "let b = spread(center(reward, rollout_batch), group, eps = 1)\n"
        "advantage = a + b + share(reward, group)\n"
        "ratio = policy / old |> soft(1 + 2)\n"
    )
    lines = cli("explain", path, "--latex").stdout.splitlines()
    assert r"\mathit{ratio} &= r \cdot K_{1 + 2}\left(r - 1\right) \\" in lines
    assert r"a &= 2 \cdot \sigma_{\mathrm{group}}\left(R\right)^{2} \\" in lines
    inner = r"R - \underset{\mathrm{rollout\_batch}}{\mathrm{mean}}\left(R\right)"
    assert rf"b &= \sigma_{{\mathrm{{group}}}}\left({inner}\right) + 1 \\" in lines
    assert r"A &= a + b + \underset{\mathrm{group}}{\mathrm{Share}}\left(R\right) \\" in lines


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("std(reward, group, ddof = 2)", r"\underset{\mathrm{group}}{\mathrm{std}_{2}}\left(R\right)"),
        (
            "whiten(log(policy), micro)",
            r"\underset{\mathrm{micro}}{\mathrm{whiten}}\left(\log\left(\pi\right)\right)",
        ),
        (
            "reward |> center(rollout_batch) |> scale(rollout_batch, eps = 0)",
            r"\frac{R - \underset{\mathrm{rollout\_batch}}{\mathrm{mean}}\left(R\right)}"
            r"{\underset{\mathrm{rollout\_batch}}{\mathrm{std}}\left(R\right)}",
        ),
        (
            "ess(old, window) * prod(old, sequence)",
            r"\underset{\mathrm{window}}{\mathrm{ESS}}\left(\pi_{\mathrm{old}}\right)"
            r" \cdot \underset{\mathrm{sequence}}{\prod}\left(\pi_{\mathrm{old}}\right)",
        ),
    ],
)
def test_notations_of_the_library(expression, expected):
    assert text_of(expression) == expected


def test_a_notation_that_says_its_argument_twice_does_not_grow_without_end(cli, tmp_path):
    path = tmp_path / "deep.obj"
    stages = " |> center(group) |> scale(group)" * 8
    path.write_text(f"objective deep extends group_ppo\nadvantage = reward{stages}\n")
    text = cli("explain", path, "--latex").stdout
    assert len(text) < 5_000 and r"\mathrm{center}" in text


def test_the_formula_of_sapo():
    """The steepness, a choice, has a line of its own, since the gate reads it twice."""
    assert written("sapo").splitlines()[1:6] == [
        r"\mathcal{L} &= \underset{\mathrm{window}}{\mathrm{mean}}\left("
        r"\underset{\mathrm{sequence}}{\mathrm{mean}}\left(\ell\right)\right) \\",
        r"\ell &= -A \cdot \mathit{ratio} \\",
        r"r &= \frac{\pi}{\pi_{\mathrm{old}}} \\",
        r"\mathit{ratio} &= \frac{4}{\tau} \cdot \mathrm{sigmoid}\left(\tau \cdot \left(r - 1\right)\right) \\",
        r"\tau &= \begin{cases} \tau_{\mathrm{pos}} & \text{if } A > 0 \\ \tau_{\mathrm{neg}} & \text{else}"
        r" \end{cases} \\",
    ]


def test_penalties_rules_and_rewards_are_in_the_formula():
    assert r"& \quad {} + \mathit{kl} \cdot \left(\frac{\pi_{\mathrm{ref}}}{\pi}" in written("grpo")
    assert r"\text{kept} &\text{ where } 0 < " in written("dapo")
    assert r"\text{the task's reward} + \mathit{overlong}" in written("dapo")
    assert r"\text{muted} &\text{ where } " in written("mis")
    assert r"\text{excluded} &\text{ where } " in written("rejection")


@pytest.mark.parametrize("name", maspo_dsl.shipped())
def test_every_formula_is_well_formed(name):
    text = written(name)
    assert set(re.findall(r"\\(?:[A-Za-z]+|.)", text)) <= COMMANDS
    assert text.isascii() and "  " not in text
    bare = text.replace(r"\{", "").replace(r"\}", "")
    depth = [bare[: i + 1].count("{") - bare[: i + 1].count("}") for i in range(len(bare))]
    assert min(depth) == 0 and depth[-1] == 0
    assert (
        len(re.findall(r"\\left[\[(|\\]", text))
        == len(re.findall(r"\\right[\])|\\]", text))
        == text.count(r"\left")
    )
    assert re.findall(r"\\begin\{(\w+)\}", text).count("cases") == re.findall(r"\\end\{(\w+)\}", text).count(
        "cases"
    )
    rows = text.splitlines()
    assert (rows[0], rows[-1]) == (r"\begin{aligned}", r"\end{aligned}")
    outside = [re.sub(r"\\begin\{cases\}.*\\end\{cases\}", "", row) for row in rows[1:-1]]
    assert all(row.count("&") == 1 for row in outside)


def rows_of(name: str) -> list[tuple[str, str]]:
    _, first, *rows, last = paper_lines(latex_formula(maspo_dsl.load(name).resolved))
    assert (first, last) == (r"\begin{aligned}", r"\end{aligned}")
    assert all(row.endswith(r" \\") for row in rows[:-1]) and not rows[-1].endswith("\\")
    parts = [row.removesuffix(r" \\").partition("&") for row in rows]
    return [(symbol, text) for symbol, _, text in parts]


def bare(text: str) -> str:
    """What is read of a formula, but for brackets that grow and fractions that became a slash."""
    cut = r"\\left\.?|\\right\.?|\\frac|\\(?:begin|end)\{cases\}|\\\\|\\quad|[\s{}()&/]"
    return re.sub(cut, "", text)


@pytest.mark.parametrize("name", maspo_dsl.shipped())
def test_no_line_is_wider_than_a_column_and_none_loses_anything(name):
    rows = rows_of(name)
    left = max(width_of(symbol) for symbol, _ in rows)
    assert max(left + width_of(text) for _, text in rows) <= COLUMN
    lines = [line.removesuffix(r" \\") for line in written(name).splitlines()[1:-1]]
    found = bare("".join(symbol + text for symbol, text in rows))
    assert found.startswith(bare("".join(lines)))


LONG = r"""objective long extends group_ppo
"A gate of many terms"
param width = 0.3 in (0, inf)
def long_gate(r, width, floor) = r * detach(max(floor,
  exp(-abs(r - 1) / width) + 0.25 * exp(-((r - 1) / (2 * width)) ^ 2) - abs(log(r)) ^ 3 / 100
))
def best(x, scope) = x - max(x, scope)
advantage = reward |> best(group)
ratio = policy / old |> long_gate(width, 0.001) when moving_away(it)
"""


def test_a_def_of_ones_own_is_broken_and_one_called_by_name_is_defined(tmp_path):
    (tmp_path / "long.obj").write_text(LONG)
    rows = rows_of(str(tmp_path / "long.obj"))
    left = max(width_of(symbol) for symbol, _ in rows)
    assert max(left + width_of(text) for _, text in rows) <= COLUMN
    called, body = (
        r"\underset{\mathrm{scope}}{\mathrm{best}}\left(x\right)",
        r"x - \underset{\mathrm{scope}}{\max}\left(x\right)",
    )
    assert ("", f" {called} = {body}") in rows
    gate = next(text for symbol, text in rows if "ratio" in symbol and "cases" in text)
    assert (
        gate.count(r"\left") == gate.count(r"\right") > 8
        and gate.count(r"\left.") == gate.count(r"\right.") > 1
    )


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("= a + b + c", 4, ["= a + b", "+ c"]),
        ("= a + b + c", 60, ["= a + b + c"]),
        # What is joined more loosely parts first, and a bracket stays whole as long as it can.
        (r"a \cdot \left(b + c\right) + d", 6, [r"a \cdot \left(b + c\right)", "+ d"]),
        (r"\exp\left(a + b + c\right)", 6.4, [r"\exp\left(a + b\right.", r"\quad \left.+ c\right)"]),
        (
            r"\frac{a + b + c + d}{e}",
            5,
            [r"\left(a + b\right.", r"\quad \left.+ c + d\right) /", "e"],
        ),
        (r"a + b \text{ and } -c", 5, ["a + b", r"\text{ and } -c"]),
        (r"\quad {} + \mathit{abcdefgh} \cdot b", 6, [r"\quad {} + \mathit{abcdefgh} \cdot", "b"]),
        # Nothing that cannot be broken is.
        (
            r"\mathrm{a\_long\_name} ^ {2} \unknown{a + b}",
            3,
            [r"\mathrm{a\_long\_name} ^ {2} \unknown{a + b}"],
        ),
        (
            r"\left.\begin{array}{ll} a & b \\ c & d \end{array}\right|",
            3,
            [r"\left.\begin{array} {ll} a & b \\ c & d \end{array}\right|"],
        ),
        ("", 3, [""]),
    ],
)
def test_where_lines_end(text, room, expected):
    assert broken(text, room) == expected


def test_packages_of_a_notation_of_ones_own_are_named(cli, write):
    write(
        "mine.obj",
        "objective mine extends group_ppo\n"
        'def indicator(x, y) = detach(1 if x > y else 0)\n    notation "\\mathbb{1}[$x > $y]"\n'
        "weight w = indicator(policy, 0.1)\n",
    )
    result = cli("explain", "mine.obj", "--latex")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("% \\usepackage{amsmath,amssymb}\n")


def test_on_the_command_line(cli):
    told = cli("explain", "maspo", "--latex").stdout
    assert told.startswith("% \\usepackage{amsmath}\n\\begin{aligned}\n")
    assert r"& \mathrm{clamp}\left(x, \mathit{low}, \mathit{high}\right)" in told
    assert r"\text{if } \left(A > 0 \text{ and } r > 1\right) \\ \quad \text{ or }" in told
    refused = cli("explain", "maspo", "--latex", "--json")
    assert refused.exit_code == 2
