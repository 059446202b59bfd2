"""What the edits do to a spec: each one gives the spec that says the same without it."""

import io

import pytest

import maspo_dsl

HEAD = "objective example extends maspo\n"


def load(lines: str, base: str = "maspo") -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(f"objective example extends {base}\n{lines}\n"))


def refused(lines: str, base: str = "maspo") -> list[str]:
    with pytest.raises(maspo_dsl.SpecError) as caught:
        load(lines, base)
    return [d.code for d in caught.value.diagnostics]


SCORED = "advantage = reward |> center(group) |> scale(group, ddof = 1, eps = 1e-4)"
RATIO = "ratio = policy / old |> clip(1 - eps_low, 1 + eps_high)"
EQUAL = [
    # base, edits, the same written out
    ("group_ppo", "drop clip", "ratio = policy / old"),
    ("group_ppo", "drop ratio.clip", "ratio = policy / old"),
    ("group_ppo", "drop scale", "advantage = reward |> center(group)"),
    ("group_ppo", "drop center, scale", "advantage = reward"),
    ("grpo", "drop kl", ""),
    ("grpo", "drop penalty.kl", ""),
    ("dapo", "drop mixed", None),
    (
        "group_ppo",
        "before clip |> min(3)",
        "ratio = policy / old |> min(3) |> clip(1 - eps_low, 1 + eps_high)",
    ),
    ("group_ppo", "after clip |> min(3)", f"{RATIO} |> min(3)"),
    ("group_ppo", "after clip |> min(3) as a |> max(0.1)", f"{RATIO} |> min(3) as a |> max(0.1)"),
    ("group_ppo", "after clip |> min(3)\nafter min |> max(0.1)", f"{RATIO} |> min(3) |> max(0.1)"),
    ("group_ppo", "after clip |> min(3)\nbefore min |> max(0.1)", f"{RATIO} |> max(0.1) |> min(3)"),
    ("group_ppo", "swap clip |> min(3)", "ratio = policy / old |> min(3)"),
    ("group_ppo", "swap clip |> min(3) |> max(0.1)", "ratio = policy / old |> min(3) |> max(0.1)"),
    (
        "group_ppo",
        "swap scale |> scale(group, ddof = 0)",
        "advantage = reward |> center(group) |> scale(group, ddof = 0)",
    ),
    ("group_ppo", "after reduce.sum |> max(0)", None),
    ("group_ppo", "param eps_low = 0.3\nparam eps_high = 0.3", "param eps_high = 0.3, eps_low = 0.3"),
    ("maspo", "drop mass", "let mass = sigma_base"),
    ("maspo", "drop risk", "let risk = 1"),
    ("maspo", "drop gate", "ratio = policy / old"),
    ("maspo", "swap gate |> min(2)\ndrop min", "ratio = policy / old"),
    (
        "maspo",
        "let mass = 2\nlet risk = 3",
        "ratio = policy / old |> gaussian_gate(mass * risk) as gate when moving_away(it)\nlet risk = 3\nlet mass = 2",
    ),
]


def plain(base: str) -> str:
    """The base without what the edits above take away."""
    return {"grpo": "group_ppo"}.get(base, base)


@pytest.mark.parametrize(("base", "edits", "written"), [case for case in EQUAL if case[2] is not None])
def test_edit_says_the_same_as_the_text(base, edits, written):
    assert load(edits, base).hash == load(written, plain(base) if "kl" in edits else base).hash
    assert load(edits, base).hash != load("", base).hash


def test_aliases_stay_in_the_text_but_name_nothing_else():
    assert "as gate" in load("param alpha = 0.5").text
    assert refused("drop gaussian_gate") == ["unknown-target"]
    assert load("swap gate |> min(2) as gate\nafter gate |> max(0.1)").hash


def test_edits_apply_from_top_to_bottom():
    first = load("after gate |> min(2) as cap\nratio = policy / old")
    assert first.hash == load("ratio = policy / old").hash
    assert refused("ratio = policy / old\nafter gate |> min(2) as cap") == ["unknown-target"]
    assert refused("drop gate\ndrop gate") == ["unknown-target"]
    assert load("penalty k = 0.1 * k2(policy, old)\ndrop k").hash == load("").hash


def test_declarations_have_no_order():
    after = "ratio = policy / old |> min(cap)\nparam cap = 2"
    before = "param cap = 2\nratio = policy / old |> min(cap)"
    assert load(after).hash == load(before).hash


def test_a_new_default_keeps_interval_and_text():
    declared = load("param alpha = 0.7").resolved.parameters["alpha"].declared
    assert declared.doc == "how fast it widens as old falls"
    assert refused("param alpha = 1.1") == ["out-of-domain"]
    assert load("param alpha = 1.1 in [0, 2]").params["alpha"] == 1.1
    assert load('param alpha = 0.7 "mine"').resolved.parameters["alpha"].declared.doc == "mine"


def test_a_value_written_again_is_no_longer_bound_to_the_run():
    def length(line: str) -> float:
        child = io.StringIO(f"objective example extends dapo\n{line}\n")
        return maspo_dsl.load(child, run={"generation_limit": 7}).params["max_length"]

    assert length("") == 7
    assert length("param max_length = 100") == 100
    assert length("param max_length = 100 bind generation_limit") == 7


