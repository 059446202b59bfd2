"""Metrics of a window, in parts and as a whole, and of ratios beyond the bound."""

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import as_torch, given_advantage, rows_of, split
from .running import NAMES, compiled, known, run, tiny


@pytest.mark.parametrize("name", NAMES)
def test_metrics_pool_over_a_partition(name):
    """Pooled, the parts of a window have its metrics, the largest ratio and the effective sample size among them."""
    batch = given_advantage(5)
    whole = compiled(name)(as_torch(batch)).metrics
    parts = split(batch, parts=4, seed=1)
    denominators = compiled(name).window([as_torch(rows_of(batch, rows)) for rows in parts])
    outputs = [compiled(name)(as_torch(rows_of(batch, rows)), denominators=denominators) for rows in parts]
    pooled = maspo_dsl.pool(outputs)
    assert {"ratio_mean", "ratio_max", "ess", "gated_pos", "mass_pos", "clamped", "above_zero"} <= set(pooled)
    assert pooled.keys() == whole.keys()
    for key in pooled.keys() - {"zero_signal_groups"}:  # groups are cut here
        assert pooled[key].item() == pytest.approx(whole[key].item(), rel=1e-9), key
    means = torch.stack([output.metrics["ess"] for output in outputs]).mean()
    assert abs(means - whole["ess"]) > 1e-3
    copies = maspo_dsl.pool([output.metric_parts for output in outputs])
    assert all(torch.equal(copies[key], value) for key, value in pooled.items())


def test_log_probs_above_zero_are_said():
    """Probabilities, or logits, in the place of log-probs: counted where trained, and a line when metrics are read."""
    batch = as_torch(tiny([0.1, 0.1, 0.1], [1, -1, 1]))
    loss = compiled("grpo")
    assert loss(batch).metrics["above_zero"] == 0
    batch["logp_old"] = batch["logp_old"].clone()
    batch["logp_old"][1, 0] = 0.7
    out = loss(batch)
    with pytest.warns(UserWarning, match="grpo: log-probs above 0 at 1 trained tokens"):
        assert out.metrics["above_zero"].item() == pytest.approx(1 / 3)
    batch["mask"] = batch["mask"].clone()
    batch["mask"][1, 0] = False
    assert loss(batch).metrics["above_zero"] == 0


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_metrics_under_inference_mode(backend):
    batch = as_torch(given_advantage(5))
    loss = maspo_dsl.compile("maspo", backend=backend)
    expected = loss(batch).metrics
    with torch.inference_mode():
        inside = loss({name: value.clone() for name, value in batch.items()})
        found = inside.metrics
        later = loss({name: value.clone() for name, value in batch.items()})
    for metrics in (found, later.metrics):
        assert metrics.keys() == expected.keys()
        assert all(metrics[name] == value for name, value in expected.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("log_ratio", [200.0, -200.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overflow_is_bounded_and_counted(name, sign, log_ratio, dtype):
    """A log-ratio of ±200 is held at ±20: its gradient is exactly 0, the other token's is not, and a metric says so."""
    far = tiny([log_ratio, 0.1], [sign, sign])
    gradient = run(name, far, known(name, kl=0.0), dtype)[1]
    assert gradient[0, 0] == 0 and gradient[1, 0] != 0
    assert compiled(name)(as_torch(far, dtype)).metrics["clamped"] == 0.5
    assert compiled(name)(as_torch(tiny([0.1, 0.2], [1, 1]), dtype)).metrics["clamped"] == 0


def test_singletons_are_groups_without_signal():
    """Two groups, one of them of one completion: half of them teach nothing."""
    batch = tiny([0.1, 0.1, 0.1], [0, 0, 0], reward=np.array([1.0, 0.0, 3.0]), group=np.array([4, 4, 9]))
    del batch["advantage"]
    assert compiled("grpo")(as_torch(batch)).metrics["zero_signal_groups"] == 0.5
