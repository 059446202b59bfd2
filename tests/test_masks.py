"""Masks and corrections by hand: which tokens give nothing, and which denominator they leave."""

import numpy as np
import pytest

import maspo_dsl

from .batches import Arrays, as_torch, given_advantage, rows_of, split
from .reference.catalogue import REFERENCES
from .reference.masks import draw
from .running import compiled, run


def tokens(policy, **more) -> Arrays:
    """One completion a token, all on policy with A = 1 unless said otherwise: the gradient is then -1 / counted."""
    policy = np.array(policy, dtype=float)[:, None]
    batch = {
        "logp": np.log(policy),
        "logp_old": np.log(policy),
        "logp_rollout": np.log(policy),
        "advantage": np.ones(len(policy)),
        "mask": np.ones(policy.shape, dtype=bool),
    }
    columns = {name: np.array(value, dtype=float).reshape(policy.shape) for name, value in more.items()}
    if "advantage" in columns:
        columns["advantage"] = columns["advantage"][:, 0]
    return {**batch, **columns}


def pushes(name: str, batch: Arrays, **params: float) -> list[float]:
    """Minus the gradient of every trained token, of the spec; the reference's must be the same."""
    gradient = run(name, batch, params)[1]
    np.testing.assert_allclose(gradient, REFERENCES[name].dloss_dlogp(batch, params), rtol=1e-9, atol=1e-14)
    return (-gradient[batch["mask"]]).tolist()


def near(*values: float) -> object:
    return pytest.approx(list(values), rel=1e-9, abs=1e-14)


RARE = tokens(
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9], entropy=[1, 2, 3, 4, 0.1, 0.2, 9], advantage=[1, 1, 1, 1, -1, 1, 1]
)
"""Five improbable tokens, one of them of a bad completion, and two probable ones."""


def test_stapo_excludes_certain_tokens_among_improbable_good_ones():
    """The median of 1, 2, 3, 4 is 2.5: two of seven go, from the denominator too."""
    fifth = 1 / 5
    assert pushes("stapo", RARE, tau_p=0.5, q=0.5) == near(0, 0, fifth, fifth, -fifth, fifth, fifth)
    assert pushes("stapo", RARE, tau_p=0.5, q=0) == near(*[1 / 7] * 4, -1 / 7, 1 / 7, 1 / 7)
    assert pushes("stapo", RARE, tau_p=0.05, q=1) == near(*[1 / 7] * 4, -1 / 7, 1 / 7, 1 / 7)


def test_stapo_v1_compares_with_all_tokens():
    """The median of all seven is 2: one token of entropy 1 is below it, of the improbable good ones."""
    sixth = 1 / 6
    assert pushes("stapo_v1", RARE, tau_p=0.5, q=0.5) == near(0, *[sixth] * 3, -sixth, sixth, sixth)


def test_stapo_maspo_excludes_the_same_tokens():
    fifth = 1 / 5
    assert pushes("stapo_maspo", RARE, tau_p=0.5, q=0.5) == near(0, 0, fifth, fifth, -fifth, fifth, fifth)


def test_top_entropy_tokens_alone_are_trained_and_all_count():
    """The 0.6-quantile of 0, 1, 2, 3, 4, 5 is 3, which is not below itself."""
    batch = tokens([0.5] * 6, entropy=[5, 3, 0, 4, 1, 2])
    assert pushes("top_entropy", batch, share=0.4) == near(1 / 6, 1 / 6, 0, 1 / 6, 0, 0)


def test_opsm_mutes_bad_completions_that_have_drifted_away():
    """By half a nat a token: the first by more, the second by less, the third is good."""
    batch = tokens([0.1, 0.1, 0.1], advantage=[-1, -1, 1])
    batch["logp_old"] = batch["logp"] + np.array([[0.6], [0.4], [0.1]])
    ratio = np.exp(-0.1) / 3
    muted, clipped, pushed = pushes("grpo_opsm", batch, eps_low=0.1)
    assert (muted, clipped, pushed) == (0, 0, pytest.approx(ratio))
    assert pushes("grpo_opsm", batch, eps_low=0.9)[:2] == near(0, -np.exp(-0.4) / 3)


