"""Which branch of a trust region a token is in, and what its gradient is there, in numbers from paper."""

import io

import numpy as np
import pytest

import maspo_dsl

from ..batches import as_torch
from .subjects import SHIPPED, Result, known, loss_of, objective, plain, run, slot, undivided

UNREGULARISED = {"kl": 0.0, "beta": 0.0}
"""Weights of penalties, for cases about the policy's own term."""


def lone(name: str, ratio: float, sign: float, **params: float) -> Result:
    """Loss and derivative of one token that is a whole window, of this ratio to the old policy."""
    loss = loss_of(name, **undivided(name), **known(name, **UNREGULARISED), **params)
    return run(loss, plain([np.log(ratio)], [sign], old=-5.0))


CLIPS = ("clip(1 - eps_low, 1 + eps_high)", "clip(exp(-eps_low), exp(eps_high))")
CLIPPED = [name for name in SHIPPED if any(clip in slot(name, "ratio") for clip in CLIPS)]


def test_t23_clip_branches_are_looked_at():
    """The family that the next test is about: GRPO's, DAPO's, GSPO's and GMPO's clips among them."""
    assert {"group_ppo", "grpo", "dapo", "ppo_dual_clip", "two_sided_clip", "gspo", "gmpo", "rloo"} <= set(
        CLIPPED
    )


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize(("low", "high", "ratios"), [(0.2, 0.2, (0.5, 1, 1.5)), (0.1, 0.4, (0.85, 1, 1.3))])
def test_t23_clip_branches(name, low, high, ratios):
    """The share of clipped tokens counted branches whose gradient was not cut (TRL #3175).

    A gradient of 0 for a good token above the box and a bad one below it, and for no other; the metrics count
    exactly those. In a box of 0.9 to 1.4, a ratio of 1.3 is within and 0.85 below: the bounds are not each other's.
    """
    ratio, sign = np.repeat(ratios, 2).astype(float), np.tile([1.0, -1.0], 3)
    loss = loss_of(
        name, **undivided(name), **known(name, eps_low=low, eps_high=high, delta=2, **UNREGULARISED)
    )
    batch = plain(np.log(ratio), sign)
    tensors = as_torch(batch)
    out = loss(tensors)
    out.loss.backward()
    cut = ((ratio > 1 + high) & (sign > 0)) | ((ratio < 1 - low) & (sign < 0))
    assert cut.sum() == (2 if high == 0.2 else 1)
    expected = np.where(cut, 0, -sign * ratio) / 6
    np.testing.assert_allclose(tensors["logp"].grad[:, 0], expected, rtol=1e-9, atol=1e-15)
    assert out.metrics["gated_pos"].item() == pytest.approx(cut[sign > 0].mean())
    assert out.metrics["gated_neg"].item() == pytest.approx(cut[sign < 0].mean())


DUAL = {
    # the upper bound of a good token, of a probability of exp(-5) under the old policy
    "ppo_dual_clip": 1.2,
    "bapo": 1.2,  # where the search for its bounds starts
    "dcpo": 0.5 + 0.5 * np.sqrt(1 + 4 * 0.2 * np.exp(5)),
}


@pytest.mark.parametrize("name", DUAL)
def test_t24_dual_clip(name):
    """The third bound of a dual clip also held good tokens, at the wrong sign: -3 for -1.2 (tianshou #433).

    A ratio of 100 and a bound c of 3: a bad token costs 3 without gradient, a good one earns the upper bound of its
    clip as it does without the third. Within it, a bad token has its whole ratio.
    """
    params = {"cap": 3.0, **known(name, eps_low=0.2, eps_high=0.2)}
    bad, good, inside = (
        lone(name, ratio, sign, **params) for ratio, sign in ((100, -1.0), (100, 1.0), (2.7, -1.0))
    )
    assert (bad.loss, bad.gradient.item()) == (pytest.approx(3), 0)
    assert (good.loss, good.gradient.item()) == (pytest.approx(-DUAL[name]), 0)
    assert (inside.loss, inside.gradient.item()) == (pytest.approx(2.7), pytest.approx(2.7))


def test_t24_every_dual_clip_is_looked_at():
    assert {name for name in SHIPPED if "as dual" in slot(name, "ratio")} == set(DUAL)


