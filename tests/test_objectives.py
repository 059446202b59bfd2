"""Every shipped objective against its reference: loss, gradient, advantage, and which completions are kept."""

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import Arrays, as_torch, given_advantage, others, ragged
from .reference.catalogue import REFERENCES
from .running import compiled, run, tiny

SHIPPED = maspo_dsl.shipped()
CASES = [(name, params) for name in SHIPPED for params in ({}, *REFERENCES[name].tries)]


def edges(seed: int) -> Arrays:
    """Completions of one token and of none: log-ratios inside the bound, beyond it and 0, A of each sign and 0."""
    random = np.random.default_rng(seed)
    log_ratio, advantage = np.meshgrid([0, 0.1, -0.1, 1.3, -1.7, 19.5, -19.5, 25, -25], [0, 1.3, -0.7, 0.02])
    rows = log_ratio.size
    batch = tiny(log_ratio.ravel(), advantage.ravel(), group=np.arange(rows) % 5)
    batch["logp"] = -0.3 + np.minimum(log_ratio.ravel(), 0)[:, None]
    batch["logp_old"] = batch["logp"] - log_ratio.ravel()[:, None]
    batch["mask"] = np.arange(rows)[:, None] % 7 != 3
    batch["logp_ref"] = batch["logp"] - random.exponential(size=(rows, 1))
    batch["logp_rollout"] = -np.abs(batch["logp_old"] + 0.4 * random.normal(size=(rows, 1)))
    batch["entropy"] = random.exponential(size=(rows, 1))
    batch["reward"] = random.normal(size=rows)
    return {**others(seed, batch["mask"].shape), **batch}


BATCHES = {
    "plain": lambda seed: given_advantage(seed, extreme=False),
    "extreme": lambda seed: given_advantage(seed),
    "token advantage": lambda seed: given_advantage(seed, token=True),
    "large advantage": lambda seed: given_advantage(seed, scale=300.0, spread=1.0),
    "estimated": lambda seed: ragged(seed, spread=1.0),
    "wide": lambda seed: ragged(seed, columns=33, spread=0.3),
    "edges": edges,
}


def test_every_shipped_objective_has_a_reference():
    assert set(REFERENCES) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_defaults(name):
    assert dict(maspo_dsl.load(name).params) == REFERENCES[name].defaults


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_value_and_gradient(name, params):
    """On every kind of batch; each setting of the parameters sees its own."""
    reference, pushes = REFERENCES[name], []
    seed = ({}, *reference.tries).index(params)
    for kind, batch_of in BATCHES.items():
        batch = batch_of(seed)
        loss, gradient = run(name, batch, params)
        expected = reference.dloss_dlogp(batch, params)
        largest = np.abs(expected).max()
        assert loss == pytest.approx(reference.loss(batch, params), rel=1e-9, abs=1e-12), kind
        # The difference of two shares of a group is known to 1e-16.
        room = max(1e-13 * largest, 1e-16)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=room, err_msg=kind)
        pushes.append(largest)
    assert np.median(pushes) > 1e-6


@pytest.mark.parametrize("name", SHIPPED)
def test_float32(name):
    """Against float64 of the same rounded inputs; exp keeps the log-ratio's absolute error, 20 × 6e-8."""
    for kind in ("plain", "extreme", "token advantage", "estimated"):
        batch = {
            key: value.astype(np.float32).astype(np.float64) if value.dtype == np.float64 else value
            for key, value in BATCHES[kind](7).items()
        }
        loss, gradient = run(name, batch, dtype=torch.float32)
        expected = REFERENCES[name].dloss_dlogp(batch)
        scale = np.abs(expected).max()
        assert loss == pytest.approx(REFERENCES[name].loss(batch), rel=2e-5, abs=2e-6), kind
        np.testing.assert_allclose(gradient, expected, rtol=2e-5, atol=2e-6 * scale, err_msg=kind)


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_advantage(name, params):
    """In small groups and in one of thirteen."""
    sizes = []
    for seed in range(2):
        batch = ragged(seed)
        batch["group"] //= 1 + 7 * seed
        batch["reward"][3 + seed] = np.nan
        expected = REFERENCES[name].advantage(batch, params)
        sizes.append(np.abs(expected).max())
        estimate = compiled(name, params).advantage(as_torch(batch))
        np.testing.assert_allclose(estimate, expected, rtol=1e-9, atol=1e-12)
    assert max(sizes) > 0.05


@pytest.mark.parametrize("name", SHIPPED)
def test_kept_completions(name):
    random = np.random.default_rng(3)
    group = random.permutation(np.repeat(np.arange(12), 4))
    correct = random.random(48) < np.linspace(0, 1, 12)[group]
    batch = {"reward": correct * 2.0 - 1, "group": group, "mask": np.ones((48, 3), dtype=bool)}
    said = {**batch, "correct": random.permutation(correct)}
    assert compiled(name).keep(as_torch(said)).tolist() == REFERENCES[name].kept(said).tolist()
    kept = compiled(name).keep(as_torch(batch)).numpy()
    assert kept.tolist() == REFERENCES[name].kept(batch).tolist()
    assert maspo_dsl.load(name).keeps == (REFERENCES[name].keep is not None) == (not kept.all())
    assert kept.any()
