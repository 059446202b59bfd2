"""The shipped objectives against the numbers of other people's code; `golden/README.md` says whose."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import as_torch

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = maspo_dsl.shipped()
LOSSES = json.loads((GOLDEN / "loss" / "manifest.json").read_text())
ADVANTAGES = json.loads((GOLDEN / "advantage" / "manifest.json").read_text())

EPSILON_IN_SOURCE = {"flash_reinforce", "gmpo", "gspo_token"}
"""Their source adds 1e-8 to the length of a sequence: 1e-7 instead of 1e-9."""


def arrays(kind: str, case: dict) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / kind / case["file"]) as data:
        return {name: data[name] for name in data.files}


def test_the_three_of_the_name_are_shipped():
    assert {"dapo", "grpo", "maspo"} <= set(SHIPPED)


def test_golden_files_are_all_there():
    for kind, cases in (("loss", LOSSES), ("advantage", ADVANTAGES)):
        assert {case["file"] for case in cases} == {path.name for path in (GOLDEN / kind).glob("*.npz")}


@pytest.mark.parametrize(
    "case", [case for case in LOSSES if case["objective"] in SHIPPED], ids=lambda case: case["file"]
)
def test_loss_and_gradient(case):
    expected = arrays("loss", case)
    batch = as_torch({name: expected[name] for name in expected if name not in ("loss", "dloss_dlogp")})
    out = maspo_dsl.compile(case["objective"], params=case["params"], backend="eager")(batch)
    out.loss.backward()
    tolerance = 1e-7 if case["objective"] in EPSILON_IN_SOURCE else 1e-9
    assert out.loss.dtype == batch["logp"].grad.dtype == torch.float64
    assert abs(expected["loss"]) > 1e-4 and np.abs(expected["dloss_dlogp"]).max() > 1e-4
    assert out.loss.item() == pytest.approx(float(expected["loss"]), rel=tolerance)
    np.testing.assert_allclose(batch["logp"].grad, expected["dloss_dlogp"], rtol=tolerance, atol=1e-300)


@pytest.mark.parametrize(
    "case", [case for case in ADVANTAGES if case["estimator"] in SHIPPED], ids=lambda case: case["file"]
)
def test_advantage(case):
    """To 5e-4 unless the manifest says less: sources differ in the epsilon that they add to a standard deviation."""
    data = arrays("advantage", case)
    expected = data.pop("advantage")
    loss = maspo_dsl.compile(case["estimator"], params=case.get("params", {}), backend="eager")
    advantage = loss.advantage(as_torch(data))
    if advantage.ndim == 1:
        advantage = advantage[:, None] * torch.as_tensor(data["mask"])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(advantage, expected, rtol=case.get("rtol", 5e-4), atol=1e-9)
