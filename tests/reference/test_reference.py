"""The references against other people's code (the golden files) and their own finite differences."""

import json
from pathlib import Path

import numpy as np
import pytest

from ..batches import Arrays, given_advantage, ragged, rows_of
from . import dapo
from .catalogue import REFERENCES
from .reference import Reference
from .tokens import Params

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    case
    for case in json.loads((GOLDEN / "loss" / "manifest.json").read_text())
    if case["objective"] in REFERENCES
]
ESTIMATES = [
    case
    for case in json.loads((GOLDEN / "advantage" / "manifest.json").read_text())
    if case["estimator"] in REFERENCES
]
EPSILON_IN_SOURCE = {"flash_reinforce", "gmpo", "gspo_token"}
"""Their source adds 1e-8 to the length of a sequence: 1e-7 instead of 1e-9."""

FEW = [0, 2, 4, 6, 7, 13, 14]
"""Rows of three groups, of one with a single token and of the one with extremes."""

BATCHES = {
    "extreme": rows_of(given_advantage(2, columns=6), FEW),
    "token": rows_of(given_advantage(3, columns=6, token=True), FEW),
    "large": rows_of(given_advantage(4, columns=6, scale=300.0, spread=1.0), FEW),
    "estimated": rows_of(ragged(5, columns=6, spread=1.0), FEW),
}
SETTINGS = [(name, params) for name in sorted(REFERENCES) for params in ({}, *REFERENCES[name].tries)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_golden_loss(case):
    with np.load(GOLDEN / "loss" / case["file"]) as data:
        batch = {name: data[name] for name in data.files}
    reference = REFERENCES[case["objective"]]
    tolerance = 1e-7 if case["objective"] in EPSILON_IN_SOURCE else 1e-9
    gradient = reference.dloss_dlogp(batch, case["params"])
    assert abs(batch["loss"]) > 1e-4
    assert reference.loss(batch, case["params"]) == pytest.approx(float(batch["loss"]), rel=tolerance)
    np.testing.assert_allclose(gradient, batch["dloss_dlogp"], rtol=tolerance, atol=1e-300)


@pytest.mark.parametrize("case", ESTIMATES, ids=lambda case: case["file"])
def test_golden_advantage(case):
    with np.load(GOLDEN / "advantage" / case["file"]) as data:
        batch = {name: data[name] for name in data.files if name != "advantage"}
        ours = REFERENCES[case["estimator"]].advantage(batch, case.get("params"))
        ours = (ours[:, None] if ours.ndim == 1 else ours) * data["mask"]
        np.testing.assert_allclose(ours, data["advantage"], rtol=case.get("rtol", 5e-4), atol=1e-9)


def differences(reference: Reference, batch: Arrays, params: Params, step: float = 1e-6) -> np.ndarray:
    """Central differences of the loss in `logp` `[N, T]`, with what carries no gradient held."""
    slopes = np.zeros(batch["mask"].shape)
    for row, column in np.argwhere(batch["mask"]):
        loss = {}
        for sign in (1, -1):
            logp = batch["logp"].copy()
            logp[row, column] += sign * step
            loss[sign] = reference.loss({**batch, "held": batch["logp"], "logp": logp}, params)
        slopes[row, column] = (loss[1] - loss[-1]) / (2 * step)
    return slopes


@pytest.mark.parametrize(("name", "params"), SETTINGS, ids=str)
def test_gradient_is_the_slope_of_the_loss(name, params):
    reference, pushes = REFERENCES[name], 0
    for kind, batch in BATCHES.items():
        gradient = reference.dloss_dlogp(batch, params)
        slopes = differences(reference, batch, params)
        # A difference of losses near L is known to about 1e-16 L / step: 1e-9 of the largest term, with room.
        room = 1e-9 * max(1.0, abs(reference.loss(batch, params)), np.abs(gradient).max())
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=room, err_msg=kind)
        pushes += (np.abs(gradient) > 1e-6).sum()
    assert pushes > 1


def test_detached_gate_is_not_the_slope_of_the_whole_loss():
    """Were MASPO's gate live, distant tokens would be pushed the other way."""
    batch, step = given_advantage(4, spread=1.5, extreme=False), 1e-6
    maspo = REFERENCES["maspo"]
    gradient, loss = maspo.dloss_dlogp(batch), maspo.loss(batch)
    reversed_tokens = 0
    for row, column in np.argwhere(batch["mask"]):
        up = batch["logp"].copy()
        up[row, column] += step
        live = (maspo.loss({**batch, "logp": up}) - loss) / step
        reversed_tokens += live * gradient[row, column] < -1e-8
    assert reversed_tokens > 0


def test_advantage_of_degenerate_groups():
    batch = {
        "reward": np.array([0.3, 0.3, 0.3, 5.0, np.nan, 1.0, 0.0, 100.0]),
        "group": np.array([1, 1, 1, 2, 3, 3, 3, 3]),
        "mask": np.ones((8, 2), dtype=bool),
    }
    batch["mask"][7] = False
    half = 0.5 / (np.sqrt(0.5) + 1e-4)
    result = REFERENCES["grpo"].advantage(batch)
    np.testing.assert_allclose(result, [0, 0, 0, 0, 0, half, -half, 0], rtol=1e-12)


def test_overlong_punishment():
    lengths = (1, 16, 17, 18, 20, 21, 500)
    assert [dapo.overlong(length, 20, 4) for length in lengths] == [0, 0, -0.25, -0.5, -1, -1, -1]


def test_dynamic_sampling_keeps_mixed_groups():
    batch = {
        "reward": np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]),
        "group": np.array([4, 9, 9, 4, 1, 1, 2]),
        "mask": np.ones((7, 1), dtype=bool),
    }
    expected = [False, True, True, False, False, False, False]
    assert REFERENCES["dapo"].kept(batch).tolist() == expected


def test_a_parameter_that_is_not_one():
    with pytest.raises(KeyError, match="eps_hi"):
        REFERENCES["dapo"].loss(ragged(0), {"eps_hi": 0.3})


@pytest.mark.parametrize("name", REFERENCES)
def test_empty_window_is_zero(name):
    batch = {**ragged(0), "mask": np.zeros((16, 9), dtype=bool)}
    assert REFERENCES[name].loss(batch) == 0
    assert not REFERENCES[name].dloss_dlogp(batch).any()