COVARYING = tokens(np.exp([-4, -3, -2, -0.5, -0.25, -2.25]), advantage=[-2, 0, 0, 1, 1, 0])
"""Mean log-prob -2 and mean advantage 0: covariances 4, 0, 0, 1.5, 1.75 and 0."""


def test_kl_cov_pays_for_the_most_covarying():
    """A sixth is the first token alone, a half two more. On policy the absolute log-ratio has no slope."""
    moved = COVARYING["logp_old"] + np.array([[0.01], [0], [0], [0], [-0.01], [0]])
    batch = {**COVARYING, "logp": moved}
    plain = COVARYING["advantage"] * np.exp(moved - COVARYING["logp_old"])[:, 0] / 6
    first, second = np.array([1, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 1, 0])
    paid = 0.5 / 6
    assert pushes("kl_cov", batch, share=0.2, beta=0.5) == near(*(plain - paid * first))
    assert pushes("kl_cov", batch, share=0.5, beta=0.5) == near(*(plain - paid * (first - second)))


def test_kl_cov_takes_the_earlier_of_equal_tokens():
    """The last three are the same token: one of them is in the better half. None is clipped."""
    batch = tokens(np.exp([-4, -1, -1, -1]), advantage=[0, 1, 1, 1])
    batch["logp"] = batch["logp"] + 0.5
    plain = batch["advantage"] * np.exp(0.5) / 4
    assert pushes("kl_cov", batch, share=0.5, beta=1) == near(*(plain - np.array([0.25, 0.25, 0, 0])))


def test_clip_cov_draws_among_the_covarying_that_are_not_clipped():
    """Three of six have a covariance between 1 and 5; two fifths of six tokens are two of them."""
    plain = COVARYING["advantage"] / 6
    drawn = sorted([0, 3, 4], key=lambda row: draw(float(COVARYING["logp_old"][row, 0])))[:2]
    assert pushes("clip_cov", COVARYING, share=0.4) == near(*np.where(np.isin(range(6), drawn), 0, plain))
    assert pushes("clip_cov", COVARYING, share=0.4, cov_low=1.6) == near(0, 0, 0, 1 / 6, 0, 0)
    assert pushes("clip_cov", COVARYING, share=0.4, cov_low=5, cov_high=6) == near(*plain)


def test_entropy_is_added_to_the_advantage_up_to_a_share_of_it():
    """A = 1, 1, -1, -1 with 0.4 H = 0.2 or 40: min(0.2, 1/2) and min(40, 1/2) more; what is 0 stays."""
    batch = tokens([0.5] * 5, entropy=[0.5, 100, 0.5, 100, 100], advantage=[1, 1, -1, -1, 0])
    assert pushes("entropy_advantage", batch) == near(1.2 / 5, 1.5 / 5, -0.8 / 5, -0.5 / 5, 0)


OFF = tokens([0.5, 0.5, 0.5, 0.5])
OFF["logp_rollout"] = OFF["logp_old"] - np.log([[1.0], [2.5], [8.0], [0.25]])
"""old / rollout = 1, 2.5, 8 and 1/4."""


def test_truncated_masked_and_rejected():
    """Capped and all counted; as they are, 0 outside, all counted; and only those inside, counted alone."""
    quarter = 1 / 4
    assert pushes("tis", OFF) == near(quarter, 2 * quarter, 2 * quarter, quarter**2)
    assert pushes("mis", OFF) == near(quarter, 2.5 * quarter, 0, 0)
    assert pushes("rejection", OFF, high=3) == near(0.5, 0.5, 0, 0)
    assert pushes("mis_product", OFF) == near(quarter, 2.5 * quarter, 0, quarter**2)


