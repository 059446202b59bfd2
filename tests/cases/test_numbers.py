"""Numbers too large, NaN behind a mask and before it, and half the bits: finite where it can be, visible where not."""

import warnings

import numpy as np
import pytest
import torch

from ..batches import Arrays, as_torch
from .subjects import SHIPPED, TOKEN_TENSORS, completions, extended, loss_of, objective, plain, run, same

FAR = 200.0


def far_apart(nearer: str, farther: str, sign: float) -> Arrays:
    """Three completions of four tokens; at one of the second, all of the third `nearer` is 200 nats above `farther`."""
    far = np.array([[0, 0, 0, 0], [0, 0, FAR, 0], [FAR] * 4])
    batch = plain(np.zeros((3, 4)), sign * np.array([1.0, 1.0, 0.5]), old=-1.0)
    others = {"logp", "logp_old", "logp_ref", "logp_rollout"} - {nearer}
    for name in others if farther == "logp_old" else {farther}:
        batch[name] = batch[name] - far
    return batch


PAIRS = [
    ("logp", "logp_old"),
    ("logp_old", "logp"),
    ("logp_old", "logp_rollout"),
    ("logp_rollout", "logp_old"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=" over ".join)
@pytest.mark.parametrize("name", SHIPPED)
def test_t09_overflow_unmasked(name, pair):
    """Finite loss, NaN gradient: 0 times infinity in the branch not taken ended runs (Soup #1084, OpenRLHF #1293).

    Log-ratios of ±200 at one token of a completion, and at four so that they add up to 800; good and bad completions.
    """
    for sign in (1.0, -1.0):
        for dtype in (torch.float32, torch.float64):
            tensors = as_torch(far_apart(*pair, sign), dtype)
            out = loss_of(name)(tensors)
            out.loss.backward()
            gradient = tensors["logp"].grad
            assert torch.isfinite(out.loss) and torch.isfinite(gradient).all()
            assert gradient[0].all(), "the completion that is on policy still learns"
        if set(pair) == {"logp", "logp_old"}:
            assert out.metrics["clamped"].item() == pytest.approx(5 / 12)
        assert all(torch.isfinite(value) for value in out.metrics.values()), out.metrics


def with_gap(batch: Arrays, junk: float) -> Arrays:
    """The batch with a column of untrained junk after the first token of every completion."""
    result = dict(batch)
    for name, value in batch.items():
        if value.ndim == 2:
            filler = np.full((len(value), 1), False if name == "mask" else junk)
            result[name] = np.concatenate([value[:, :1], filler.astype(value.dtype), value[:, 1:]], axis=1)
    return result


@pytest.mark.parametrize("name", SHIPPED)
def test_t10_overflow_masked(name):
    """Masking by a product leaves NaN: 0 times infinity, forward or backward (Soup #342, tunix #2310).

    A column that is not trained, of NaN, infinities or 1e30 in every tensor: loss, gradient, advantage and metrics
    are those of the batch without it, and its own gradient is exactly 0.
    """
    batch = completions(11, [3, 6, 1, 4, 5, 2, 6, 3])
    loss, gradient = run(loss_of(name), batch)
    metrics = loss_of(name)(as_torch(batch)).metrics
    for junk in (np.nan, np.inf, -np.inf, FAR, -1e30):
        dirty = with_gap(batch, junk)
        found = run(loss_of(name), dirty)
        assert found.loss == pytest.approx(loss, rel=1e-12, abs=1e-15)
        same(np.delete(found.gradient, 1, axis=1), gradient, rtol=1e-12)
        assert not found.gradient[:, 1].any()
        for key, value in loss_of(name)(as_torch(dirty)).metrics.items():
            assert value.item() == pytest.approx(metrics[key].item(), rel=1e-9, abs=1e-12), key


@pytest.mark.parametrize("name", SHIPPED)
def test_t11_nan_inside_the_mask(name):
    """A loss that launders NaN by nan_to_num trains on a broken model unseen (WeatherGenerator #2717, slime #2198).

    NaN at one trained token of a tensor that is read makes the loss NaN, or where the tensor only chooses tokens,
    leaves it; in both cases a warning names the tensor.
    """
    clean = completions(12, [3, 6, 1, 4])
    clean["advantage"] = loss_of(name).advantage(as_torch(clean)).numpy()
    clean["entropy"][0, 2] = 9.0  # not among the tokens that are too sure to be trained
    for tensor in sorted(set(TOKEN_TENSORS) & objective(name).inputs):
        batch = {**clean, tensor: clean[tensor].copy()}
        batch[tensor][0, 2] = np.nan
        out = loss_of(name)(as_torch(batch))
        if tensor == "logp":
            assert torch.isnan(out.loss)
        with pytest.warns(UserWarning, match=rf"{name}: not finite at trained tokens: .*`{tensor}` at 1"):
            _ = out.metrics


def test_t11_without_nan_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loss_of("maspo")(as_torch(completions(12, [3, 6, 1, 4]))).metrics["nonfinite"].item() == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_t12_kl_overflow(name):
    """exp of a far reference overflowed, and the bound that mended it also held the policy's own ratio (TRL #6637).

    The reference is 200 nats above the policy at one token. k3 is held at 20 nats, exp(20) - 21, and passes no
    gradient there; the policy term beside it has the gradient that it has alone.
    """
    batch = plain(np.array([[0.1, -0.2], [0.3, 0.05]]), [1.0, -1.0], old=-FAR - 1)
    batch["logp_ref"][:] = batch["logp"]
    batch["logp_ref"][0, 1] += FAR
    near = {**batch, "logp_ref": batch["logp"].copy()}
    kl = extended(name, "penalty extra = 0.5 * k3(policy, reference)")
    for dtype in (torch.float32, torch.float64):
        found = run(kl, batch, dtype=dtype)
        assert np.isfinite(found.loss) and np.isfinite(found.gradient).all()
        same(found.gradient, run(kl, near, dtype=dtype).gradient, rtol=1e-5)
        weight = 0.5 + (
            objective(name).params["kl"] if "\npenalty kl" in objective(name).resolved.text else 0
        )
        assert found.loss - run(kl, near, dtype=dtype).loss == pytest.approx(
            share_of_a_token(name) * weight * (np.exp(20) - 21), rel=1e-5
        )


def share_of_a_token(name: str) -> float:
    """What one of two times two tokens counts in `reduce`: on policy the gradient of A = -1 is that."""
    return run(loss_of(name), plain(np.zeros((2, 2)), [-1.0, 0.0])).gradient[0, 0]


@pytest.mark.parametrize("name", SHIPPED)
def test_t36_dtype(name):
    """Log-probs in bfloat16 were subtracted and exponentiated in it (xtuner #1108, genlm-backend #66).

    The loss is that of float64 on the same inputs, to 1e-6 of its largest token; the gradient comes back in bfloat16.
    """
    tensors = as_torch(completions(13, [3, 6, 1, 4, 5, 2, 6, 3], spread=0.3), torch.bfloat16)
    batch = {
        key: (value.detach().double() if value.is_floating_point() else value).numpy()
        for key, value in tensors.items()
    }
    batch["reward"] = tensors["reward"].double().numpy()
    out = loss_of(name)(tensors)
    out.loss.backward()
    expected = run(loss_of(name), batch)
    assert out.loss.dtype == torch.float32 and tensors["logp"].grad.dtype == torch.bfloat16
    assert out.loss.item() == pytest.approx(expected.loss, rel=1e-6, abs=1e-6)
    assert np.abs(expected.gradient).max() > 1e-5
    rounded = torch.as_tensor(expected.gradient).to(torch.bfloat16)
    torch.testing.assert_close(tensors["logp"].grad, rounded, rtol=8e-3, atol=1e-7)
