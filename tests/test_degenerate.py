"""Numbers too large, tokens that are masked, groups that teach nothing: what has bitten others."""

import numpy as np
import pytest
import torch

from .batches import as_torch, given_advantage, packed, rows_of, with_garbage
from .reference.catalogue import REFERENCES
from .running import NAMES, compiled, estimated, run, tiny


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("log_ratio", [200.0, -200.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overflow_is_bounded_and_counted(name, sign, log_ratio, dtype):
    """A log-ratio of ±200 is held at ±20; its gradient is exactly 0 and the metric says so."""
    batch = as_torch(tiny([log_ratio, 0.1], [sign, sign]), dtype)
    out = compiled(name)(batch)
    out.loss.backward()
    assert torch.isfinite(out.loss) and torch.isfinite(batch["logp"].grad).all()
    policy_gradient = run(
        name, tiny([log_ratio, 0.1], [sign, sign]), {"kl": 0.0} if name == "grpo" else None
    )[1]
    assert policy_gradient[0, 0] == 0 and policy_gradient[1, 0] != 0
    assert out.metrics["clamped"].item() > 0
    assert compiled(name)(as_torch(tiny([0.1, 0.2], [1, 1]))).metrics["clamped"].item() == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 200.0, 1e30, -1e30])
def test_masked_tokens_do_not_exist(name, junk):
    """Whatever they hold, loss and gradient are those of clean padding; their own gradient is exactly 0."""
    clean = given_advantage(8, garbage=False)
    for tensor in ("logp", "logp_old", "logp_ref"):
        dirty = {**clean, tensor: np.where(clean["mask"], clean[tensor], junk)}
        loss, gradient = run(name, dirty)
        assert (loss, gradient.tolist()) == (run(name, clean)[0], run(name, clean)[1].tolist()), tensor
        assert not gradient[~clean["mask"]].any()
    metrics = compiled(name)(as_torch(with_garbage(clean))).metrics
    assert all(torch.isfinite(value) for value in metrics.values()), metrics
    assert metrics["nonfinite"].item() == 0


@pytest.mark.parametrize("name", NAMES)
def test_nan_at_a_trained_token_stays_visible(name):
    batch = given_advantage(8, extreme=False)
    batch["logp"][6, 0] = np.nan
    tensors = as_torch(batch)
    out = compiled(name)(tensors)
    assert torch.isnan(out.loss)
    assert out.metrics["nonfinite"].item() > 0


def test_far_reference_does_not_overflow_the_kl():
    """Held at 20 nats: finite, no gradient from the penalty, and the policy term is as without it."""
    batch = tiny([0.1, -0.1], [1.0, -1.0])
    batch["logp_ref"] = batch["logp"] + 200
    for dtype in (torch.float32, torch.float64):
        loss, gradient = run("grpo", batch, {"kl": 0.04}, dtype)
        assert np.isfinite(loss) and loss > 0.04 * np.exp(19)
        np.testing.assert_allclose(gradient, run("grpo", batch, {"kl": 0.0})[1], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_goes_through_the_old_policy(name):
    """Even if the caller hands in `logp` itself, as some do on policy: the gradient is -A, not 0."""
    batch = given_advantage(9, extreme=False)
    batch["logp_old"] = batch["logp"]
    tensors = as_torch(batch)
    compiled(name)({**tensors, "logp_old": tensors["logp"]}).loss.backward()
    np.testing.assert_allclose(tensors["logp"].grad, REFERENCES[name].dloss_dlogp(batch), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_computed_in_float32(name):
    """The inputs' rounding is all there is: the sums agree with float64 of the same inputs."""
    tensors = as_torch(given_advantage(9, extreme=False, garbage=False), torch.bfloat16)
    batch = {
        key: (value.detach().double() if value.is_floating_point() else value).numpy()
        for key, value in tensors.items()
    }
    out = compiled(name)(tensors)
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert tensors["logp"].grad.dtype == torch.bfloat16
    assert out.loss.item() == pytest.approx(REFERENCES[name].loss(batch), rel=1e-5, abs=1e-6)
    expected = torch.as_tensor(REFERENCES[name].dloss_dlogp(batch)).to(torch.bfloat16)
    torch.testing.assert_close(tensors["logp"].grad, expected, rtol=8e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["padded", "packed"])
def test_window_without_a_trained_token(name, form):
    """Loss 0 with a gradient that flows and is 0; metrics are numbers."""
    batch = given_advantage(1)
    batch["mask"] = np.zeros_like(batch["mask"])
    tensors = as_torch(packed(batch) if form == "packed" else batch)
    out = compiled(name)(tensors)
    assert out.loss.item() == 0 and out.loss.requires_grad
    out.loss.backward()
    assert torch.equal(tensors["logp"].grad, torch.zeros_like(tensors["logp"]))
    assert all(torch.isfinite(value) for value in out.metrics.values()), out.metrics


@pytest.mark.parametrize("name", NAMES)
def test_micro_batch_without_a_trained_token(name):
    """It adds nothing to a window that has tokens elsewhere."""
    full, empty = given_advantage(1), given_advantage(2)
    empty["mask"] = np.zeros_like(empty["mask"])
    denominators = compiled(name).window([as_torch(full), as_torch(empty)])
    assert run(name, full, denominators=denominators)[0] == pytest.approx(run(name, full)[0], rel=1e-12)
    loss, gradient = run(name, empty, denominators=denominators)
    assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 0), (0, 3)])
