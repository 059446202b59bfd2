"""An ablation is an edit of a spec: each of these edits makes an objective that a reference already computes."""

import io

import numpy as np
import pytest

import maspo_dsl

from .batches import Arrays, as_torch, given_advantage
from .reference.catalogue import REFERENCES

dapo, grpo, maspo = (REFERENCES[name] for name in ("dapo", "grpo", "maspo"))

TWICE = """extends grpo
let drift = eps_high neutral 0.5
ratio = policy / old |> clip(0.8, 1 + drift)
penalty drift = kl * k3(policy, reference)
"""
EDITS = [
    # the edited spec, and the objective that it then is
    ("extends maspo\ndrop mass", maspo, {"alpha": 0.0}),
    ("extends maspo\ndrop risk", maspo, {"beta_pos": 0.0, "beta_neg": 0.0}),
    ("extends maspo\ndrop let.mass", maspo, {"alpha": 0.0}),
    # one name for a `let` and a penalty: the path says which
    (f"{TWICE}drop kl, let.drift", grpo, {"eps_high": 0.5}),
    (f"{TWICE}drop kl, penalty.drift", grpo, {"kl": 0.0}),
    ("extends maspo\ndrop mass, risk", maspo, {"alpha": 0.0, "beta_pos": 0.0, "beta_neg": 0.0}),
    ("extends maspo\nlet mass = 2", maspo, {"alpha": 0.0, "sigma_base": 2.0}),
    ("extends maspo\nparam alpha = 0.7", maspo, {"alpha": 0.7}),
    ("extends maspo\nswap gate |> clip(0.8, 1.28)", dapo, {}),
    ("extends maspo\nratio = policy / old |> clip(0.8, 1.28)", dapo, {}),
    ("extends grpo\ndrop kl", grpo, {"kl": 0.0}),
    ("extends grpo\nparam kl = 0.5", grpo, {"kl": 0.5}),
    ("extends grpo\npenalty kl = 0.5 * k3(policy, reference)", grpo, {"kl": 0.5}),
    ("extends grpo\ndrop kl\nreduce = loss |> mean(window)", dapo, {"eps_high": 0.2}),
    ("extends dapo\nreduce = loss |> mean(sequence) |> mean(window)", grpo, {"eps_high": 0.28, "kl": 0.0}),
    ("extends dapo\nafter clip |> min(1e9)", dapo, {}),
    ("extends dapo\nbefore clip |> max(1e-9) as floor\ndrop floor", dapo, {}),
    ("extends dapo\nswap clip |> clip(1 - eps_high, 1 + eps_low)", dapo, {"eps_low": 0.28, "eps_high": 0.2}),
]


def evaluated(objective: maspo_dsl.Objective, batch: Arrays) -> tuple[float, np.ndarray]:
    tensors = as_torch(batch)
    out = maspo_dsl.compile(objective, backend="eager")(tensors)
    out.loss.backward()
    return out.loss.item(), tensors["logp"].grad.numpy()


@pytest.mark.parametrize(("edit", "reference", "params"), EDITS)
def test_edit(edit, reference, params):
    objective = maspo_dsl.load(io.StringIO(f"objective edited {edit}\n"))
    for seed in range(2):
        batch = given_advantage(seed, extreme=False, spread=0.8)
        loss, gradient = evaluated(objective, batch)
        assert loss == pytest.approx(reference.loss(batch, params), rel=1e-9)
        np.testing.assert_allclose(gradient, reference.dloss_dlogp(batch, params), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    ("variant", "reference", "params"),
    [
        ("without_mass", maspo, {"alpha": 0.0}),
        ("without_risk", maspo, {"beta_pos": 0.0, "beta_neg": 0.0}),
        ("hard", dapo, {}),
    ],
)
def test_variant_of_maspo(variant, reference, params):
    batch = given_advantage(0, extreme=False, spread=0.8)
    loss, gradient = evaluated(maspo_dsl.load(f"maspo@{variant}"), batch)
    assert loss == pytest.approx(reference.loss(batch, params), rel=1e-9)
    np.testing.assert_allclose(gradient, reference.dloss_dlogp(batch, params), rtol=1e-9, atol=1e-14)


