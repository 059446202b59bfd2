"""The objectives of examples/objectives, each against a loop over tokens written from the formula in its source.

They are a user's files: no Python of the package knows of them.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.cli.app import app

from .batches import Arrays, as_torch, given_advantage

FOLDER = Path(__file__).parents[1] / "examples" / "objectives"
NAMES = sorted(path.stem for path in FOLDER.glob("*.obj"))


def trained(batch: Arrays) -> list[list[int]]:
    """Columns of the trained tokens of each row."""
    return [np.flatnonzero(row).tolist() for row in batch["mask"]]


def atr_grpo(batch: Arrays, params: dict[str, float]) -> tuple[float, np.ndarray]:
    """PPO's clip with r - 1 - log r <= delta in place of |r - 1| <= eps; sequences count the same."""
    rows = [columns for columns in trained(batch) if columns]
    loss, gradient = 0.0, np.zeros(batch["mask"].shape)
    for i, columns in enumerate(trained(batch)):
        for t in columns:
            log_ratio = batch["logp"][i, t] - batch["logp_old"][i, t]
            ratio, good = math.exp(log_ratio), batch["advantage"][i] > 0
            away = (good and ratio > 1) or (batch["advantage"][i] < 0 and ratio < 1)
            if not (away and ratio - 1 - log_ratio > params["delta"]):
                share = batch["advantage"][i] * ratio / len(columns) / len(rows)
                loss, gradient[i, t] = loss - share, -share
    return loss, gradient


def drpo(batch: Arrays, params: dict[str, float]) -> tuple[float, np.ndarray]:
    """-A r + |A| mu (r - 1)^2 / (2 eps), with mu the sampler's probability; tokens count the same."""
    count = int(batch["mask"].sum())
    loss, gradient = 0.0, np.zeros(batch["mask"].shape)
    for i, columns in enumerate(trained(batch)):
        for t in columns:
            mu = math.exp(batch["logp_rollout"][i, t])
            pi, advantage = math.exp(batch["logp"][i, t]), batch["advantage"][i]
            loss += (
                -advantage * pi / mu + abs(advantage) * mu * (pi / mu - 1) ** 2 / (2 * params["eps"])
            ) / count
            weight = 1 - math.copysign(1, advantage) * (pi - mu) / params["eps"]
            gradient[i, t] = -advantage * pi / mu * weight / count
    return loss, gradient


def cppo(batch: Arrays, params: dict[str, float]) -> tuple[float, np.ndarray]:
    """Algorithm 1: a token that moves away is masked where w_t D_t exceeds what its prefix has left."""
    count = int(batch["mask"].sum())
    loss, gradient = 0.0, np.zeros(batch["mask"].shape)
    for i, columns in enumerate(trained(batch)):
        pi = [math.exp(batch["logp"][i, t]) for t in columns]
        mu = [math.exp(batch["logp_rollout"][i, t]) for t in columns]
        moved = [abs(p - m) for p, m in zip(pi, mu, strict=True)]
        ninetieth = float(np.quantile(moved, 0.9)) if moved else 0.0
        allowance = min(max(ninetieth, params["budget"]), 2 * params["budget"])
        spent = weighed = 0.0
        for position, t in enumerate(columns):
            weight = 1 - (1 - params["last"]) * position / max(len(columns) - 1, 1)
            left = min(params["delta"], params["delta"] + allowance * weighed - spent)
            ratio, advantage = pi[position] / mu[position], batch["advantage"][i]
            if advantage * (ratio - 1) <= 0 or weight * moved[position] <= left:
                loss, gradient[i, t] = loss - advantage * ratio / count, -advantage * ratio / count
            spent, weighed = spent + weight * moved[position], weighed + weight
    return loss, gradient


REFERENCES = {"atr_grpo": atr_grpo, "drpo": drpo, "cppo": cppo}
TRIES = {
    "atr_grpo": [{"delta": 0.03}, {"delta": 0.002}, {"delta": 0.4}],
    "drpo": [{"eps": 12.5}, {"eps": 0.15}],
    "cppo": [
        {"delta": 0.15, "last": 0.8, "budget": 0.02},
        {"delta": 0.1, "last": 0.3, "budget": 0.01},
        {"delta": 0.3, "last": 1.0, "budget": 0.1},
    ],
}


def batch_of(seed: int) -> Arrays:
    """Advantages of both signs, ratios around 1, probabilities below 1; off the mask anything."""
    batch = given_advantage(seed, extreme=False, spread=0.4)
    names = ("logp", "logp_old", "logp_rollout")
    return {key: np.minimum(value, -1e-3) if key in names else value for key, value in batch.items()}


