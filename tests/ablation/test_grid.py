"""Grids: which points there are, what becomes of those that cannot be, and what is written."""

import json
from itertools import combinations
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.folder import plan, read_grid, write_grid
from maspo_dsl.ablation.request import Request


def names(document) -> list[str]:
    return [point["name"] for point in document["points"]]


def edits(document) -> dict[str, list[str]]:
    return {point["name"]: point["edits"] for point in document["points"]}


def refused(document, kind) -> dict[str, str]:
    return {one["name"]: one["reason"] for one in document[kind]}


def grid(spec, params=None, **request):
    return plan(spec, Request(**request), params or {}, seeds=1)


def test_default_of_maspo_is_leave_one_out_and_the_ladder():
    document = grid("maspo")
    assert edits(document) == {
        "maspo": [],
        "maspo_without_mass": ["drop mass"],
        "maspo_without_risk": ["drop risk"],
        "maspo_without_center": ["drop center"],
        "maspo_without_scale": ["drop scale"],
        "maspo_without_gate": ["drop gate"],
        "maspo_ladder_0_group_ppo": [
            "ratio = policy / old |> clip(1 - eps_low, 1 + eps_high)",
            "reduce = loss |> mean(sequence) |> mean(window)",
            "drop mass",
            "drop risk",
        ],
        "maspo_ladder_1_ratio": ["reduce = loss |> mean(sequence) |> mean(window)", "drop mass", "drop risk"],
        "maspo_ladder_2_reduce": ["drop mass", "drop risk"],
    }
    assert set(refused(document, "impossible")) == {"advantage", "ratio", "reduce", "maspo_without_mean"}


def test_ladder_starts_at_the_ancestor_and_merges_its_last_step():
    document = grid("maspo", ladder=True)
    ladder = {point["name"]: point["hash"] for point in document["points"]}
    assert ladder["maspo_ladder_0_group_ppo"] == maspo_dsl.load("group_ppo").hash
    whole = grid("maspo", ladder=True, leave_one_out=True)
    without_risk = next(point for point in whole["points"] if point["name"] == "maspo_without_risk")
    assert without_risk["same_as"] == ["maspo_ladder_3_mass"]


def test_ladder_of_dapo_adds_a_value_two_rules_and_a_reduction():
    document = grid("dapo", ladder=True)
    assert names(document) == [
        "dapo",
        "dapo_ladder_0_group_ppo",
        "dapo_ladder_1_eps_high",
        "dapo_ladder_2_overlong",
        "dapo_ladder_3_mixed",
    ]
    assert edits(document)["dapo_ladder_1_eps_high"][:2] == ["drop overlong", "drop mixed"]


@pytest.mark.parametrize(
    "spec", ["grpo", "dapo", "maspo", "vespo", "bapo", "gspo_token", "ppo_dual_clip", "dro"]
)
def test_every_point_is_an_objective(spec, tmp_path):
    try:
        written = write_grid(spec, Request(), {}, 1, tmp_path / "grid")
    except GridError as error:
        pytest.fail(str(error))
    hashes = set()
    for point in written.points:
        text = (written.path / point["file"]).read_text()
        objective = maspo_dsl.load(written.path / point["file"])
        assert objective.hash == point["hash"] and objective.name == point["name"]
        assert text.startswith(f"objective {point['name']}")
        hashes.add(objective.hash)
    assert len(hashes) == len(written.points) > 2
    assert sorted(path.name for path in written.path.iterdir()) == sorted(
        ["manifest.json", *(point["file"] for point in written.points)]
    )


def test_pairs_are_every_two_parts():
    document = grid("maspo", pairs=True)
    parts = ["mass", "risk", "center", "scale", "gate"]
    there = set(names(document)) | {n for point in document["points"] for n in point["same_as"]}
    assert {f"maspo_without_{a}_{b}" for a, b in combinations(parts, 2)} <= there
    assert "the same" not in json.dumps(document)
    # Without its gate MASPO reads neither mass nor risk.
    gateless = next(p for p in document["points"] if p["name"] == "maspo_without_mass_gate")
    assert gateless["same_as"] == ["maspo_without_risk_gate"]