def test_bilateral_gate_differs_on_the_other_side_alone():
    batch = given_advantage(0, extreme=False, garbage=False, spread=0.8)
    _, bilateral = evaluated(maspo_dsl.load("maspo@bilateral"), batch)
    unilateral = maspo.dloss_dlogp(batch)
    mask = batch["mask"]
    ratio = np.exp(np.where(mask, batch["logp"] - batch["logp_old"], 0))
    away = (ratio > 1) == (batch["advantage"][:, None] > 0)
    changed = ~np.isclose(bilateral, unilateral, rtol=1e-9, atol=0)
    assert not (changed & mask & away).any()
    moved = mask & ~away & (np.abs(ratio - 1) > 0.1) & (batch["advantage"][:, None] != 0)
    assert moved.any() and changed[moved].all()


def test_what_is_printed_is_what_is_computed():
    """The flat file of an edited objective has its hash, its loss and none of its ancestors."""
    for edit, _, _ in EDITS:
        objective = maspo_dsl.load(io.StringIO(f"objective edited {edit}\n"))
        flat = maspo_dsl.load(io.StringIO(objective.resolved.text))
        assert "extends" not in objective.resolved.text
        assert flat.hash == objective.hash
        batch = given_advantage(3)
        assert evaluated(flat, batch)[0] == evaluated(objective, batch)[0]


def test_hash_is_of_what_is_computed():
    text = maspo_dsl.load("maspo").source_text
    renamed = text.replace("objective maspo", "objective other").replace('"Mass-Adaptive', '"mass-adaptive')
    assert maspo_dsl.load(io.StringIO(renamed)).hash == maspo_dsl.load("maspo").hash
    commented = "# a comment\n" + text.replace("\n\n", "\n\n\n")
    assert maspo_dsl.load(io.StringIO(commented)).hash == maspo_dsl.load("maspo").hash
    assert maspo_dsl.load("maspo", params={"alpha": 0.31}).hash != maspo_dsl.load("maspo").hash
    assert len({maspo_dsl.load(name).hash for name in maspo_dsl.shipped()}) == len(maspo_dsl.shipped())


NEW_PARTS = """objective mine extends group_ppo
"A gate and an estimator of one's own, in one's own file"
source "this test"

param width = 0.5 in (0, inf)

def cauchy_gate(r, width) = r * detach(1 / (1 + ((r - 1) / width) ^ 2))
def best_of(x, scope)     = x - max(x, scope)

advantage = reward |> best_of(group)
ratio     = policy / old |> cauchy_gate(width) as gate
reduce    = loss |> mean(window)
"""


def test_parts_of_ones_own_file():
    objective = maspo_dsl.load(io.StringIO(NEW_PARTS))
    loss = maspo_dsl.compile(objective, backend="eager")
    rows = {"reward": np.array([3.0, 1.0, 2.0]), "group": np.zeros(3, dtype=int)}
    mask = np.ones((3, 1), dtype=bool)
    assert loss.advantage(as_torch({**rows, "mask": mask})).tolist() == [0, -2, -1]
    ratio = np.array([[1.0], [1.5], [0.5]])
    batch = {**rows, "mask": mask, "logp_old": np.full((3, 1), -1.0), "logp": np.log(ratio) - 1}
    # -A r / (1 + ((r - 1) / 0.5)^2): 0, 2 * 1.5 / 2 and 1 * 0.5 / 2, each also its gradient
    value, gradient = evaluated(objective, batch)
    assert value == pytest.approx((1.5 + 0.25) / 3)
    np.testing.assert_allclose(gradient[:, 0], [0, 0.5, 0.25 / 3], rtol=1e-12, atol=1e-15)
