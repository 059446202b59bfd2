"""A window may be cut, padded, packed and reordered: the three objectives do not notice."""

import numpy as np
import pytest

from .batches import as_torch, given_advantage, packed, padded, ragged, rows_of, split
from .running import NAMES, compiled, run


@pytest.mark.parametrize("name", NAMES)
def test_any_partition_gives_the_same_gradient(name):
    """The parts' losses and gradients add up to the window's."""
    for seed in range(8):
        batch = given_advantage(seed, token=seed % 2 == 1)
        loss, gradient = run(name, batch)
        parts = split(batch, parts=2 + seed % 7, seed=seed)
        denominators = compiled(name).window([as_torch(rows_of(batch, rows)) for rows in parts])
        total, together = 0.0, np.zeros_like(gradient)
        for rows in parts:
            part_loss, together[rows] = run(name, rows_of(batch, rows), denominators=denominators)
            total += part_loss
        assert total == pytest.approx(loss, rel=1e-9)
        np.testing.assert_allclose(together, gradient, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_denominators_add_over_micro_batches(name):
    """Ranks sum theirs: two windows' denominators are together those of the joint window."""
    batch = given_advantage(3)
    left, right = (rows_of(batch, rows) for rows in split(batch, parts=2, seed=0))
    joint = compiled(name).window([as_torch(left), as_torch(right)])
    apart = [compiled(name).window([as_torch(part)]) for part in (left, right)]
    assert joint
    for key, value in joint.items():
        assert value.item() == pytest.approx(sum(window[key].item() for window in apart), rel=1e-12)


@pytest.mark.parametrize(("name", "expected"), [("dapo", 2.8), ("maspo", 2.8), ("grpo", 5.5)])
def test_four_short_losses_and_a_long_one(name, expected):
    """Token losses [1, 1, 1, 1] and [10]: a token mean is 14 / 5, a mean of sequences 11 / 2."""
    old = np.full((2, 4), -1.0)
    mask = np.array([[True] * 4, [True, False, False, False]])
    batch = {
        "logp": old,
        "logp_old": old,
        "logp_ref": old,
        "mask": mask,
        "advantage": np.array([-1.0, -10.0]),
    }
    assert run(name, batch)[0] == pytest.approx(expected)
    parts = [rows_of(batch, [0]), rows_of(batch, [1])]
    denominators = compiled(name).window([as_torch(part) for part in parts])
    losses = [run(name, part, denominators=denominators)[0] for part in parts]
    assert sum(losses) == pytest.approx(expected)


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
def test_padding_changes_nothing(name):
    """Six columns of NaN: each gradient is bit-equal, and the loss up to the order of its sum."""
    batch = given_advantage(2)
    loss, gradient = run(name, batch)
    wider_loss, wider = run(name, padded(batch, 6))
    assert wider_loss == pytest.approx(loss, rel=1e-13)
    assert np.array_equal(wider[:, : gradient.shape[1]], gradient)
    assert not wider[:, gradient.shape[1] :].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("advantage", ["sequence", "token", "estimated"])
def test_packed_form_equals_padded(name, advantage):
    batch = ragged(4) if advantage == "estimated" else given_advantage(4, token=advantage == "token")
    flat = packed(batch)
    loss, gradient = run(name, batch)
    flat_loss, flat_gradient = run(name, flat)
    assert flat_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(flat_gradient[flat["mask"]], gradient[batch["mask"]], rtol=1e-12, atol=1e-18)
    assert not flat_gradient[~flat["mask"]].any()


@pytest.mark.parametrize("name", NAMES)
def test_order_of_rows_and_names_of_groups_do_not_matter(name):
    batch = ragged(6)
    order = np.random.default_rng(0).permutation(len(batch["mask"]))
    moved = rows_of(batch, order)
    moved["group"] = moved["group"] * 1000 - 7
    loss, gradient = run(name, batch)
    moved_loss, moved_gradient = run(name, moved)
    assert moved_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(moved_gradient, gradient[order], rtol=1e-9, atol=1e-15)