def test_combinations_that_cannot_be_are_listed_once_with_their_edits():
    listed = grid("maspo", pairs=True, product=True)["impossible"]
    assert len({one["name"] for one in listed}) == len({one["reason"] for one in listed}) == len(listed) > 20
    every = "drop mass; drop risk; drop center; drop scale; drop gate; drop mean: `reduce` cannot"
    assert sum(one["reason"].startswith(every) for one in listed) == 1


def test_parts_that_cannot_be_dropped_are_listed_wherever_parts_are_dropped():
    for asked in ("leave_one_out", "pairs", "product"):
        listed = refused(grid("maspo", **{asked: True}), "impossible")
        assert listed["reduce"] == "`reduce` has no neutral; it can be replaced, not dropped"
    assert "reduce" not in refused(grid("maspo", vary={"alpha": ("0.1",)}, product=True), "impossible")


def test_factors_alone_together_and_side_by_side():
    vary = {"alpha": ("0", "0.5"), "beta_pos": ("0.01", "0.1")}
    alone = names(grid("maspo", vary=vary))
    assert alone == ["maspo", "maspo_alpha_0", "maspo_alpha_0_5", "maspo_beta_pos_0_01", "maspo_beta_pos_0_1"]
    assert len(names(grid("maspo", vary=vary, product=True))) == 9
    zipped = edits(grid("maspo", vary=vary, zip=True))
    assert [*zipped.values()][1:] == [
        ["param alpha = 0", "param beta_pos = 0.01"],
        ["param alpha = 0.5", "param beta_pos = 0.1"],
    ]
    with pytest.raises(GridError, match="as many values, not 2, 1"):
        grid("maspo", vary={"alpha": ("0", "0.5"), "beta_pos": ("0.1",)}, zip=True)


def test_the_default_value_is_merged_with_the_base():
    document = grid("maspo", vary={"alpha": ("0.3", "0.5")})
    assert document["points"][0]["same_as"] == ["maspo_alpha_0_3"]
    assert names(document) == ["maspo", "maspo_alpha_0_5"]


def test_swaps_know_stages_by_name_and_by_function():
    by_function = grid("maspo", swap={"gaussian_gate": ("clip(0.8, 1.2)", "sigmoid_gate(1.0)")})
    by_name = grid("maspo", swap={"gate": ("clip(0.8, 1.2)", "sigmoid_gate(1.0)")})
    hashes = [[point["hash"] for point in document["points"]] for document in (by_function, by_name)]
    assert hashes[0] == hashes[1] and len(hashes[0]) == 3
    assert [*edits(by_name).values()][1] == ["swap gate |> clip(0.8, 1.2)"]


def test_parameters_of_what_was_swapped_are_not_varied():
    document = grid("maspo", vary={"alpha": ("0", "0.5")}, swap={"gate": ("clip(0.8, 1.2)",)}, product=True)
    assert set(names(document)) == {"maspo", "maspo_alpha_0", "maspo_alpha_0_5", "maspo_gate_clip_0_8_1_2"}
    assert all("`alpha`" in why for why in refused(document, "impossible").values())
    assert len(document["impossible"]) == 2


def test_a_parameter_of_one_variant_is_varied_only_there(tmp_path):
    path = tmp_path / "own.obj"
    path.write_text(
        "objective own extends grpo\n"
        "variant narrow {\n    param width = 0.5 in (0, inf)\n    swap clip |> gaussian_gate(width)\n}\n"
    )
    document = grid(str(path), vary={"width": ("0.2", "0.4")})
    assert names(document) == ["own", "own_narrow_width_0_2", "own_narrow_width_0_4"]
    assert edits(document)["own_narrow_width_0_2"][-1] == "param width = 0.2"


