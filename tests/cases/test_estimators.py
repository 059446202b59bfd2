"""What a completion is worth beside its siblings: equal, alone, missing, rejected, in any order."""

import numpy as np
import pytest
import torch

from ..batches import as_torch
from .subjects import SHIPPED, advantages, completions, loss_of, objective, run, same, slot

UNCENTRED = {"topr", "remax"}
"""Whose baseline is not made of the completions: 0, and the greedy completion's reward."""

OVER_THE_ROLLOUT = {"ppo", "reinforce_plus_plus"}
"""Whose only baseline is the mean over all tokens of the rollout: a group among others has no mean of 0."""

SIZES = (3, 5, 6, 7, 8, 16)
REWARDS = (0.1, 0.2, 0.3, 0.35, 0.7, 1 / 3)


def rollouts_of_equals(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rewards and groups: groups of one reward each, in a rollout of their own where others would be its baseline."""
    pairs = [np.full(size, reward) for size in SIZES for reward in REWARDS]
    if name in OVER_THE_ROLLOUT:
        return [(rewards, np.zeros(len(rewards), dtype=int)) for rewards in pairs]
    return [(np.concatenate(pairs), np.repeat(np.arange(len(pairs)), [len(rewards) for rewards in pairs]))]


@pytest.mark.parametrize("name", SHIPPED)
def test_t16_equal_rewards(name):
    """The mean of n equal numbers is off by a rounding, and a spread of 1e-8 made 0.7 of it (verl #4597).

    Groups of 3 to 16 equal rewards teach nothing: advantages are exactly 0, in float32 too.
    """
    for reward, group in rollouts_of_equals(name):
        for dtype in (torch.float32, torch.float64):
            values = advantages(name, reward, group, dtype=dtype)
            expected = reward.astype(values.dtype) if name in UNCENTRED else np.zeros(len(reward))
            assert np.array_equal(values.T, np.broadcast_to(expected, values.T.shape))


LEAVE_ONE_OUT = {
    # the other seven of a wrong completion are 0.95 each; of a right one, 0 and six times 0.95, of mean 0.814285714
    "rloo": (-0.95, 0.1357142857),
    # and of spread sqrt((0.814285714^2 + 6 * 0.135714286^2) / 6); the wrong one's others have none, so it is undivided
    "grpo_leave_one_out": (-0.95, 0.377964473),
}


@pytest.mark.parametrize("name", LEAVE_ONE_OUT)
def test_t17_leave_one_out_residue(name):
    """The others of a lone failure are all right, so their spread is a rounding: -0.95 became -2075 (NeMo #4158)."""
    for dtype in (torch.float32, torch.float64):
        values = advantages(name, [0.0] + [0.95] * 7, [0] * 8, dtype=dtype)
        wrong, right = LEAVE_ONE_OUT[name]
        np.testing.assert_allclose(values, [wrong] + [right] * 7, rtol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_t17_no_estimator_blows_up(name):
    """One failure among seven equal completions is at most the (n - 1) / sqrt(n) spreads that n numbers allow."""
    for dtype in (torch.float32, torch.float64):
        values = np.abs(advantages(name, [0.0] + [0.95] * 7, [0] * 8, dtype=dtype))
        assert values.max() < 15 / 4


@pytest.mark.parametrize("name", SHIPPED)
def test_t18_singleton(name):
    """Alone in its group, a completion kept its raw reward, or got 0 / 0 (verl #7793, DeepAnalyze #116).

    It leads by nothing: 0. Estimators without the group's baseline give what they give any completion. A group gets
    the same by itself and among others; that all groups are singletons is a metric.
    """
    reward, group = np.array([3.0, 1.0, 0.0, -2.0]), np.array([0, 1, 1, 2])
    values = advantages(name, reward, group)
    assert np.isfinite(values).all()
    if name in UNCENTRED:
        assert np.array_equal(values, reward)
    elif name not in OVER_THE_ROLLOUT:
        assert not values[[0, 3]].any() and not advantages(name, [3.0], [0]).any()
        batch = completions(3, [2, 3, 1], group=[4, 9, 2])
        metrics = loss_of(name)(as_torch(batch)).metrics
        if "zero_signal_groups" in metrics:
            assert metrics["zero_signal_groups"].item() == 1
    if "rollout_batch" not in objective(name).resolved.text:
        same(advantages(name, reward[1:3], group[1:3]), values[1:3])


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("missing", [[3], [0, 1, 2, 3, 4, 5, 6], list(range(8)), [0, 7]], ids=str)
def test_t19_missing_reward(name, missing):
    """One reward that is None made every advantage NaN and the loss 0, unseen (ms-swift #8123, TRL #5902).

    The others are as if the row were not there; the row's advantage is 0 and nothing of it is trained.
    """
    batch = completions(21, [3, 6, 1, 4, 5, 2, 6, 3], group=[0, 0, 1, 1, 1, 0, 0, 1])
    batch["reward"][missing] = np.nan
    left = np.setdiff1d(np.arange(8), missing)
    rest = {key: value[left] for key, value in batch.items()}
    values = loss_of(name).advantage(as_torch(batch)).numpy()
    assert np.isfinite(values).all() and not values[missing].any()
    found = run(loss_of(name), batch)
    assert np.isfinite(found.loss) and not found.gradient[missing].any()
    if not len(left):
        assert found.loss == 0
        return
    expected = run(loss_of(name), rest)
    np.testing.assert_allclose(values[left], loss_of(name).advantage(as_torch(rest)), rtol=1e-9, atol=1e-12)
    assert found.loss == pytest.approx(expected.loss, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(found.gradient[left], expected.gradient, rtol=1e-9, atol=1e-14)
    assert expected.gradient.any() or len(left) == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_t20_rejected_sibling(name):
    """A rejected completion of reward 100 stayed in its sibling's baseline: -49.5 (verl #6375, OpenRLHF #1239)."""
    mask = np.array([[False, False], [True, True], [True, True]])
    pair = advantages(name, [100.0, 1.0], [0, 0], mask[:2])
    assert not pair[0].any()
    np.testing.assert_array_equal(pair[1:], advantages(name, [1.0], [0]))
    three = advantages(name, [100.0, 1.0, 0.25], [0, 0, 0], mask)
    assert not three[0].any()
    same(three[1:], advantages(name, [1.0, 0.25], [0, 0]))


@pytest.mark.parametrize("name", SHIPPED)
def test_t21_group_ids(name):
    """Groups are told by their ids, never by their place or a fixed size (NeMo #3882, rLLM #776).

    Groups of 1, 2, 4 and 5 in order; shuffled; and with ids that are negative and far apart: the same completions get
    the same advantages. Told otherwise they get others.
    """
    batch = completions(22, [3, 6, 1, 4, 5, 2, 6, 3, 2, 2, 4, 5], group=np.repeat([0, 1, 2, 3], [1, 2, 4, 5]))
    values = loss_of(name).advantage(as_torch(batch)).numpy()
    order = np.random.default_rng(5).permutation(12)
    moved = {key: value[order] for key, value in batch.items()}
    moved["group"] = np.array([10**12, -7, 3, -(10**12)])[moved["group"]]
    same(loss_of(name).advantage(as_torch(moved)), values[order])
    if name not in UNCENTRED | OVER_THE_ROLLOUT:
        other = {**batch, "group": np.repeat([0, 1, 2], 4)}
        assert np.abs(loss_of(name).advantage(as_torch(other)).numpy() - values).max() > 0.01


# Three right completions of eight: a mean of 3/8, variance 15/64 (ddof 0) or 15/56 (ddof 1).
THREE_OF_EIGHT = {
    "dr_grpo": (0.625, -0.375),
    "gpg": (0.625, -0.375),
    "dro": (0.625, -0.375),
    "gpg_paper": (0.625, -0.375),
    "opo": (0.625, -0.375),  # all are of one length
    "vcpo": (0.625 / np.sqrt(15 / 64), -0.375 / np.sqrt(15 / 64)),
    "rloo": (5 / 7, -3 / 7),
    # over the spread of the others: two of seven right, or three
    "grpo_leave_one_out": (5 / 7 / np.sqrt(70 / 49 / 6), -3 / 7 / np.sqrt(84 / 49 / 6)),
    # whitened over sixteen tokens, whose variance is 2 * (3 * 0.625^2 + 5 * 0.375^2) / 15 = 1/4
    "reinforce_plus_plus_baseline": (1.25, -0.75),
    "reinforce_plus_plus": (1.25, -0.75),
    "ppo": (1.25, -0.75),
    "remax": (1.0, 0.0),  # the greedy completion has none
    "topr": (1.0, 0.0),
    "grpo_passk": (0.0, 0.0),  # the best leads the second by nothing
}


@pytest.mark.parametrize("name", SHIPPED)
def test_t22_estimator_values(name):
    """ "GRPO with a leave-one-out baseline" is not RLOO; names are told apart by numbers (Relax #174).

    Rewards 1, 1, 1, 0, 0, 0, 0, 0, in two tokens each. An estimator of its own must be in the table.
    """
    if slot(name, "advantage").startswith("reward |> center(group) |> scale(group, ddof = 1, eps = "):
        right, wrong = 1.2076, -0.7246
    else:
        right, wrong = THREE_OF_EIGHT[name]
    values = advantages(name, [1, 1, 1, 0, 0, 0, 0, 0], [5] * 8)
    expected = np.repeat([right, wrong], [3, 5])
    np.testing.assert_allclose(values.T, np.broadcast_to(expected, values.T.shape), rtol=4e-4)


def test_t22_estimator_values_of_the_best():
    """GRPO-passk pays the best of 3, 1, 0, 0 its lead of 2 over their spread, sqrt(6 / 3)."""
    values = advantages("grpo_passk", [1.0, 0.0, 3.0, 0.0], [5] * 4)
    np.testing.assert_allclose(values, [0, 0, 2 / np.sqrt(2), 0], rtol=1e-6)