def test_every_example_has_a_reference():
    assert sorted(REFERENCES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_check_is_strict_and_clean(name):
    result = CliRunner().invoke(app, ["check", "--strict", str(FOLDER / f"{name}.obj")])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("name", "params"), [(name, params) for name in NAMES for params in TRIES[name]], ids=str
)
def test_value_and_gradient(name, params):
    loss = maspo_dsl.compile(FOLDER / f"{name}.obj", params=params, backend="eager")
    for seed in range(4):
        batch = batch_of(seed)
        expected, gradient = REFERENCES[name](batch, params)
        assert abs(expected) > 1e-6 and np.abs(gradient).max() > 1e-3
        tensors = as_torch(batch)
        out = loss(tensors)
        out.loss.backward()
        assert out.loss.item() == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(tensors["logp"].grad, gradient, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("name", ["atr_grpo", "cppo"])
def test_the_rules_decide_something(name):
    """At the parameters of the file some tokens are muted, and most are not."""
    muted = []
    for seed in range(4):
        batch = batch_of(seed)
        _, gradient = REFERENCES[name](batch, TRIES[name][0])
        pushing = batch["mask"] & (batch["advantage"][:, None] != 0)
        muted += (gradient[pushing] == 0).tolist()
    assert 0.02 < np.mean(muted) < 0.5


def test_the_prefix_of_cppo_counts():
    """Three tokens that each move up by 0.09: alone none would be masked, after two the budget is spent."""
    mu = np.log(np.full((1, 3), 0.3))
    batch = {
        "logp": np.log(np.full((1, 3), 0.39)),
        "logp_rollout": mu,
        "logp_old": mu,
        "mask": np.ones((1, 3), dtype=bool),
        "advantage": np.array([1.0]),
    }
    tensors = as_torch(batch)
    maspo_dsl.compile(FOLDER / "cppo.obj", backend="eager")(tensors).loss.backward()
    # Weighted moves 0.09, 0.081, 0.072; left are 0.15, 0.15 + 0.04 - 0.09 = 0.1, 0.15 + 0.04 * 1.9 - 0.171 = 0.055.
    np.testing.assert_allclose(tensors["logp"].grad * 3, [[-1.3, -1.3, 0]], rtol=1e-12, atol=1e-12)


def test_drpo_turns_where_the_probability_has_moved_by_eps():
    """At pi - mu = 0.3 and eps = 0.15 a good token is pushed down again, by as much as it was pushed up at first."""
    mu, pi = 0.5, 0.8
    batch = {
        "logp": np.log([[pi]]),
        "logp_rollout": np.log([[mu]]),
        "mask": np.ones((1, 1), dtype=bool),
        "advantage": np.array([1.0]),
    }
    tensors = as_torch(batch)
    maspo_dsl.compile(FOLDER / "drpo.obj", params={"eps": 0.15}, backend="eager")(tensors).loss.backward()
    assert tensors["logp"].grad.item() == pytest.approx(pi / mu)


@pytest.mark.parametrize("name", NAMES)
def test_one_gradient_step_moves_good_tokens_up_and_bad_ones_down(name):
    """A table of logits as the policy, on policy: one step of gradient descent on the loss."""
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 7, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(7, (4, 5))

    def logp() -> torch.Tensor:
        return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]

    loss = maspo_dsl.compile(FOLDER / f"{name}.obj", backend="eager")
    old = logp().detach()
    batch = {"logp_old": old, "logp_rollout": old, "mask": torch.ones(4, 5, dtype=torch.bool)}
    batch |= {"reward": torch.tensor([1.0, 0.0, 0.0, 1.0]), "group": torch.tensor([0, 0, 1, 1])}
    advantage = loss.advantage({**batch, "logp": old})
    loss({**batch, "logp": logp()}).loss.backward()
    with torch.no_grad():
        logits -= 0.5 * logits.grad
    assert ((logp() - old) * advantage[:, None] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled(name):
    fused, eager = (maspo_dsl.compile(FOLDER / f"{name}.obj", backend=b) for b in ("inductor", "eager"))
    results = []
    for loss in (fused, eager):
        tensors = as_torch(batch_of(1), torch.float32)
        out = loss(tensors)
        out.loss.backward()
        results.append((out.loss.item(), tensors["logp"].grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-7)