def test_the_specs_own_variants_and_sweeps():
    document = grid("maspo", own=True)
    assert {"maspo_bilateral", "maspo_hard", "maspo_without_mass", "maspo_alpha_0_15"} <= set(names(document))
    hard = next(point for point in document["points"] if point["name"] == "maspo_hard")
    assert hard["hash"] == maspo_dsl.load("maspo@hard").hash


def test_a_change_that_computes_nothing_else_is_reported_and_not_a_point(tmp_path):
    path = tmp_path / "still.obj"
    path.write_text(
        "objective still extends grpo\nparam bonus = 0.1 in [0, 1]\n"
        'penalty idle = 0 * bonus * k3(policy, reference)\nallow dead-part "to be found"\n'
    )
    document = grid(str(path), leave_one_out=True, vary={"bonus": ("0.2", "0.3")})
    idle = refused(document, "idle")
    assert {"still_without_idle", "still_bonus_0_2", "still_bonus_0_3"} <= set(idle)
    assert not set(idle) & set(names(document))


def test_what_is_idle_alone_is_run_where_another_change_brings_it_to_life():
    """The hard variant reads no alpha; put the gate back, and it does."""
    stages = {"clip": ("gaussian_gate(mass * risk)",)}
    document = grid("maspo@hard", vary={"alpha": ("0.1", "0.5")}, swap=stages, product=True)
    assert refused(document, "idle") == {
        "maspo_hard_alpha_0_1": "alpha = 0.1: nothing reads the param `alpha`",
        "maspo_hard_alpha_0_5": "alpha = 0.5: nothing reads the param `alpha`",
    }
    assert len(document["points"]) == 4
    listed = edits(grid("maspo@hard", vary={"alpha": ("0.1",)}, leave_one_out=True))
    assert "maspo_hard_without_clip" in listed and not any("alpha" in name for name in listed)


def test_what_is_idle_alone_and_together_is_not_run(tmp_path):
    path = tmp_path / "still.obj"
    path.write_text(
        "objective still extends grpo\nparam bonus = 0.1 in [0, 1]\n"
        'penalty idle = 0 * bonus * k3(policy, reference)\nallow dead-part "to be found"\n'
    )
    document = grid(str(path), vary={"bonus": ("0.2",), "eps_low": ("0.1",)}, product=True)
    assert names(document) == ["still", "still_eps_low_0_1"]
    assert set(refused(document, "idle")) == {"still_bonus_0_2", "still_bonus_0_2_eps_low_0_1"}


def test_bases_with_values_and_variants(tmp_path):
    document = grid("maspo", params={"alpha": 0.5}, leave_one_out=True)
    assert document["base"] == "maspo_alpha_0_5"
    assert document["points"][0]["hash"] == maspo_dsl.load("maspo", params={"alpha": 0.5}).hash
    hard = grid("maspo@hard", leave_one_out=True)
    assert hard["base"] == "maspo_hard" and hard["points"][0]["hash"] == maspo_dsl.load("maspo@hard").hash


def test_values_hold_for_what_is_made_from_the_base_unless_it_sets_them():
    request = {"vary": {"alpha": ("0.1",)}, "against": ("maspo",), "leave_one_out": True}
    document = grid("maspo", params={"alpha": 0.5}, **request)
    hashes = {point["name"]: point["hash"] for point in document["points"]}
    assert hashes["maspo_alpha_0_5_alpha_0_1"] == maspo_dsl.load("maspo", params={"alpha": 0.1}).hash
    assert hashes["maspo"] == maspo_dsl.load("maspo").hash
    without_risk = grid("maspo", leave_one_out=True)["points"][2]
    assert without_risk["name"] == "maspo_without_risk"
    assert hashes["maspo_alpha_0_5_without_risk"] != without_risk["hash"]
    steps = edits(grid("dapo", params={"eps_high": 0.4}, ladder=True))
    held = {name: "param eps_high = 0.2" not in lines for name, lines in steps.items()}
    assert [*held.values()] == [True, False, True, True, True]