def test_t25_cispo():
    """The weight is capped and the gradient stays: a ratio of 10, a cap of 5, A = 1 give -5 (SkyRL #1928)."""
    assert lone("cispo", 10, 1.0, cap=5).gradient.item() == pytest.approx(-5, rel=1e-12)
    assert lone("cispo", 10, -1.0, cap=5).gradient.item() == pytest.approx(5, rel=1e-12)
    assert lone("cispo", 2, 1.0, cap=5).gradient.item() == pytest.approx(-2, rel=1e-12)
    assert lone("cispo_two_sided", 10, 1.0, eps_high=0.28).gradient.item() == pytest.approx(-1.28, rel=1e-12)
    assert lone("cispo_two_sided", 0.1, 1.0, eps_low=0.2).gradient.item() == pytest.approx(-0.8, rel=1e-12)


CAPS = [(name, key) for name in SHIPPED for key in ("cap", "delta") if f"min({key})" in slot(name, "ratio")]


@pytest.mark.parametrize(("name", "key"), CAPS)
def test_t25_an_offset_where_a_cap_is_meant(name, key):
    """A cap takes 5.0, an offset 0.28; where the offset was taken for a cap, every weight shrank to 0.2 unseen.

    It is an error that says which values there are.
    """
    with pytest.raises(maspo_dsl.SpecError, match=rf"{key}.*0\.28.*[\[(]1"):
        maspo_dsl.load(name, {key: 0.28})


def test_t25_an_offset_where_a_cap_is_meant_in_a_text():
    """And where a user writes the bound himself, `check` warns."""
    text = "objective mine extends cispo\nratio = policy / old |> min(0.28) |> score\n"
    (warning,) = maspo_dsl.load(io.StringIO(text)).warnings
    assert (warning.code, warning.line, warning.column) == ("cap-below-one", 2, 25)
    assert {name for name, _ in CAPS} >= {"cispo", "dppo_tv", "ppo_dual_clip", "two_sided_clip"}


@pytest.mark.parametrize("name", SHIPPED)
def test_t25_defaults_never_cap_below_1(name):
    """On policy every objective gives a token the gradient -A: no default shrinks it, nor adds to it."""
    for sign in (1.0, -1.0, 0.25):
        assert lone(name, 1.0, sign).gradient.item() == pytest.approx(-sign, rel=1e-9)
    assert "cap-below-one" not in objective(name).resolved.flat.allows


# s = exp((0.3 - 0.1) / 2) = 1.105171; a mean of the sequence halves it for each token, a sum of both does not
GEOMETRIC = {"gspo": 0.552585, "gspo_token": 0.552585, "gmpo": 0.552585, "luspo": 1.105171}


@pytest.mark.parametrize("name", GEOMETRIC)
def test_t26_gspo(name):
    """A "GSPO" that clips tokens, or counts masked ones, is another objective (Soup #723, reasoning-from-scratch #243).

    Log-ratios 0.3, -0.1 and a masked 50: the masked one changes nothing, whatever it is.
    """
    found = []
    for hidden in (50.0, -3.0, np.nan):
        batch = plain([[0.3, -0.1, hidden]], [1.0], mask=np.array([[True, True, False]]))
        result = run(loss_of(name, eps_low=0.5, eps_high=0.5), batch)
        expected = [-GEOMETRIC[name], -GEOMETRIC[name], 0]
        np.testing.assert_allclose(result.gradient[0], expected, rtol=1e-6)
        found.append(result)
    assert found[0].loss == found[1].loss == found[2].loss
    assert found[0].loss == pytest.approx(-1.105171 * (2 if name == "luspo" else 1), rel=1e-6)


def test_t26_every_geometric_ratio_is_looked_at():
    assert {name for name in SHIPPED if "geomean(sequence)" in slot(name, "ratio")} == set(GEOMETRIC)


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
def test_t27_soft_gate(name, params, advantage):
    """A gate that is not normalised makes the temperature a learning rate.

    At a ratio of 1 the derivative is -A exactly, at any steepness; away from it the gate does something.
    """
    assert lone(name, 1.0, advantage, **params).gradient.item() == pytest.approx(-advantage, rel=1e-12)
    ratio = 3.0 if advantage > 0 else 0.3
    assert abs(lone(name, ratio, advantage, **params).gradient.item() + advantage * ratio) > 1e-4


@pytest.mark.parametrize("name", SHIPPED)
def test_t27_every_gate_is_looked_at(name):
    if "_gate" in slot(name, "ratio") or "decay_" in slot(name, "ratio"):
        assert name in SOFT
