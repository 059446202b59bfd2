"""What other people wrote, as specs that do not ship, against loops over completions written from their sources."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.analysis.drawing import REALISTIC, drawn
from maspo_dsl.cli.app import app
from maspo_dsl.semantics.quantities import TENSORS

from .batches import SPECS, packed, ragged
from .reference.published import PUBLISHED, SO_FAR

FOLDER = Path(__file__).parents[1] / "examples" / "published"
FILES = {name: FOLDER / f"{name}.obj" for name in PUBLISHED} | {
    name: SPECS / f"{name}.obj" for name in SO_FAR
}
LOSSES = PUBLISHED | SO_FAR
GOLDEN = Path(__file__).parent / "golden"
CASES = [
    (kind, case)
    for kind, name in (("loss", "objective"), ("advantage", "estimator"))
    for case in json.loads((GOLDEN / kind / "manifest.json").read_text())
    if case[name] in PUBLISHED
]
EPSILON_IN_SOURCE = {"turn_ratio"}
"""ROLL adds 1e-8 to the length of a turn: 1e-7 instead of 1e-9."""
TRIES: dict[str, list[dict[str, float]]] = {
    "a3po": [{"q": 0.4, "boost": 3.0}],
    "adpo_pl": [{"smooth": 0.0, "poly": 0.0}, {"smooth": 0.6, "tau": 0.05}],
    "batch_adaptive": [],
    "bounded_teachers": [{"low": -0.1, "high": 0.2, "cap": 1.05}],
    "capped_prefix": [{"cap": 1.05, "floor": 0.9, "top": 1.1}],
    "dhpo": [{"mix": 0.3, "s_low": 0.05, "s_high": 0.1}],
    "dpo_mix": [{"beta": 2.0, "mix": 3.0}],
    "etr": [{"lam": 1.5}],
    "lambda_grpo": [{"lam": -1.0, "r": 0.3}, {"lam": 1.0}],
    "logo": [{"tau": 3.0}],
    "moving_prefix": [{"decay": 0.5}],
    "sdpo": [{"cap": 0.9}],
    "sdpo_full": [{"cap": 0.9}],
    "skywork_or1": [],
    "spo_segments": [{"sure": 0.3}],
    "three_losses": [{"d_high": 0.02, "d_low": 0.03, "tau": 0.5}],
    "turn_return": [{"gamma": 0.5}, {"gamma": 1.0}],
    "vapo_critic": [{"clip_value": 0.1, "weight": 2.0, "mu": 0.6, "alpha": 0.45}],
}
SETTINGS = [(name, params) for name in sorted(LOSSES) for params in ({}, *TRIES.get(name, []))]


@cache
def objective(name: str) -> maspo_dsl.Objective:
    return maspo_dsl.load(FILES[name])


def batch_of(name: str, seed: int) -> dict[str, np.ndarray]:
    """Holes, rows and groups of all kinds, a missing reward, and flags and ids as their inputs say they may be."""
    batch = ragged(seed, extreme=False, spread=0.4)
    batch["reward"][9] = np.nan
    own = {key: row for key, row in objective(name).resolved.tensors.items() if key not in TENSORS}
    batch |= drawn(REALISTIC, own, own, batch["mask"].shape, batch["mask"].shape[:1], seed)
    if "side" in own:  # pairs, in some groups
        batch["side"] = np.zeros(len(batch["group"]))
        batch["side"][[0, 2, 3, 12, 7]] = [1, -1, -1, 1, 1]
    return batch


def tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.as_tensor(np.asarray(value)).clone() for key, value in batch.items()}


def live(name: str, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that have a gradient."""
    found = objective(name).resolved.tensors
    return {
        key: batch[key].requires_grad_()
        for key in batch
        if key == "logp" or (key in found and found[key].live)
    }


def taking_part(name: str, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if "reward" not in objective(name).reads("loss"):
        return batch
    return {**batch, "mask": batch["mask"] & ~torch.isnan(batch["reward"])[:, None]}


def test_every_file_has_a_reference():
    assert set(PUBLISHED) == {path.stem for path in FOLDER.glob("*.obj")}


def test_check_is_strict_and_clean():
    result = CliRunner().invoke(app, ["check", "--strict", str(FOLDER)])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("name", "params"), SETTINGS, ids=str)
def test_value_and_gradient(name, params):
    loss = maspo_dsl.compile(FILES[name], params=params, backend="eager")
    setting = {**objective(name).params, **params}
    pushed = 0.0
    for seed in range(3):
        batch = batch_of(name, seed)
        ours, theirs = tensors(batch), tensors(batch)
        leaves, others = live(name, ours), live(name, theirs)
        out = loss(ours).loss
        expected = LOSSES[name](taking_part(name, theirs), setting)
        assert out.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-13)
        out.backward()
        expected.backward()
        for key, leaf in leaves.items():
            got, want = leaf.grad, others[key].grad
            want = torch.zeros_like(leaf) if want is None else want
            got = torch.zeros_like(leaf) if got is None else got
            scale = want.abs().max().item()
            torch.testing.assert_close(
                got, want, rtol=1e-9, atol=1e-12 * max(scale, 1e-3), msg=f"{key} {seed}"
            )
            pushed = max(pushed, scale)
        flat = tensors(packed(batch))
        assert loss(flat).loss.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-13)
    assert pushed > 1e-4


@pytest.mark.parametrize(
    ("kind", "case"), CASES, ids=lambda case: case["file"] if isinstance(case, dict) else case
)
def test_golden(kind, case):
    """Numbers of the sources' own code."""
    with np.load(GOLDEN / kind / case["file"]) as data:
        batch = {key: torch.as_tensor(data[key]) for key in data.files}
    name = case["objective" if kind == "loss" else "estimator"]
    loss = maspo_dsl.compile(FILES[name], params=case["params"], backend="eager")
    tolerance = 1e-7 if name in EPSILON_IN_SOURCE else 1e-9
    if kind == "advantage":
        expected = batch.pop("advantage")
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(loss.advantage(batch), expected, rtol=tolerance, atol=1e-12)
        return
    batch["logp"].requires_grad_()
    out = loss(batch).loss
    out.backward()
    assert abs(batch["loss"]) > 1e-4
    assert out.item() == pytest.approx(float(batch["loss"]), rel=tolerance)
    torch.testing.assert_close(batch["logp"].grad, batch["dloss_dlogp"], rtol=tolerance, atol=1e-15)


def test_the_controller_of_entropy():
    """Below its target a step up and on, above it a step down and off, within its bounds."""
    loss = maspo_dsl.compile(
        FILES["skywork_or1"], params={"delta": 0.25, "most": 0.75, "target": 1.0}, backend="eager"
    )
    coef, on, found = torch.tensor(0.5).double(), torch.tensor(1.0).double(), []
    for entropy in (0.5, 0.5, 1.5, 1.5, 1.5, 1.5, 0.5):
        batch = {
            "logp_old": torch.full((2, 3), -entropy).double(),
            "mask": torch.ones(2, 3, dtype=torch.bool),
            "reward": torch.ones(2).double(),
            "coef": coef,
            "on": on,
        }
        after = loss.memory(batch)
        coef, on = after["coef"], after["on"]
        found.append((coef.item(), on.item()))
    assert found == [(0.75, 1), (0.75, 1), (0.5, 0), (0.25, 0), (0, 0), (0, 0), (0.25, 1)]