def test_files_of_a_users_own_family_come_along(tmp_path):
    (tmp_path / "house.obj").write_text("objective house extends grpo\nparam eps_high = 0.3\n")
    (tmp_path / "mine.obj").write_text("objective mine extends house\ndrop kl\n")
    written = write_grid(str(tmp_path / "mine.obj"), Request(), {}, 1, tmp_path / "grid")
    assert (written.path / "house.obj").is_file()
    assert maspo_dsl.load(written.path / "mine_without_clip.obj").params.get("eps_high") is None
    assert "mine_ladder_0_group_ppo" in names(written.manifest)


def every_file_is_its_point(written) -> bool:
    hashes = {point["name"]: maspo_dsl.load(written.path / point["file"]).hash for point in written.points}
    return hashes == {point["name"]: point["hash"] for point in written.points}


def test_a_compared_objective_does_not_take_the_place_of_a_parent(tmp_path):
    (tmp_path / "maspo.obj").write_text("objective maspo extends grpo\nparam eps_high = 0.3\n")
    (tmp_path / "mine.obj").write_text("objective mine extends maspo\ndrop kl\n")
    mine = str(tmp_path / "mine.obj")
    written = write_grid(mine, Request(against=("maspo", "stapo_maspo")), {}, 1, tmp_path / "grid")
    assert names(written.manifest) == ["mine", "maspo_2", "stapo_maspo_2"]
    assert every_file_is_its_point(written)
    assert written.points[0]["hash"] == maspo_dsl.load(mine).hash
    assert written.points[1]["hash"] == maspo_dsl.load("maspo").hash
    assert maspo_dsl.load(written.path / "maspo_2.obj").name == "maspo_2"


def test_a_compared_objective_of_ones_own_does_not_take_the_name_of_a_shipped_one(tmp_path):
    (tmp_path / "group_ppo.obj").write_text("objective group_ppo extends grpo\nparam eps_high = 0.3\n")
    against = (str(tmp_path / "group_ppo.obj"), "dapo")
    written = write_grid("maspo", Request(against=against), {}, 1, tmp_path / "grid")
    assert names(written.manifest) == ["maspo", "group_ppo_2", "dapo"]
    assert every_file_is_its_point(written)


def test_a_point_does_not_take_the_place_of_a_parent(tmp_path):
    (tmp_path / "mine_without_clip.obj").write_text(
        "objective mine_without_clip extends grpo\nparam eps_high = 0.3\n"
    )
    (tmp_path / "mine.obj").write_text("objective mine extends mine_without_clip\ndrop kl\n")
    written = write_grid(str(tmp_path / "mine.obj"), Request(leave_one_out=True), {}, 1, tmp_path / "grid")
    assert "mine_without_clip_2" in names(written.manifest)
    assert every_file_is_its_point(written)
    assert "extends grpo" in (written.path / "mine_without_clip.obj").read_text()


def test_a_variant_as_base_does_not_take_the_place_of_a_parent(tmp_path):
    (tmp_path / "mine_wide.obj").write_text("objective mine_wide extends grpo\nparam eps_high = 0.3\n")
    (tmp_path / "mine.obj").write_text(
        "objective mine extends mine_wide\nvariant wide { swap clip |> clip(0.5, 2) }\n"
    )
    written = write_grid(
        f"{tmp_path / 'mine.obj'}@wide", Request(against=("grpo",)), {}, 1, tmp_path / "grid"
    )
    assert names(written.manifest) == ["mine_wide_2", "grpo"]
    assert every_file_is_its_point(written)


