"""Metrics of a window, in parts and as a whole, and of ratios beyond the bound."""

import numpy as np
import pytest
import torch

from .batches import as_torch, given_advantage, rows_of, split
from .running import NAMES, compiled, known, run, tiny


@pytest.mark.parametrize("name", NAMES)
def test_metrics_add_over_a_partition(name):
    """(sum, count) pairs of the parts make the window's metric."""
    batch = given_advantage(5)
    whole = compiled(name)(as_torch(batch)).metrics
    parts = split(batch, parts=4, seed=1)
    denominators = compiled(name).window([as_torch(rows_of(batch, rows)) for rows in parts])
    sums: dict[str, list[tuple[float, float]]] = {}
    for rows in parts:
        out = compiled(name)(as_torch(rows_of(batch, rows)), denominators=denominators)
        for key, (total, count) in out.metric_sums.items():
            sums.setdefault(key, []).append((float(total), float(count)))
    assert {"ratio_mean", "gated_pos", "gated_neg", "mass_pos", "clamped"} <= set(sums)
    for key, pairs in sums.items():
        if key in ("ratio_max", "loss", "policy_loss", "kl", "zero_signal_groups", "ess"):
            continue
        count = sum(count for _, count in pairs)
        assert sum(total for total, _ in pairs) / count == pytest.approx(whole[key].item(), rel=1e-9), key


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
