"""The shipped GRPO, DAPO and MASPO against `tests.reference`, and their trust regions by hand."""

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import as_torch, given_advantage, only, ragged, rows_of
from .reference import dapo
from .reference.catalogue import REFERENCES
from .running import NAMES, compiled, run, tiny

CASES = [(name, params) for name in sorted(REFERENCES) for params in ({}, *REFERENCES[name].tries)]
BATCHES = {
    "plain": lambda seed: given_advantage(seed, extreme=False),
    "extreme": lambda seed: given_advantage(seed),
    "token advantage": lambda seed: given_advantage(seed, token=True),
    "large advantage": lambda seed: given_advantage(seed, scale=300.0, spread=1.0),
    "estimated": lambda seed: ragged(seed, spread=1.0),
    "wide": lambda seed: ragged(seed, columns=33, spread=0.3),
}


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_value_and_gradient(name, params, kind):
    for seed in range(4):
        batch = BATCHES[kind](seed)
        loss, gradient = run(name, batch, params)
        expected = REFERENCES[name].dloss_dlogp(batch, params)
        assert np.abs(expected).max() > 1e-4
        assert loss == pytest.approx(REFERENCES[name].loss(batch, params), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("name", NAMES)
def test_float32(name, kind):
    """Against float64 of the same rounded inputs; exp keeps the log-ratio's absolute error, 20 × 6e-8."""
    batch = {
        key: value.astype(np.float32).astype(np.float64) if value.dtype == np.float64 else value
        for key, value in BATCHES[kind](7).items()
    }
    loss, gradient = run(name, batch, dtype=torch.float32)
    expected = REFERENCES[name].dloss_dlogp(batch)
    scale = np.abs(expected).max()
    assert loss == pytest.approx(REFERENCES[name].loss(batch), rel=2e-5, abs=2e-6)
    np.testing.assert_allclose(gradient, expected, rtol=2e-5, atol=2e-6 * scale)


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_advantage(name, params):
    for seed in range(6):
        batch = ragged(seed)
        expected = REFERENCES[name].advantage(batch, params)
        assert np.abs(expected).max() > 0.5
        tensors = as_torch(only(batch, ["reward", "group", "mask"]))
        np.testing.assert_allclose(compiled(name, params).advantage(tensors), expected, rtol=1e-9, atol=1e-12)


def test_overlong_punishment_of_dapo():
    """A limit of 6 and a cache of 3 punish from the fourth token on, and never below -1."""
    lengths = np.array([1, 3, 4, 5, 6, 9])
    mask = np.arange(9) < lengths[:, None]
    batch = {"reward": np.zeros(6), "group": np.zeros(6, dtype=int), "mask": mask}
    punished = [dapo.overlong(length, 6, 3) for length in lengths]
    assert punished == [0, 0, -1 / 3, -2 / 3, -1, -1]
    expected = REFERENCES["grpo"].advantage({**batch, "reward": np.array(punished)})
    advantage = compiled("dapo", {"max_length": 6, "cache": 3}).advantage(as_torch(batch))
    np.testing.assert_allclose(advantage, expected, rtol=1e-9)


def test_lengths_of_dapo_follow_the_run():
    assert maspo_dsl.load("dapo", run={"generation_limit": 10}).params["max_length"] == 10
    assert (
        maspo_dsl.load("dapo", params={"max_length": 7}, run={"generation_limit": 10}).params["max_length"]
        == 7
    )


def test_dynamic_sampling_of_dapo():
    random = np.random.default_rng(3)
    group = random.permutation(np.repeat(np.arange(12), 4))
    correct = random.random(48) < np.linspace(0, 1, 12)[group]
    batch = {"reward": correct * 2.0 - 1, "group": group, "mask": np.ones((48, 3), dtype=bool)}
    kept = compiled("dapo").keep(as_torch(batch)).numpy()
    assert kept.tolist() == REFERENCES["dapo"].kept(batch).tolist()
    assert 0 < kept.sum() < 48
    assert maspo_dsl.load("dapo").keeps
    for name in ("grpo", "maspo"):
        assert compiled(name).keep(as_torch(batch)).all() and not maspo_dsl.load(name).keeps


@pytest.mark.parametrize(("name", "high"), [("grpo", 1.2), ("dapo", 1.28)])
def test_clip_branches(name, high):
    """Only (1.5, +) and (0.5, -) have no gradient, and the metrics count exactly those."""
    ratio = np.array([0.5, 1.0, 1.5, 0.5, 1.0, 1.5])
    sign = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    batch = as_torch(tiny(np.log(ratio), sign))
    out = compiled(name, {"kl": 0.0} if name == "grpo" else {})(batch)
    out.loss.backward()
    expected = -sign * ratio / 6
    expected[[2, 3]] = 0
    np.testing.assert_allclose(batch["logp"].grad[:, 0], expected, rtol=1e-12)
    assert out.loss.item() == pytest.approx((-0.5 - 1 - high + 0.8 + 1 + 1.5) / 6)
    assert out.metrics["gated_pos"].item() == pytest.approx(1 / 3)
    assert out.metrics["gated_neg"].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("name", "capped"), [("grpo", -1.2), ("dapo", -1.28)])
