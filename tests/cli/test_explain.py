"""What `explain` says is what the objective computes, in words and mathematics a researcher reads."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.cli.explanation_text import WIDTH, explanation_lines
from maspo_dsl.language import tree
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source
from maspo_dsl.notation.conventions import detached_in
from maspo_dsl.notation.explanation import Explanation, explanation
from maspo_dsl.notation.plain import plain_text

SHIPPED = maspo_dsl.shipped()


@cache
def shipped(name: str) -> tuple[maspo_dsl.Objective, Explanation]:
    objective = maspo_dsl.load(name)
    return objective, explanation(objective)


def formula(name: str, **params: float) -> dict[str, str]:
    """Lines of a formula by symbol; a line without one under `+`."""
    found = explanation(maspo_dsl.load(name, params))
    return {line.symbol or "+": line.text for line in found.formula.lines}


def said(name: str, about: str, **params: float) -> str:
    found = explanation(maspo_dsl.load(name, params))
    return " ".join(convention.text for convention in found.conventions if convention.about == about)


def own(text: str, tmp_path: Path) -> str:
    path = tmp_path / "own.obj"
    path.write_text(f"objective own extends group_ppo\n{text}")
    return str(path)


# ---- the formula


def test_formulas_of_the_three():
    grpo, dapo, maspo = (formula(name) for name in ("grpo", "dapo", "maspo"))
    assert grpo == {
        "loss": "mean_window(mean_sequence(\N{SCRIPT SMALL L}))",
        "\N{SCRIPT SMALL L}": "−A · ratio",
        "+": "+ kl · (π_ref / π − log(π_ref / π) − 1)",
        "r": "π / π_old",
        "ratio": "min(r, 1 + eps_high) where A > 0; max(r, 1 − eps_low) where A < 0",
        "A": "scale_group(center_group(R), ddof = 1, eps = 1e−4)",
        "R": "the task's reward",
    }
    assert dapo["overlong"] == "clamp((max_length − cache − length) / cache, −1, 0)"
    assert dapo["R"] == "the task's reward + overlong" and dapo["mixed"] == "0 < mean_group(correct) < 1"
    assert maspo["ratio"] == (
        "r · sg[exp(−(r − 1)² / (2 · (mass · risk)²))] where (A > 0 and r > 1) or (A < 0 and r < 1); else r"
    )
    assert maspo["mass"] == "clamp(sigma_base / π_old^alpha, sigma_base, 10)"


def test_stages_are_numbered_and_a_rule_notes_what_it_does(tmp_path):
    lines = formula(
        own("after clip |> min(3) as dual when A < 0\nmute far where policy / old > 2\n", tmp_path)
    )
    assert lines["r₁"].startswith("min(r, 1 + eps_high)")
    assert lines["ratio"] == "min(r₁, 3) where A < 0; else r₁"
    assert lines["far"] == "π / π_old > 2"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-a^2 / (b * c)", "−a² / (b · c)"),
        ("(a - b) - (c - d)", "a − b − (c − d)"),
        ("a / b / c", "a / b / c"),
        ("a / (b / c)", "a / (b / c)"),
        ("(a + b)^c", "(a + b)^c"),
        ("a^(b + 1)", "a^(b + 1)"),
        ("abs(x) + sqrt(y) * detach(z)", "|x| + √(y) · sg[z]"),
        ("mean(x - max(x, group), group)", "mean_group(x − max_group(x))"),
        (
            "quantile(x, 0.9, window, of = A > 0, empty = -inf)",
            "quantile_window(x, 0.9, of = A > 0, empty = −∞)",
        ),
        ("1 if A > 0 and not (x <= 2 or y != 3) else 0", "1 if A > 0 and not (x ≤ 2 or y ≠ 3) else 0"),
        ("policy / old + entropy(policy)", "π / π_old + H(π)"),
        ("reward |> center(group) |> scale(group, eps = 1e-4)", "scale_group(center_group(R), eps = 1e−4)"),
        ("x |> min(2) |> max(1) when it > 3", "min(x, 2), then max(·, 1) where · > 3"),
    ],
)
def test_expressions_as_mathematics(text, expected):
    parsed = parse_objective(Source("<test>", f"objective t\nlet x0 = {text}\n"))
    (let,) = parsed.statements
    assert isinstance(let, tree.Let)
    assert plain_text(let.value) == expected


def test_what_others_do_otherwise_is_told_and_not_inherited(cli, tmp_path):
    base, mine = tmp_path / "base.obj", tmp_path / "mine.obj"
    base.write_text('objective base extends grpo\ndiffers "somebody: half of it"\ndrop kl\n')
    mine.write_text("objective mine extends base\nparam eps_high = 0.3\n")
    told = cli("explain", base).stdout
    assert "What others do otherwise\n  somebody: half of it\n" in told
    assert json.loads(cli("explain", base, "--json").stdout)["differs"] == ["somebody: half of it"]
    assert "somebody" not in cli("explain", mine).stdout


def test_words_of_the_language_in_a_formula_are_explained():
    """What goes along a completion is no `def` that the formula could write out."""
    legends = {
        name: dict(explanation(maspo_dsl.load(name)).formula.legend) for name in ("ppo", "kl_cov", "grpo")
    }
    words = {"position", "next(·)", "discounted_sum(·)", "top"}
    assert {name: words & set(legend) for name, legend in legends.items()} == {
        "ppo": words - {"top"},
        "kl_cov": {"top"},
        "grpo": set(),
    }


def test_every_call_in_a_formula_is_explained():
    helpers = {h.call.split("(")[0]: h for h in explanation(maspo_dsl.load("maspo")).formula.helpers}
    assert set(helpers) == {"mean", "clamp", "center", "scale", "std"}
    assert all(helper.body and helper.meaning for helper in helpers.values())


@pytest.mark.parametrize(
    "text, inside", [("sg[a] · b", ["a"]), ("sg[sg[a] + b] + sg[c]", ["sg[a] + b", "c"]), ("a + b", [])]
)
def test_what_a_formula_detaches(text, inside):
    assert list(detached_in(text)) == inside


# ---- parameters


def test_parameters_say_where_their_values_come_from():
    objective = maspo_dsl.load("dapo", {"eps_low": 0.1}, run={"generation_limit": 8})
    rows = {row.name: row for row in explanation(objective).parameters}
    assert re.fullmatch(
        r"set by params.eps_low; declared in maspo_dsl/objectives/group_ppo.obj:\d+", rows["eps_low"].origin
    )
    assert rows["eps_high"].origin.startswith("default, maspo_dsl/objectives/dapo.obj:")
    assert rows["max_length"].value == 8 and rows["max_length"].origin.startswith(
        "the run's generation_limit"
    )
    assert rows["cache"].value == 1.6 and "= max_length / 5" in rows["cache"].origin
    assert rows["eps_low"].interval == "(0, 1)" and rows["eps_low"].meaning == "clip offset below 1"
    assert {r.name for r in explanation(maspo_dsl.load("maspo")).parameters if r.unread} == {
        "eps_low",
        "eps_high",
    }


# ---- conventions


def test_bounds_and_gradients():
    assert "±20" in said("maspo", "log-ratios")
    assert said("maspo", "without gradient").startswith("exp(−(r − 1)² / (2 · (mass · risk)²)), A")
    assert said("vespo", "without gradient").startswith("r₄, A")
    assert said("grpo", "with gradient").startswith("π, where it stands in ratio and kl")
    assert said("grpo", "exponents") == "" and "80" in said("maspo", "exponents")


def test_degenerate_groups_are_computed_not_claimed(tmp_path):
    assert "A is exactly 0" in said("grpo", "equal rewards") and "A is exactly 0" in said(
        "grpo", "lone completions"
    )
    plain = own("advantage = reward\n", tmp_path)
    assert "A = 1 for rewards of 1" in said(plain, "equal rewards")
    per_token = own("advantage = reward / max(length, 1)\n", tmp_path)
    assert "equal rewards" not in {c.about for c in explanation(maspo_dsl.load(per_token)).conventions}
    # Two completions of one reward and different lengths do differ where length is rewarded.
    equal = said("dapo", "equal rewards")
    assert equal == "a group whose completions all got the same reward, `overlong` included: A is exactly 0"
    assert said("dapo", "lone completions") == "a completion alone in its group: A is exactly 0"
    shaped = own(
        "advantage = reward\nreward brief = -0.1 * length\nreward odd = 0.5 if truncated else 0\n",
        tmp_path,
    )
    assert said(shaped, "equal rewards").endswith("`brief` and `odd` included: A = 1 for rewards of 1")
    assert said(shaped, "lone completions").endswith("A = 1 for rewards of 1, `brief` and `odd` included")
    reads_more = own("advantage = reward - reward_greedy\n", tmp_path)
    assert "equal rewards" not in {c.about for c in explanation(maspo_dsl.load(reads_more)).conventions}


def test_spreads_and_denominators(tmp_path):
    assert said("grpo", "scale(group)") == "ddof = 1, eps = 1e−4: x over its spread; 0 where there is none"
    assert said("dapo", "reduction").startswith("the sum over the trained tokens of the optimizer window")
    assert "its sequence" in said("grpo", "reduction") and "sequences with a trained token" in said(
        "grpo", "reduction"
    )
    assert "add up" in said("grpo", "partition")
    micro = own("reduce = loss |> mean(micro)\n", tmp_path)
    assert "micro" in said(micro, "partition") and "add up" not in said(micro, "partition")


def test_a_def_of_the_spec_is_told_of_like_one_of_the_library(tmp_path):
    """No name of the library is known: what a mean is and which numbers are chosen is read from the `def`."""
    mine = own(
        "def average(v, within) = sum(v, within) / max(count(v, within), 1)\n"
        'def soften(r, power = 2, cap = 3) = min(r, cap) ^ power  "a softened ratio"\n'
        "reduce = loss |> average(sequence) |> average(window)\nratio = policy / old |> soften(cap = 4)\n",
        tmp_path,
    )
    assert said(mine, "reduction") == said("grpo", "reduction")
    assert said(mine, "soften") == "power = 2, cap = 4: a softened ratio"
    helpers = {h.call: h.body for h in explanation(maspo_dsl.load(mine)).formula.helpers}
    assert helpers["average(v, within)"] == "sum_within(v) / max(count_within(v), 1)"
    total = own(
        "def total(v, within) = sum(v, within) / max(count(v, within), 2)\nreduce = loss |> total(window)\n",
        tmp_path,
    )
    assert said(total, "reduction").startswith("total over the trained tokens of the optimizer window")


def test_what_happens_once_a_rollout_and_what_vanished():
    assert "reward overlong" in said("dapo", "once a rollout") and "keep mixed" in said(
        "dapo", "once a rollout"
    )
    assert said("grpo", "vanished") == "" and said("grpo", "vanished", kl=0.0).startswith("kl has weight 0")


# ---- tensors


def test_each_tensor_names_what_needs_it():
    needs = {t.name: t.needed_by for t in explanation(maspo_dsl.load("grpo")).tensors}
    assert needs["logp_ref"] == ("kl",) and needs["logp_old"] == ("ratio",)
    assert needs["reward"] == ("advantage, unless the batch brings `advantage`",)
    gone = {t.name for t in explanation(maspo_dsl.load("grpo", {"kl": 0.0})).tensors}
    assert "logp_ref" not in gone


# ---- origins, drops, variants


def test_each_part_says_where_it_is_written():
    origins = {o.part: o for o in explanation(maspo_dsl.load("maspo")).origins}
    assert origins["advantage"].inherited == "group_ppo" and "group_ppo.obj:" in origins["advantage"].place
    assert origins["ratio"].inherited == "" and "maspo.obj:" in origins["let mass"].place


@pytest.mark.parametrize("name", SHIPPED)
def test_the_tensors_are_those_that_are_read_and_what_can_be_dropped_can_be(name, tmp_path):
    objective, found = shipped(name)
    read = {tensor.name for tensor in found.tensors}
    assert read == objective.inputs | objective.reads("prompt") | ({"correct", "prompt_id"} & read)
    assert all(t.shape.startswith("[N") and t.meaning and t.needed_by for t in found.tensors)
    for drop in found.drops:
        path = tmp_path / "without.obj"
        path.write_text(f"objective without extends {name}\ndrop {drop.name}\n")
        assert maspo_dsl.load(path).hash
    assert "mean" not in {drop.name for drop in found.drops}, "without its reduction it is no objective"


def test_drops_and_variants_of_maspo():
    found = explanation(maspo_dsl.load("maspo"))
    effects = {drop.name: drop.effect for drop in found.drops}
    assert (
        effects["mass"] == "mass becomes sigma_base"
        and effects["gate"] == "`ratio` goes on without this stage"
    )
    assert {v.name: v.text for v in found.variants}["hard"] == "swap gate |> clip(0.8, 1.28)"
    assert [(s.name, s.text) for s in found.sweeps] == [("alpha", "0, 0.15, 0.3, 0.5")]


# ---- the page


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_is_complete_and_readable(name):
    page = "\n".join(explanation_lines(shipped(name)[1]))
    titles = [
        "Formula",
        "Parameters",
        "What the compiler does",
        "Tensors of the batch",
        "Where each part is written",
    ]
    assert all(f"\n{title}\n" in page for title in titles)
    outside = page.split("\nParameters\n")[0] + page.split("What the compiler does")[1]
    assert max(map(len, outside.splitlines())) <= WIDTH


def test_the_same_as_a_document(cli):
    document = json.loads(cli("explain", "maspo", "params.alpha=0.5", "--json").stdout)
    assert document["hash"] == maspo_dsl.load("maspo", {"alpha": 0.5}).hash and document["formula"]["lines"]
    assert {"name": "alpha", "value": 0.5}.items() <= document["parameters"][3].items()


def test_the_page_says_what_is_inherited_unread_and_acknowledged(tmp_path):
    path = own('reduce = loss |> mean(micro)\nallow micro-scope "as TRL"\nratio = policy / old\n', tmp_path)
    text = "\n".join(explanation_lines(explanation(maspo_dsl.load(path))))
    assert "inherited and not read here: eps_low, eps_high" in text
    assert re.search(r"Acknowledged warnings\n(  .*\n)*  micro-scope +as TRL", text)
    assert "lineage  own extends group_ppo" in text


def test_the_coupling_of_tokens(cli, tmp_path):
    def said(spec):
        page = " ".join(cli("explain", str(spec)).stdout.split())
        return page.split("coupling of tokens ")[1].split(" from hidden states ")[0]

    alone = "token: the gradient of a token depends on the policy at that token alone"
    assert said("maspo") == alone
    assert said("gspo") == (
        "sequence: the gradient of a token depends on the policy at every token of its completion, "
        "by ratio (geomean(sequence))"
    )
    rare = own("exclude rare where policy < 0.1\nreduce = loss |> mean(window)\n", tmp_path)
    assert said(rare) == (
        "batch: the gradient of a token depends on the policy at every token of the batch, by exclude rare (the "
        "number of tokens that it leaves); counted anew for each update, since the policy moves it: tokens"
    )
    document = json.loads(cli("explain", str(rare), "--json").stdout)["coupling"]
    assert document["visits"] == (
        "two passes over the head, the second over tokens with a gradient; one pass over the head where the window's "
        "denominators are given"
    )
    assert (document["reach"], document["statistics"]) == ("batch", ["tokens"])
    assert document["because"] == [{"part": "exclude rare", "calls": []}]


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("maspo", "one pass over the head; tokens without advantage are skipped"),
        ("grpo", "one pass over the head"),
        ("gspo", "one pass over the head, whole completions together; tokens without advantage are skipped"),
        (
            "top_entropy",
            "two passes over the head, the second over tokens with a gradient; one pass over the head where the "
            "window's denominators are given",
        ),
    ],
)
def test_the_passes_from_hidden_states(cli, name, passes):
    assert json.loads(cli("explain", name, "--json").stdout)["coupling"]["visits"] == passes


def test_a_base_that_is_not_the_shipped_one_is_named(tmp_path):
    """A file beside a spec comes first, whatever ships under its name."""
    (tmp_path / "grpo.obj").write_text("objective grpo extends group_ppo\nreduce = loss |> mean(window)\n")
    (tmp_path / "mine.obj").write_text("objective mine extends grpo\n")
    shown = "\n".join(explanation_lines(explanation(maspo_dsl.load(tmp_path / "mine.obj"))))
    words = " ".join(shown.split())
    assert f"mine extends grpo ({tmp_path}/grpo.obj, not the shipped grpo) extends group_ppo" in words
    assert explanation(maspo_dsl.load("grpo")).extends == ("group_ppo",)


def test_a_memory_is_in_the_formula_and_what_the_loop_must_do(tmp_path):
    path = tmp_path / "kept.obj"
    memory = 'memory base = 0.5 * base + 0.5 * mean(reward, group) start 0.25 per prompt "what it was worth"'
    path.write_text(f"objective kept extends group_ppo\n{memory}\nadvantage = reward - base\n")
    found = explanation(maspo_dsl.load(path))
    (line,) = [line for line in found.formula.lines if line.symbol == "base'"]
    assert line.text == "0.5 · base + 0.5 · mean_group(R)"
    assert line.note == "memory base per prompt, 0.25 at first"
    (told,) = [convention.text for convention in found.conventions if convention.about == "memory base"]
    assert "0.25 before the first one" in told and "one for each prompt" in told and "loop keeps it" in told
    assert {t.name: t.meaning for t in found.tensors}["base"] == "what it was worth"
    assert ("base", "it stays at its start") in [(drop.name, drop.effect) for drop in found.drops]