def in_one_completion(weights: list[float]) -> Arrays:
    """Two completions: one whose tokens have these weights, one of a single token of weight 1."""
    wide = {name: np.log(np.full((2, len(weights)), 0.5)) for name in ("logp", "logp_old", "logp_rollout")}
    wide["logp_rollout"][0] -= np.log(weights)
    mask = np.ones((2, len(weights)), dtype=bool)
    mask[1, 1:] = False
    return {**wide, "mask": mask, "advantage": np.ones(2)}


def test_weights_of_whole_completions():
    """Of 8, 2 and 1/2 the product is 8 and the geometric mean 2."""
    batch, quarter = in_one_completion([8, 2, 0.5]), 1 / 4
    assert pushes("tis_product", batch, cap=100) == near(2, 2, 2, quarter)
    assert pushes("tis_geometric", batch, cap=100) == near(0.5, 0.5, 0.5, quarter)
    assert pushes("mis_geometric", batch, low=0.5, high=3) == near(0.5, 0.5, 0.5, quarter)
    assert pushes("mis_geometric", batch, low=0.5, high=1.9) == near(0, 0, 0, quarter)
    assert pushes("rejection_geometric", batch, low=0.5, high=1.9) == near(0, 0, 0, 1)
    assert pushes("rejection_geometric", batch, low=0.5, high=2.1) == near(*[quarter] * 4)
    assert pushes("rejection_product", batch, low=0.5, high=7.9) == near(0, 0, 0, 1)
    assert pushes("vcpo", batch, cap=6) == near(1, 1, 1, 0.5)


def vcpo_step(weights: list[float], **params: float) -> float:
    batch = tokens([0.5] * len(weights))
    batch["logp_rollout"] = batch["logp_old"] - np.log(weights)[:, None]
    step = compiled("vcpo", params).step([as_torch(batch)]).item()
    assert step == pytest.approx(REFERENCES["vcpo"].step(batch, REFERENCES["vcpo"].setting(params)), rel=1e-9)
    return step


def test_step_of_vcpo():
    """Of 3 and 1, (3 + 1)^2 / (2 (9 + 1)) = 4/5 is effective: however small the weights, and not capped by 8."""
    assert vcpo_step([3, 1]) == pytest.approx(0.8**0.5)
    assert vcpo_step([3e-8, 1e-8]) == pytest.approx(0.8**0.5)
    assert vcpo_step([300, 100]) == pytest.approx(0.8**0.5)
    assert vcpo_step([3, 1], ess_base=0.9) == pytest.approx((0.8 / 0.9) ** 0.5)
    assert vcpo_step([3, 1], ess_base=0.55) == 1
    assert vcpo_step([0.2, 0.2, 0.2]) == pytest.approx(1)


def test_a_step_on_several_ranks_is_never_that_of_one(monkeypatch):
    loss, batch = compiled("vcpo"), as_torch(given_advantage(0))
    window = loss.window([batch])
    monkeypatch.setitem(type(loss.module).step.__globals__, "number_of_ranks", lambda: 2)
    with pytest.raises(maspo_dsl.BatchError, match="with 2 ranks the denominators"):
        loss.step([batch])
    assert loss.step([batch], denominators=window).item() < 1


def test_step_of_vcpo_is_of_the_whole_window():
    """However it is cut; completions without a trained token have no weight."""
    reference = REFERENCES["vcpo"]
    for seed in range(3):
        batch = given_advantage(seed)
        expected = reference.step(batch, reference.setting({}))
        for parts in (1, 2, 5):
            pieces = [as_torch(rows_of(batch, rows)) for rows in split(batch, parts, seed)]
            assert compiled("vcpo").step(pieces).item() == pytest.approx(expected, rel=1e-9)
            windows = [compiled("vcpo").window([piece]) for piece in pieces]
            added = {name: sum(window[name] for window in windows) for name in windows[0]}
            step = compiled("vcpo").step(pieces[:1], denominators=added)  # a rank has its own part alone
            assert step.item() == pytest.approx(expected, rel=1e-9)
        assert 0.1 < expected < 0.99