def test_no_dual_clip(name, capped):
    """A ratio of 100: a good answer is capped, a bad one is not in these three."""
    params = {"kl": 0.0} if name == "grpo" else {}
    loss, gradient = run(name, tiny(np.log(100), -1.0), params)
    assert (loss, gradient[0, 0]) == (pytest.approx(100), pytest.approx(100))
    loss, gradient = run(name, tiny(np.log(100), 1.0), params)
    assert (loss, gradient[0, 0]) == (pytest.approx(capped), 0)


def test_gate_of_maspo_by_hand():
    """With sigma = 1, (2, +) weighs 2 exp(-1/2), in the gradient too since the gate is detached.

    On the other side, (2, -), the ratio stands alone; (0.5, -) weighs exp(-1/8) / 2.
    """
    ratio, sign = np.array([2.0, 2.0, 0.5, 0.5]), np.array([1.0, -1.0, 1.0, -1.0])
    params = {"alpha": 0.0, "beta_pos": 0.0, "beta_neg": 0.0}
    batch = as_torch(tiny(np.log(ratio), sign))
    out = compiled("maspo", params)(batch)
    out.loss.backward()
    weight = np.array([2 * np.exp(-0.5), 2, 0.5, 0.5 * np.exp(-0.125)])
    np.testing.assert_allclose(batch["logp"].grad[:, 0], -sign * weight / 4, rtol=1e-12)
    assert out.loss.item() == pytest.approx((-sign * weight).sum() / 4)
    assert out.metrics["gated_pos"].item() == out.metrics["gated_neg"].item() == pytest.approx(0.5)


def test_clamps_of_maspo_by_hand():
    """The width is at most 10 × risk, the risk within [0.1, 10]: ratio 2, A = ±400, old = exp(-1.5)."""
    wide = np.exp(-1 / (2 * (10 * 10) ** 2))
    params = {"alpha": 1.0, "sigma_base": 5.0, "beta_pos": 1.0, "beta_neg": 1.0}
    loss, _ = run("maspo", tiny(np.log(2), 400.0), params)
    assert loss == pytest.approx(-400 * 2 * wide, rel=1e-12)
    narrow = np.exp(-(0.5**2) / (2 * (10 * 0.1) ** 2))
    loss, _ = run("maspo", tiny(np.log(0.5), -400.0), params)
    assert loss == pytest.approx(400 * 0.5 * narrow, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_on_policy_step(name):
    """At ratio 1 the loss of centred advantages is 0 and the gradient is -A / tokens, not 0."""
    old = -np.random.default_rng(0).exponential(size=(4, 5))
    batch = {"logp": old, "logp_old": old, "logp_ref": old, "mask": np.ones((4, 5), dtype=bool)}
    batch |= {"reward": np.array([1.0, 0.0, 0.0, 1.0]), "group": np.zeros(4, dtype=int)}
    loss, gradient = run(name, batch)
    expected = REFERENCES["grpo"].advantage(batch)
    assert loss == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient, np.repeat(-expected[:, None] / 20, 5, axis=1), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_zero_advantage_counts_but_does_not_push(name):
    """Such tokens stay in the denominator: half the answers at A = 0 halve the others' gradient."""
    params = {"kl": 0.0} if name == "grpo" else {}
    alone = run(name, tiny([0.1], [1.0]), params)[1]
    beside = run(name, tiny([0.1, 0.7], [1.0, 0.0]), params)[1]
    assert beside[1, 0] == 0
    assert beside[0, 0] == pytest.approx(alone[0, 0] / 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_fused_graph_for_every_shape(name):
    """Also for a single row, a single column and none: value and gradient are those of eager."""
    fused = maspo_dsl.compile(name, backend="inductor")
    batches = [given_advantage(seed, columns=columns) for seed, columns in ((0, 9), (1, 6), (2, 17))]
    single = rows_of(batches[0], [6])
    column = tiny([0.1, 1.0, -1.0], [1.0, 1.0, -1.0], group=np.zeros(3, dtype=int))
    nothing = {key: value[:, :0] if value.ndim == 2 else value for key, value in column.items()}
    for batch in (*batches, single, column, nothing, batches[0]):
        tensors = as_torch(batch, torch.float32)
        out = fused(tensors)
        out.loss.backward()
        loss, gradient = run(name, batch, dtype=torch.float32)
        assert out.loss.item() == pytest.approx(loss, rel=1e-5)
        np.testing.assert_allclose(tensors["logp"].grad, gradient, rtol=1e-5, atol=1e-7)
    assert fused.compilations == 1