def test_replacing_a_part_that_is_in_the_base():
    replaced = load("penalty kl = kl * k2(policy, reference)", "grpo")
    assert "k2(policy, reference)" in replaced.text and "k3" not in replaced.text
    assert load("keep mixed where mean(correct, group) > 0", "dapo").text.count("keep mixed") == 1


def test_several_parts_of_a_kind_stand_beside_each_other():
    both = load("penalty drift = 0.1 * k2(policy, old)\nbonus entropy = 0.01 * entropy(policy)", "grpo")
    begun = {" ".join(line.split()[:2]) for line in both.text.splitlines()}
    assert {"penalty kl", "penalty drift", "bonus entropy"} <= begun


@pytest.mark.parametrize(
    ("edit", "codes"),
    [
        ("drop min", ["ambiguous-target"]),
        ("drop ratio.min", []),
        ("drop w.min", []),
        ("drop weight.w", ["unread-name"]),
        ("drop w", ["ambiguous-target"]),
        ("swap min |> max(1)", ["ambiguous-target"]),
        ("swap ratio.min |> max(1)", []),
        ("before ratio.min |> max(1)", []),
        ("after advantage.min |> max(1)", ["unknown-target"]),
    ],
)
def test_qualified_paths(edit, codes):
    lines = "let w = old / rollout |> min(2)\nratio = policy / old |> min(3)\nweight w = w |> max(w)\n" + edit
    lines = lines.replace("let w = old / rollout |> min(2)", "let w = old / rollout |> min(2) neutral 1")
    if codes:
        assert refused(lines) == codes
    else:
        load(lines)


def test_two_stages_of_one_name_need_names_of_their_own():
    twice = "ratio = policy / old |> min(3) |> min(2)\n"
    assert refused(twice + "drop min") == ["ambiguous-target"]
    assert refused(twice + "drop ratio.min") == ["ambiguous-target"]
    named = "ratio = policy / old |> min(3) |> min(2) as cap\n"
    assert load(named + "drop cap").hash == load("ratio = policy / old |> min(3)").hash
    assert load(named + "drop min").hash == load("ratio = policy / old |> min(2) as cap").hash


def test_inherited_names_vanish_when_nothing_reads_them():
    plain = load("ratio = policy / old")
    assert plain.params == {}
    assert not any(word in plain.text for word in ("mass", "risk", "alpha", "sigma_base"))
    assert load("drop mass").params.keys() == {"sigma_base", "beta_pos", "beta_neg"}


@pytest.mark.parametrize("own", ["param mine = 1", "let mine = 1", "def mine(x) = x", "input mine : token"])
def test_ones_own_unread_names_are_mistakes(own):
    assert refused(own) == ["unread-name"]


@pytest.mark.parametrize("own", ["param alpha = 0.5\ndrop mass", "let mass = 2\ndrop gate"])
def test_an_inherited_name_given_again_is_ones_own(own):
    assert refused(own) == ["unread-name"]


def test_three_generations(tmp_path):
    (tmp_path / "one.obj").write_text("objective one extends maspo\nparam alpha = 0.5\n")
    (tmp_path / "two.obj").write_text("objective two extends one\nafter gate |> min(5) as cap\n")
    (tmp_path / "three.obj").write_text("objective three extends two\ndrop cap\n")
    three = maspo_dsl.load(tmp_path / "three.obj")
    assert three.hash == maspo_dsl.load("maspo", {"alpha": 0.5}).hash
    assert three.resolved.lineage == ("group_ppo", "maspo", "one", "two")


def test_variants_and_sweeps_stay_behind():
    """They belong to the spec that has them; one that extends it may have its own of the same name."""
    child = load("param alpha = 0.1")
    assert not child.resolved.flat.variants and not child.resolved.flat.sweeps
    own = load("variant hard { swap gate |> clip(0.9, 1.1) }\nsweep alpha = 0.2, 0.4")
    assert set(own.resolved.flat.variants) == {"hard"}


@pytest.mark.parametrize(
    ("variant", "edits"),
    [
        ("without_mass", "drop mass"),
        ("without_risk", "drop risk"),
        ("bilateral", "swap gate |> gaussian_gate(mass * risk)"),
        ("hard", "swap gate |> clip(0.8, 1.28)"),
    ],
)
def test_a_variant_is_its_edits(variant, edits):
    loaded = maspo_dsl.load(f"maspo@{variant}")
    assert loaded.hash == load(edits).hash
    assert loaded.name == f"maspo_{variant}"
    assert maspo_dsl.parse(loaded.text).hash == loaded.hash


def test_variant_of_several_lines():
    text = (
        HEAD + "variant both {\n    drop mass      # the mass\n    drop risk\n    param sigma_base = 2\n}\n"
    )
    objective = maspo_dsl.parse(text)
    assert objective.hash == maspo_dsl.load("maspo").hash
    assert "variant both" in objective.text


def test_sweep_values_are_numbers_in_the_interval():
    values = load("sweep alpha = 0, 1 / 4, 1").resolved.flat.sweeps["alpha"].values
    assert len(values) == 3
    assert refused("sweep alpha = 0, 2") == ["out-of-domain"]
    assert refused("sweep alhpa = 0, 1") == ["unknown-param"]
    assert refused("sweep alpha = A, 1") == ["unknown-name"]