def test_batch_without_columns_or_rows(name, shape):
    empty = np.zeros(shape)
    batch = {"logp": empty, "logp_old": empty, "logp_ref": empty, "mask": empty.astype(bool)}
    loss, gradient = run(name, {**batch, "advantage": np.zeros(shape[0])})
    assert loss == 0 and gradient.shape == shape


@pytest.mark.parametrize("name", NAMES)
def test_untrained_row_is_in_no_mean(name):
    """The loss of the others, as if the row were not there."""
    batch = given_advantage(3)
    batch["mask"][0] = False
    rest = rows_of(batch, range(1, len(batch["mask"])))
    assert run(name, batch)[0] == pytest.approx(run(name, rest)[0], rel=1e-12)
    metrics = compiled(name)(as_torch(batch)).metrics
    assert all(torch.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_give_exactly_no_advantage(name, dtype):
    for size in (2, 3, 5, 6, 7, 8, 16):
        for reward in (0.1, 0.2, 0.3, 0.35, 0.7, 1 / 3, -1.0, 1e6):
            batch = {
                "reward": np.full(size, reward),
                "group": np.zeros(size, dtype=int),
                "mask": np.ones((size, 2), dtype=bool),
            }
            assert not compiled(name).advantage(as_torch(batch, dtype)).any(), (size, reward)


@pytest.mark.parametrize("name", NAMES)
def test_a_group_of_one_has_no_advantage(name):
    assert estimated(name, [3.0, 1.0, 0.0], [0, 1, 1])[0] == 0
    assert estimated(name, [3.0, -2.0], [0, 1]) == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_missing_reward(name):
    """NaN is a reward that is missing: not counted, and its own advantage is 0."""
    rewards = [1.0, 0.0, 0.0, 1.0, 0.5, 0.2, 0.9, 0.1]
    for missing in ([3], [0, 1, 2, 3, 4, 5, 6], list(range(8)), [0, 7]):
        some = [np.nan if row in missing else reward for row, reward in enumerate(rewards)]
        left = [row for row in range(8) if row not in missing]
        expected = np.zeros(8)
        expected[left] = estimated(name, [rewards[row] for row in left], [0] * len(left)) if left else []
        np.testing.assert_allclose(estimated(name, some, [0] * 8), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_rejected_completion_leaves_the_baseline(name):
    """A row without a trained token is in no statistics of its group."""
    mask = np.array([[False, False], [True, True], [True, False]])
    assert estimated(name, [100.0, 1.0, 0.0], [0, 0, 0], mask) == [0, *estimated(name, [1.0, 0.0], [0, 0])]
    assert estimated(name, [100.0, 1.0], [0, 0], mask[:2]) == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_three_right_of_eight(name):
    """(1 - 3/8) / sqrt(15/56) and (-3/8) / sqrt(15/56), less 1e-4 in the divisor."""
    values = estimated(name, [1, 1, 1, 0, 0, 0, 0, 0], [5] * 8)
    np.testing.assert_allclose(values, [1.2076] * 3 + [-0.7246] * 5, rtol=4e-4)
