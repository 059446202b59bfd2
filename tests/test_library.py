"""Every part of `objectives/std`, value and gradient, against numbers worked out by hand."""

import io
import math
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import as_torch
from .running import tiny

SPEC = """objective probe
"One line of the library at a time"
source "this test"
advantage = reward
ratio = policy / old
reduce = loss |> mean(window)
"""


def probe(line: str, batch) -> tuple[float, np.ndarray]:
    """Loss and gradient, by the rows' one token, of the probe with one line changed."""
    slot = line.split("=")[0].strip()
    kept = [other for other in SPEC.splitlines() if other.split("=")[0].strip() != slot]
    loss = maspo_dsl.compile(io.StringIO("\n".join([*kept, line]) + "\n"), backend="eager")
    tensors = as_torch(batch)
    out = loss(tensors)
    out.loss.backward()
    return out.loss.item(), tensors["logp"].grad.squeeze(-1).numpy()


def ratio_stage(stage: str, ratio: float, advantage: float) -> tuple[float, float]:
    """Value of the stage, and its derivative with respect to `logp`, for one token."""
    loss, gradient = probe(f"ratio = policy / old |> {stage}", tiny(math.log(ratio), advantage))
    return loss / -advantage, gradient[0] / -advantage


SIGMOID = 1 / (1 + math.exp(-2))  # sigmoid(2 (2 - 1))

RATIO_STAGES = [
    # stage, ratio, A, value, derivative with respect to logp
    ("clip(0.8, 1.2)", 1.5, 1.0, 1.2, 0.0),
    ("clip(0.8, 1.2)", 1.5, -1.0, 1.5, 1.5),
    ("clip(0.8, 1.2)", 0.5, 1.0, 0.5, 0.5),
    ("clip(0.8, 1.2)", 0.5, -1.0, 0.8, 0.0),
    ("clamp(0.8, 1.2)", 1.5, -1.0, 1.2, 0.0),
    ("clamp(0.8, 1.2)", 0.5, 1.0, 0.8, 0.0),
    ("clamp(0.8, 1.2)", 1.1, 1.0, 1.1, 1.1),
    ("min(3) when moving_away(it)", 100.0, 1.0, 3.0, 0.0),
    ("min(3) when moving_away(it)", 100.0, -1.0, 100.0, 100.0),
    ("gaussian_gate(0.5)", 1.5, 1.0, 1.5 * math.exp(-0.5), 1.5 * math.exp(-0.5)),
    ("gaussian_gate(0.5)", 1.5, -1.0, 1.5 * math.exp(-0.5), 1.5 * math.exp(-0.5)),
    ("gaussian_gate(2) when moving_away(it)", 3.0, -1.0, 3.0, 3.0),
    ("sigmoid_gate(2)", 1.0, 1.0, 1.0, 1.0),
    ("sigmoid_gate(2)", 2.0, -1.0, 2 * SIGMOID, 4 * SIGMOID * (1 - SIGMOID) * 2),
    ("exponential_gate(2, 0.8, 1.2)", 1.7, -1.0, 1.7 * math.exp(-1), 1.7 * math.exp(-1)),
    ("exponential_gate(2, 0.8, 1.2)", 0.3, -1.0, 0.3 * math.exp(-1), 0.3 * math.exp(-1)),
    ("exponential_gate(2, 0.8, 1.2)", 0.9, 1.0, 0.9, 0.9),
    ("gamma_gate(2, 3)", 1.0, 1.0, 1.0, -1.0),
    ("gamma_gate(2, 3)", 2.0, 1.0, 4 * math.exp(-3), 4 * math.exp(-3) * (2 - 3 * 2)),
    ("straight_through", 7.0, 1.0, 7.0, 7.0),
    ("min(5) |> straight_through", 7.0, 1.0, 5.0, 5.0),
]


@pytest.mark.parametrize(("stage", "ratio", "advantage", "value", "slope"), RATIO_STAGES)
def test_stage_of_a_ratio(stage, ratio, advantage, value, slope):
    assert ratio_stage(stage, ratio, advantage) == (pytest.approx(value), pytest.approx(slope, abs=1e-12))


def test_score_is_reinforce_with_a_weight():
    """CISPO's form: a ratio of 10 under a cap of 5 gives a gradient of 5 A, and the value 5 log(policy)."""
    batch = tiny(math.log(10), 1.0)
    batch["logp_old"], batch["logp"] = batch["logp_old"] - 4, batch["logp"] - 4
    loss, gradient = probe("ratio = policy / old |> min(5) |> score", batch)
    assert gradient[0] == pytest.approx(-5)
    assert loss == pytest.approx(-5 * batch["logp"][0, 0])


DIVERGENCES = [
    # at logp = -1 and logp_ref = -1.5: d = 0.5
    ("k1", 0.5, 1.0),
    ("k2", 0.125, 0.5),
    ("k3", math.exp(-0.5) - 1 + 0.5, 1 - math.exp(-0.5)),  # 0.3935
]


