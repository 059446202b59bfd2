"""The references against other people's code (the golden files) and their own finite differences."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ..batches import given_advantage, ragged
from . import dapo, grpo, maspo

GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCES: dict[str, ModuleType] = {"dapo": dapo, "grpo": grpo, "maspo": maspo}
CASES = [
    case
    for case in json.loads((GOLDEN / "loss" / "manifest.json").read_text())
    if case["objective"] in REFERENCES
]
ESTIMATES = [
    case
    for case in json.loads((GOLDEN / "advantage" / "manifest.json").read_text())
    if case["estimator"] == "grpo"
]
BATCHES = {
    "plain": given_advantage(1, extreme=False),
    "extreme": given_advantage(2),
    "token": given_advantage(3, token=True),
    "large": given_advantage(4, scale=300.0, spread=1.0),
    "estimated": ragged(5, spread=1.0),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_golden_loss(case):
    with np.load(GOLDEN / "loss" / case["file"]) as data:
        batch = {name: data[name] for name in data.files}
    reference = REFERENCES[case["objective"]]
    gradient = reference.dloss_dlogp(batch, case["params"])
    assert abs(batch["loss"]) > 1e-4
    assert reference.loss(batch, case["params"]) == pytest.approx(float(batch["loss"]), rel=1e-9)
    np.testing.assert_allclose(gradient, batch["dloss_dlogp"], rtol=1e-9, atol=0)


def test_golden_covers_the_three():
    assert {case["objective"] for case in CASES} == set(REFERENCES)


@pytest.mark.parametrize("case", ESTIMATES, ids=lambda case: case["file"])
def test_golden_advantage(case):
    with np.load(GOLDEN / "advantage" / case["file"]) as data:
        ours = grpo.advantage(data["reward"], data["group"], data["mask"])
        np.testing.assert_allclose(ours[:, None] * data["mask"], data["advantage"], rtol=5e-4, atol=0)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("name", REFERENCES)
def test_gradient_is_the_slope_of_the_loss(name, batch):
    """Central differences. MASPO's gate is detached, so its loss is differentiated with the gates held."""
    reference, mask, step = REFERENCES[name], batch["mask"], 1e-6
    fixed = maspo.gates(batch)

    def loss(logp: np.ndarray) -> float:
        moved = {**batch, "logp": logp}
        return maspo.loss_with(moved, fixed) if name == "maspo" else reference.loss(moved)

    expected = np.zeros(mask.shape)
    for row, column in np.argwhere(mask):
        up, down = batch["logp"].copy(), batch["logp"].copy()
        up[row, column] += step
        down[row, column] -= step
        expected[row, column] = (loss(up) - loss(down)) / (2 * step)
    gradient = reference.dloss_dlogp(batch)
    assert np.abs(gradient).max() > 1e-3
    # A difference of losses near L is known to about 1e-16 L / step: 1e-9 of the largest term, with room.
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9 * max(1.0, abs(loss(batch["logp"]))))


def test_detached_gate_is_not_the_slope_of_the_whole_loss():
    """Were the gate live, distant tokens would be pushed the other way."""
    batch = given_advantage(4, spread=1.5, extreme=False)
    gradient, loss, step = maspo.dloss_dlogp(batch), maspo.loss(batch), 1e-6
    reversed_tokens = 0
    for row, column in np.argwhere(batch["mask"]):
        up = batch["logp"].copy()
        up[row, column] += step
        live = (maspo.loss({**batch, "logp": up}) - loss) / step
        reversed_tokens += live * gradient[row, column] < -1e-8
    assert reversed_tokens > 0


def test_advantage_of_degenerate_groups():
    reward = np.array([0.3, 0.3, 0.3, 5.0, np.nan, 1.0, 0.0, 100.0])
    group = np.array([1, 1, 1, 2, 3, 3, 3, 3])
    mask = np.ones((8, 2), dtype=bool)
    mask[7] = False
    half = 0.5 / (np.sqrt(0.5) + 1e-4)
    result = grpo.advantage(reward, group, mask)
    np.testing.assert_allclose(result, [0, 0, 0, 0, 0, half, -half, 0], rtol=1e-12)


def test_overlong_punishment():
    lengths = (1, 16, 17, 18, 20, 21, 500)
    assert [dapo.overlong(length, 20, 4) for length in lengths] == [0, 0, -0.25, -0.5, -1, -1, -1]


def test_dynamic_sampling_keeps_mixed_groups():
    correct = np.array([True, False, True, True, False, False, True])
    group = np.array([4, 9, 9, 4, 1, 1, 2])
    assert dapo.keep(correct, group).tolist() == [False, True, True, False, False, False, False]


@pytest.mark.parametrize("name", REFERENCES)
def test_empty_window_is_zero(name):
    batch = {**ragged(0), "mask": np.zeros((16, 9), dtype=bool)}
    assert REFERENCES[name].loss(batch) == 0
    assert not REFERENCES[name].dloss_dlogp(batch).any()