def test_others_are_compared_as_they_are():
    document = grid("maspo", against=("dapo", "sapo"))
    assert names(document) == ["maspo", "dapo", "sapo"]
    assert document["points"][1]["hash"] == maspo_dsl.load("dapo").hash


def test_variants_of_others_are_compared_as_they_are(tmp_path):
    (tmp_path / "own.obj").write_text(
        "objective own extends grpo\nvariant wide { swap clip |> clip(0.5, 2) }\n"
    )
    against = ("maspo@hard", f"{tmp_path / 'own.obj'}@wide")
    written = write_grid("maspo", Request(against=against), {}, 1, tmp_path / "grid")
    assert names(written.manifest) == ["maspo", "maspo_hard", "own_wide"]
    for point, spec in zip(written.points[1:], against, strict=True):
        assert maspo_dsl.load(written.path / point["file"]).hash == point["hash"] == maspo_dsl.load(spec).hash


def test_what_is_compared_says_what_it_is_and_checks_clean(tmp_path):
    (tmp_path / "house.obj").write_text(
        "objective house extends grpo\nparam bonus = 0.1 in [0, 1]\n"
        'penalty idle = 0 * bonus * k3(policy, reference)\nallow dead-part "to be found"\n'
    )
    (tmp_path / "own.obj").write_text("objective own extends house\ndrop idle\n")
    against = ("maspo@hard", str(tmp_path / "own.obj"))
    written = write_grid("maspo", Request(against=against), {}, 1, tmp_path / "grid")
    docs = {point["name"]: point["doc"] for point in written.points}
    assert docs["maspo_hard"] == "maspo with variant hard"
    assert all(docs.values())
    for point in written.points[1:]:
        objective = maspo_dsl.load(written.path / point["file"])
        assert objective.name == point["name"]
        assert not [found for found in objective.warnings if found.code == "unused-allow"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"vary": {"alpa": ("0.1",)}}, "did you mean `alpha`"),
        ({"vary": {"alpha": ("2",)}}, "outside"),
        ({"swap": {"gat": ("clip(0.8, 1.2)",)}}, "did you mean `gate`"),
        ({"swap": {"gate": ("clip(",)}}, "expected"),
        ({"vary": {"alpha": ("0.3",)}}, "nothing but"),
        ({"zip": True}, "needs factors"),
    ],
)
def test_what_cannot_be_asked(request_, message, tmp_path):
    with pytest.raises(GridError, match=message):
        write_grid("maspo", Request(**request_), {}, 1, tmp_path / "grid")
    assert not (tmp_path / "grid").exists() and not any(tmp_path.iterdir())


def test_a_base_that_does_not_check(tmp_path):
    (tmp_path / "bad.obj").write_text("objective bad extends grpo\nratio = policy |> clp(1, 2)\n")
    with pytest.raises(maspo_dsl.SpecError, match="clp"):
        write_grid(str(tmp_path / "bad.obj"), Request(), {}, 1, tmp_path / "grid")
    with pytest.raises(maspo_dsl.SpecError, match="spao"):
        write_grid("maspo", Request(against=("spao",)), {}, 1, tmp_path / "grid")
    assert not (tmp_path / "grid").exists()


def test_a_folder_holds_one_grid(tmp_path):
    folder = tmp_path / "deep" / "grid"
    first = write_grid("maspo", Request(), {}, 1, folder)
    again = write_grid("maspo", Request(), {}, 3, folder)
    assert read_grid(folder).manifest == again.manifest and again.manifest["seeds"] == 3
    assert first.points == again.points
    with pytest.raises(GridError, match="holds another grid, of `maspo`"):
        write_grid("dapo", Request(), {}, 1, folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(GridError, match="holds no grid"):
        write_grid("maspo", Request(), {}, 1, tmp_path / "full")
    with pytest.raises(GridError, match="holds no grid"):
        read_grid(tmp_path)
    assert [path.name for path in Path(tmp_path / "full").iterdir()] == ["thesis.tex"]