@pytest.mark.parametrize(("name", "value", "slope"), DIVERGENCES)
def test_divergence(name, value, slope):
    batch = tiny(0.0, 0.0)
    batch["logp"], batch["logp_old"] = np.array([[-1.0]]), np.array([[-1.0]])
    batch["logp_ref"] = np.array([[-1.5]])
    loss, gradient = probe(f"penalty drift = {name}(policy, reference)", batch)
    assert loss == pytest.approx(value)
    assert gradient[0] == pytest.approx(slope)


def test_binary_kl():
    """KL of coins of 0.5 and 0.25: log(2) / 2 + log(2 / 3) / 2; d/dlogp of KL(q, p) is (p - q) / (1 - p)."""
    batch = tiny(0.0, 0.0)
    batch["logp"], batch["logp_old"] = np.log([[0.25]]), np.log([[0.5]])
    loss, gradient = probe("penalty drift = binary_kl(old, policy)", batch)
    assert loss == pytest.approx(math.log(2) / 2 + math.log(2 / 3) / 2, rel=1e-6)
    assert gradient[0] == pytest.approx((0.25 - 0.5) / 0.75, rel=1e-6)


def estimate(line: str, reward, group=None, length=None) -> list[float]:
    """What an advantage line gives for these rewards, one group unless said otherwise."""
    length = np.full(len(reward), 2) if length is None else np.array(length)
    batch = {
        "reward": np.array(reward, dtype=float),
        "group": np.zeros(len(reward), dtype=int) if group is None else np.array(group),
        "mask": np.arange(length.max()) < length[:, None],
    }
    text = SPEC.replace("advantage = reward\n", f"advantage = {line}\n")
    return maspo_dsl.compile(io.StringIO(text), backend="eager").advantage(as_torch(batch)).tolist()


BINARY = [1, 1, 1, 0, 0, 0, 0, 0]
ESTIMATORS = [
    ("reward |> center(group)", BINARY, [0.625] * 3 + [-0.375] * 5),
    ("reward |> leave_one_out(group)", BINARY, [5 / 7] * 3 + [-3 / 7] * 5),
    ("reward |> center(group) |> scale(group)", BINARY, [1.2076147] * 3 + [-0.7245688] * 5),
    (
        "reward |> center(group) |> scale(group, ddof = 0)",
        BINARY,
        [math.sqrt(5 / 3)] * 3 + [-math.sqrt(3 / 5)] * 5,
    ),
    (
        "reward |> center(group) |> scale(group, eps = 0.5)",
        [1, 0],
        [0.5 / (math.sqrt(0.5) + 0.5)] * 1 + [-0.41421356],
    ),
    ("reward |> whiten(rollout_batch)", [2, 0, 4], [0, -1, 1]),
    # NeMo-RL's: the others of the one success have no spread, so it stays 1; a failure is -1 / 7 over sqrt(1 / 7).
    (
        "reward |> leave_one_out(group) |> leave_one_out_scale(group)",
        [1, *[0] * 7],
        [1] + [-math.sqrt(1 / 7)] * 7,
    ),
    (
        "reward |> leave_one_out(group) |> leave_one_out_scale(group)",
        [0, *[0.95] * 7],
        [-0.95] + [math.sqrt(1 / 7)] * 7,
    ),
    ("reward |> leave_one_out(group) |> leave_one_out_scale(group)", [3, 1], [2, -2]),
    ("reward |> leave_one_out(group) |> leave_one_out_scale(group)", [5], [0]),
    # others of 0: 1 and 4, mean 2.5, spread sqrt(4.5); of 1: 0 and 4; of 4: 0 and 1
    (
        "reward |> leave_one_out(group) |> leave_one_out_scale(group)",
        [0, 1, 4],
        [-2.5 / math.sqrt(4.5), -1 / math.sqrt(8), 3.5 / math.sqrt(0.5)],
    ),
    ("leave_one_out_std(reward, group)", [0, 1, 4], [math.sqrt(4.5), math.sqrt(8), math.sqrt(0.5)]),
    ("mean_without(reward, reward > 3, group) + 0 * reward", [0, 1, 4], [0.5] * 3),
    ("std_without(reward, reward > 3, group) + 0 * reward", [0, 1, 4], [math.sqrt(0.5)] * 3),
    ("std_of_others(reward, group)", [-1, 0, 1], [math.sqrt(0.5), math.sqrt(2), math.sqrt(0.5)]),
    ("reward - mean(reward, group)", [3, 0, 0], [2, -1, -1]),
    ("std(reward, group) + 0 * reward", [3, 0, 0], [math.sqrt(3)] * 3),
    ("geomean(reward, group) + 0 * reward", [1, 4, 16], [4] * 3),
    ("prod(reward, group) + 0 * reward", [2, 3, 4], [24] * 3),
    ("ess(reward, group) + 0 * reward", [1, 1, 0, 0], [0.5] * 4),
    ("count(reward, group) + 0 * reward", [5, 5, 5], [3] * 3),
]


