"""Which side of a bound a token is on, and what its gradient is there, in numbers from paper."""

import io

import numpy as np
import pytest

import maspo_dsl

from .batches import as_torch
from .running import SHIPPED, compiled, known, plain, run_loss, slot, undivided

UNREGULARISED = {"kl": 0.0, "beta": 0.0, "mu": 0.0, "width": 1e-12}
"""Weights of penalties, and of what lies behind a token, for tests of the policy's own term."""


CLIPS = ("clip(1 - eps_low, 1 + eps_high)", "clip(exp(-eps_low), exp(eps_high))")
CLIPPED = [name for name in SHIPPED if any(clip in slot(name, "ratio") for clip in CLIPS)]


def test_every_clip_is_looked_at():
    """The family that the next test is about: GRPO's, DAPO's, GSPO's and GMPO's clips among them."""
    assert {"group_ppo", "grpo", "dapo", "ppo_dual_clip", "two_sided_clip", "gspo", "gmpo", "rloo"} <= set(
        CLIPPED
    )


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize(("low", "high", "ratios"), [(0.2, 0.2, (0.5, 1, 1.5)), (0.1, 0.4, (0.85, 1, 1.3))])
def test_clipped_tokens(name, low, high, ratios):
    """The share of clipped tokens counted branches whose gradient was not cut (TRL #3175).

    A gradient of 0 for a good token above the box and a bad one below it, and for no other; the metrics count
    exactly those. In a box of 0.9 to 1.4, a ratio of 1.3 is within and 0.85 below: the bounds are not each other's.
    """
    ratio, sign = np.repeat(ratios, 2).astype(float), np.tile([1.0, -1.0], 3)
    params = known(name, eps_low=low, eps_high=high, delta=2, **UNREGULARISED)
    loss = compiled(name, {**undivided(name), **params})
    batch = plain(np.log(ratio), sign) | {"group": np.arange(6)}
    tensors = as_torch(batch)
    out = loss(tensors)
    out.loss.backward()
    cut = ((ratio > 1 + high) & (sign > 0)) | ((ratio < 1 - low) & (sign < 0))
    assert cut.sum() == (2 if high == 0.2 else 1)
    expected = np.where(cut, 0, -sign * ratio) / 6
    np.testing.assert_allclose(tensors["logp"].grad[:, 0], expected, rtol=1e-9, atol=1e-15)
    assert out.metrics["gated_pos"].item() == pytest.approx(cut[sign > 0].mean())
    assert out.metrics["gated_neg"].item() == pytest.approx(cut[sign < 0].mean())


CAPS = [(name, key) for name in SHIPPED for key in ("cap", "delta") if f"min({key})" in slot(name, "ratio")]


@pytest.mark.parametrize(("name", "key"), CAPS)
def test_an_offset_where_a_cap_is_meant(name, key):
    """A cap takes 5.0, an offset 0.28; where the offset was taken for a cap, every weight shrank to 0.2 unseen.

    It is an error that says which values there are.
    """
    with pytest.raises(maspo_dsl.SpecError, match=rf"{key}.*0\.28.*[\[(]1"):
        maspo_dsl.load(name, {key: 0.28})


def test_an_offset_where_a_cap_is_meant_in_a_text():
    """And where a user writes the bound himself, `check` warns."""
    text = "objective mine extends cispo\nratio = policy / old |> min(0.28) |> score\n"
    (warning,) = maspo_dsl.load(io.StringIO(text)).warnings
    assert (warning.code, warning.line, warning.column) == ("cap-below-one", 2, 25)
    assert {name for name, _ in CAPS} >= {"cispo", "dppo_tv", "ppo_dual_clip", "two_sided_clip"}


SOFT = {
    "sapo": [{}, {"tau_pos": 0.1, "tau_neg": 7}, {"tau_pos": 30, "tau_neg": 0.2}],
    "vespo": [{}, {"k_pos": 0.3, "lambda_pos": 9, "k_neg": 7, "lambda_neg": 0.1}],
    "dgpo": [{}, {"n": 5, "m": 0.2}],
    "soft_exponential": [{}, {"rate": 50}],
    "maspo": [
        {},
        {"sigma_base": 0.05, "alpha": 1, "beta_neg": 3},
        {"sigma_base": 9, "alpha": 0, "beta_pos": 5},
    ],
    "maspo_paper": [{}, {"sigma_base": 0.05, "alpha": 1, "beta_neg": 3}],
    "maspo_dapo": [{}, {"sigma_base": 0.05, "alpha": 1, "beta_neg": 3}],
    "stapo_maspo": [{}, {"sigma_base": 0.05, "alpha": 1, "beta_neg": 3}],
}
SOFT_CASES = [(name, params) for name in SOFT for params in SOFT[name]]


@pytest.mark.parametrize(("name", "params"), SOFT_CASES, ids=str)
@pytest.mark.parametrize("advantage", [1.0, -1.0, 2.5])
def test_a_gate_is_1_on_policy(name, params, advantage):
    """A gate that is not normalised makes the temperature a learning rate.

    At a ratio of 1 the derivative is -A exactly, at any steepness; away from it the gate does something.
    """

    def slope(ratio: float) -> float:
        loss = compiled(name, {**undivided(name), **known(name, **UNREGULARISED), **params})
        return run_loss(loss, plain([np.log(ratio)], [advantage], old=-5.0))[1].item()

    assert slope(1.0) == pytest.approx(-advantage, rel=1e-12)
    ratio = 3.0 if advantage > 0 else 0.3
    assert abs(slope(ratio) + advantage * ratio) > 1e-4


@pytest.mark.parametrize("name", SHIPPED)
def test_every_gate_is_looked_at(name):
    if "_gate" in slot(name, "ratio") or "decay_" in slot(name, "ratio"):
        assert name in SOFT