@pytest.mark.parametrize(("line", "reward", "expected"), ESTIMATORS)
def test_estimator(line, reward, expected):
    np.testing.assert_allclose(estimate(line, reward), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("stage", ["center", "leave_one_out", "center(group) |> scale", "whiten"])
def test_estimators_of_no_signal_are_exactly_zero(stage):
    """Equal rewards, also where their mean is not the reward in floating point, and a group of one."""
    line = f"reward |> {stage}(group)"
    for reward in ([0.3] * 7, [0.1] * 3, [1 / 3] * 16, [5.0]):
        assert estimate(line, reward) == [0.0] * len(reward)


def test_leave_one_out_has_no_residue():
    """The lone failure among seven equal successes is 0.95 below them."""
    values = estimate("reward |> leave_one_out(group)", [0.0, *[0.95] * 7])
    np.testing.assert_allclose(values, [-0.95, *[0.95 / 7] * 7], rtol=1e-12)


def test_leave_one_out_divides_by_no_rounding():
    """The others are equal or not, exactly: no epsilon, and no cancellation where they nearly are."""
    line = "reward |> leave_one_out(group) |> leave_one_out_scale(group)"
    assert estimate(line, [0.0, *[0.95] * 7])[0] == pytest.approx(-0.95, rel=1e-15)
    assert estimate(line, [*[0.1] * 5, 7.7])[-1] == pytest.approx(7.6, rel=1e-15)
    nearly = [0.0, *[0.95] * 6, 0.95 + 1e-9]
    spread = 1e-9 * math.sqrt(1 / 7)  # of six equal ones and one that is 1e-9 above
    assert estimate(line, nearly)[0] == pytest.approx(-0.95 / spread, rel=1e-6)
    assert estimate(line, [0.3] * 5) == [0.0] * 5


def test_advantages_of_tokens():
    """Rewards 10 and 20, a hole in the first; lambda 0.5, gamma 1: 6, 2 + 0.5 * 6, 1 + 0.5 * 5; 15, 2 + 7.5."""
    batch = {
        "reward": np.array([10.0, 20.0]),
        "mask": np.array([[True, False, True, True], [True, True, False, False]]),
        "value": np.array([[1.0, np.nan, 2, 4], [3, 5, np.inf, np.nan]]),
    }
    for line, expected in [
        ("at_end(reward)", [[0, 0, 0, 10], [0, 20, 0, 0]]),
        ("reward |> at_end |> gae(1, 0.5)", [[3.5, 0, 5, 6], [9.5, 15, 0, 0]]),
    ]:
        text = SPEC.replace("advantage = reward\n", f"advantage = {line}\n")
        loss = maspo_dsl.compile(io.StringIO(text), backend="eager")
        assert loss.advantage(as_torch(batch)).tolist() == expected


def test_overlong():
    line = "overlong(length, 20, 4) + 0 * reward"
    assert estimate(line, [0] * 5, length=[1, 16, 17, 20, 25]) == [0, 0, -0.25, -1, -1]


def test_geometric_mean_of_a_sequence():
    """GSPO at log-ratios 0.3 and -0.1, and 50 under the mask: s = exp(0.1), -s / 2 for each token."""
    old = np.full((1, 3), -2.0)
    batch = {
        "logp": old + np.array([[0.3, -0.1, 50.0]]),
        "logp_old": old,
        "mask": np.array([[True, True, False]]),
        "advantage": np.array([1.0]),
    }
    line = "ratio = policy / old |> geomean(sequence)"
    loss = maspo_dsl.compile(io.StringIO(SPEC.replace("ratio = policy / old", line)), backend="eager")
    tensors = as_torch(batch)
    out = loss(tensors)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-1.105171, rel=1e-6)
    assert tensors["logp"].grad.tolist() == [[pytest.approx(-0.552585, rel=1e-5)] * 2 + [0]]


def test_entropy_bonus_follows_the_entropy():
    batch = tiny([0.0, 0.0], [0.0, 0.0])
    batch["entropy"] = np.array([[1.0], [3.0]])
    tensors = as_torch(batch)
    tensors["entropy"].requires_grad_()
    text = SPEC + "bonus entropy = 0.5 * entropy(policy)\n"
    out = maspo_dsl.compile(io.StringIO(text), backend="eager")(tensors)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-0.5 * 2)
    torch.testing.assert_close(tensors["entropy"].grad, torch.full((2, 1), -0.25, dtype=torch.float64))


def test_every_part_is_tested_here():
    """A part that is added to the library must be added to this file too."""
    folder = files("maspo_dsl.objectives.std")
    names = set()
    for path in folder.iterdir():
        if path.name.endswith(".obj"):
            names |= set(re.findall(r"^def (\w+)", path.read_text(), re.MULTILINE))
    here = Path(__file__).read_text()
    assert not {name for name in names if not re.search(rf"\b{name}\b", here)}
