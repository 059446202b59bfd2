"""Advantages by hand: of the shipped estimators, and of the references that they are compared with elsewhere."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from maspo_dsl.semantics.quantities import Domain
from maspo_dsl.semantics.types import Axis

from .batches import Arrays, as_torch, inputs, packed, ragged
from .reference.catalogue import REFERENCES
from .running import SHIPPED, compiled, plain, slot

Estimate = Callable[..., list[float]]

WHITENED = ("reinforce_plus_plus_baseline", "reinforce_plus_plus", "ppo")
"""Estimators of each token."""

NAN = np.nan


def completions(
    reward: Sequence[float], group: Sequence[int] | None = None, mask=None, **more: object
) -> Arrays:
    """Completions of one group unless said otherwise, of two trained tokens unless there is a mask."""
    mask = np.ones((len(reward), 2), dtype=bool) if mask is None else np.array(mask, dtype=bool)
    group = np.zeros(len(reward), dtype=int) if group is None else np.array(group)
    tensors = {name: np.array(value, dtype=float) for name, value in more.items()}
    return {"reward": np.array(reward, dtype=float), "group": group, "mask": mask, **tensors}


def shipped(name: str, batch: Arrays, **params: float) -> list[float]:
    return flat(compiled(name, params).advantage(as_torch(batch)).numpy(), batch)


def reference(name: str, batch: Arrays, **params: float) -> list[float]:
    return flat(REFERENCES[name].advantage(batch, params), batch)


def flat(advantage: np.ndarray, batch: Arrays) -> list[float]:
    """Of a sequence, or of the trained tokens one after the other."""
    return (advantage if advantage.ndim == 1 else advantage[batch["mask"]]).tolist()


@pytest.fixture(params=[shipped, reference], ids=["shipped", "reference"])
def estimate(request: pytest.FixtureRequest) -> Estimate:
    return request.param


def near(values: Sequence[float], within: float = 1e-6) -> object:
    return pytest.approx(list(values), abs=within)


@pytest.mark.parametrize(
    ("name", "alone", "others"),
    [("grpo", 2.4749, -0.35355), ("rloo", 1, -1 / 7), ("grpo_passk", 2.8284, 0)],
)
def test_one_of_eight_is_right(estimate, name, alone, others):
    """Spread of 1 among seven 0 is 1 / sqrt(8)."""
    assert estimate(name, completions([1] + [0] * 7)) == near([alone] + [others] * 7, within=1e-3)


def test_leave_one_out_spread(estimate):
    """Where the others are all equal there is nothing to divide by, not even a rounding error."""
    name, root = "grpo_leave_one_out", 1 / 7**0.5
    assert estimate(name, completions([1] + [0] * 7)) == near([1] + [-root] * 7)
    assert estimate(name, completions([0] + [0.95] * 7)) == near([-0.95] + [root] * 7)
    assert estimate(name, completions([1, 0])) == [1, -1]
    assert estimate(name, completions([1, 0, 0.5, 4], [3, 3, 3, 1])) == near(
        [0.75 / 0.125**0.5, -0.75 / 0.125**0.5, 0, 0]
    )


def test_rloo_is_the_centred_reward_of_larger_groups_shrunk(estimate):
    for size in (2, 3, 8):
        rewards = np.random.default_rng(size).normal(size=size)
        expected = size / (size - 1) * (rewards - rewards.mean())
        assert estimate("rloo", completions(rewards)) == near(expected)


def test_opo_weighs_rewards_by_trained_tokens(estimate):
    """A baseline of 3/4 from lengths 3 and 1; the hole in the first completion does not count."""
    mask = [[1, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert estimate("opo", completions([1, 0, 7], [2, 2, 5], mask)) == near([0.25, -0.75, 0])


def test_remax_is_what_sampling_gained(estimate):
    """Against the greedy completion's reward, whatever the group does."""
    batch = completions([1, 0, 0.5, NAN], reward_greedy=[0.25, 0.25, 0.5, 0.5])
    assert estimate("remax", batch)[:3] == [0.75, -0.25, 0]


def test_pass_at_k_rewards_the_lead_of_the_best(estimate):
    """The spread of 3, 1, 0 is sqrt(7/3); a shared first place leads by nothing; one completion leads nobody."""
    assert estimate("grpo_passk", completions([1, 3, 0])) == near([0, 2 / (7 / 3) ** 0.5, 0], within=1e-3)
    assert estimate("grpo_passk", completions([1, 0, 1, 5], [0, 0, 0, 1])) == [0, 0, 0, 0]


HOLE = [[1, 1, 0, 1], [0, 1, 0, 0]]
"""A completion of three tokens with a tool's output between them, and one of a single token."""


def white(raw: Sequence[float]) -> list[float]:
    return [(value - np.mean(raw)) / np.std(raw, ddof=1) for value in raw]


def test_gae(estimate):
    """Of rewards 1 and 0 with lambda 1/2 and gamma 9/10, from the last token back, over the hole.

    0.6 = 1 - 0.4;  0.43 = (0.9 0.4 - 0.2) + 0.45 0.6;  -0.1265 = (0.9 0.2 - 0.5) + 0.45 0.43;  -0.3 = 0 - 0.3.
    """
    batch = completions([1, 0], mask=HOLE, value=[[0.5, 0.2, NAN, 0.4], [NAN, 0.3, NAN, NAN]])
    assert estimate("ppo", batch, **{"gamma": 0.9, "lambda": 0.5}) == near(white([-0.1265, 0.43, 0.6, -0.3]))
    assert estimate("ppo", batch) == near(white([0.5, 0.8, 0.6, -0.3]))  # reward minus value
    assert estimate("ppo", batch, **{"gamma": 0.5, "lambda": 0}) == near(white([-0.4, 0, 0.6, -0.3]))


def test_reinforce_plus_plus_discounts_the_kl_to_come(estimate):
    """Token rewards -0.5 log(old / reference) = -0.1, 0.2, -0.05 + 1 and 0.4, summed from the last back."""
    reference = [[-1.2, -0.6, NAN, -1.1], [NAN, -0.2, NAN, NAN]]
    batch = completions(
        [1, 0], mask=HOLE, logp_old=[[-1, -1, NAN, -1], [NAN] + [-1] + [NAN] * 2], logp_ref=reference
    )
    estimated = estimate("reinforce_plus_plus", batch, kl=0.5, gamma=0.5)
    assert estimated == near(white([0.2375, 0.675, 0.95, 0.4]))
    assert estimate("reinforce_plus_plus", batch, kl=0.5) == near(white([1.05, 1.15, 0.95, 0.4]))


@pytest.mark.parametrize("name", ["reinforce_plus_plus_baseline", "reinforce_plus_plus"])
def test_whitening_counts_tokens_and_is_unbiased(estimate, name):
    """Three tokens of a right completion, one of a wrong one: mean 1/4 above the middle, variance 3/4 / 3."""
    params = {"kl": 0.0} if name == "reinforce_plus_plus" else {}
    assert estimate(name, completions([1, 0], mask=HOLE), **params) == near([0.5, 0.5, 0.5, -1.5])


@pytest.mark.parametrize("reward", [0.1, 0.95, 1 / 3, -7.3, 1e8 + 0.1])
def test_equal_rewards_of_completions_of_any_length(estimate, reward):
    """In groups of 1 to 9: exactly no signal, since no epsilon turns rounding into an advantage."""
    group = np.repeat(np.arange(9), np.arange(1, 10))
    mask = np.arange(4) < 1 + np.arange(len(group))[:, None] % 4
    batch = completions([reward] * len(group), group, mask)
    assert not any(estimate("opo", batch))
    assert not any(estimate("reinforce_plus_plus_baseline", batch))
    assert not any(estimate("reinforce_plus_plus", batch, kl=0.0))


def test_a_single_token_is_no_spread(estimate):
    alone = completions([1], mask=[[0, 1]], value=[[NAN, 0.4]])
    assert estimate("ppo", alone) == estimate("reinforce_plus_plus", alone, kl=0.0) == [0]


@pytest.mark.parametrize("name", WHITENED)
def test_packed_tokens(name):
    batch = ragged(5)
    form = packed(batch)
    advantage = compiled(name).advantage(as_torch(form)).numpy()
    expected = REFERENCES[name].advantage(batch)
    np.testing.assert_allclose(advantage[form["mask"]], expected[batch["mask"]], rtol=1e-9, atol=1e-12)


def test_gpg_makes_up_for_groups_without_signal(estimate):
    """Six completions, two of them in a group without spread: alpha 6/4; all without: 1, and nothing to scale."""
    batch = completions([1, 0, 0, 1, 0.3, 0.3], [0, 0, 1, 1, 2, 2])
    assert estimate("gpg_paper", batch) == near([0.75, -0.75, -0.75, 0.75, 0, 0])


def test_maxrl_divides_by_the_pass_rate(estimate):
    """One right of four: 3/4 and -1/4 over 1/4. Nothing right, all right, or a mean below 0: no signal."""
    assert estimate("max_rl", completions([1, 0, 0, 0])) == [3, -1, -1, -1]
    assert estimate("max_rl", completions([0, 0, 1, 1, -1, 0.5, 1], [0, 0, 1, 1, 2, 2, 3])) == [0] * 7


def test_the_spread_of_the_rollout_divides_in_lite_ppo(estimate):
    """Rewards 3, 1 and 0, 0: the spread of all four is sqrt(2), and each group keeps its mean."""
    assert estimate("lite_ppo", completions([3, 1, 0, 0], [0, 0, 1, 1])) == near(
        [1 / 2**0.5, -1 / 2**0.5, 0, 0], within=1e-4
    )
    assert estimate("lite_ppo", completions([2, 2, 2], [0, 0, 1])) == [0, 0, 0]


def test_gdpo_hears_a_small_reward_beside_a_large_one(estimate):
    """Rewards 100 and 0 with formats 0 and 1: of opposite sign, they cancel however much larger the one is.

    Where the format is the same they do not: 1 / sqrt(2) and its negative, whitened beside the two zeros, whose
    spread is sqrt(1 / 3).
    """
    batch = completions([100, 0, 5, 4], [0, 0, 1, 1], reward_format=[0, 1, 1, 1])
    root = 0.5**0.5 / (1 / 3) ** 0.5
    assert estimate("gdpo", batch) == near([0, 0, root, -root], within=1e-3)
    assert estimate("gdpo", batch, w_format=0)[:2] == near([0.75**0.5, -(0.75**0.5)], within=1e-3)


def test_a_right_completion_counts_a_tenth_in_w_reinforce(estimate):
    assert estimate("nsr", completions([1, 0, -3, 1], [0, 0, 1, 2])) == [0.1, -1, -1, 0.1]
    assert estimate("nsr", completions([1, 0]), positive=0) == [0, -1]


def test_qae_sets_a_group_against_one_side(estimate):
    """One right of five teaches by it, three of four by the failure; the quantile of 1, 2, 5, 9 at 0.4 is 2."""
    spread = 0.2**0.5
    assert estimate("qae", completions([1, 0, 0, 0, 0])) == near([1 / spread, 0, 0, 0, 0], within=1e-5)
    assert estimate("qae", completions([1, 1, 0, 1])) == near([0, 0, -2, 0], within=1e-5)
    values = estimate("qae", completions([9, 1, 5, 2]))
    assert values[3] == 0 and values[0] == pytest.approx(7 / 3 * values[2]) and values[1] < 0
    assert estimate("qae", completions([1, 0, 0]), k=1)[0] == 0
    assert estimate("qae", completions([1, 0, 0]), k=0)[1] == 0


def test_grpo_lead_prefers_the_shorter_of_two_right_completions(estimate):
    """Lengths 1 and 3 of the right ones are 1 / sqrt(2) spreads from their mean, if the three shortest pass `long`."""
    batch = completions([1, 1, 0], mask=[[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]])
    even = estimate("grpo_lead", batch, long=2, steep=0)
    assert even[0] == even[1] > 0 > even[2]
    shaped = np.array([np.exp(0.5 * 0.5**0.5), np.exp(-0.5 * 0.5**0.5), 0])
    expected = (shaped - shaped.mean()) / shaped.std(ddof=1) * 0.95
    assert estimate("grpo_lead", batch, long=1.9, alpha=0.5, steep=0) == near(expected, within=1e-5)


def test_vapo_looks_further_in_longer_completions(estimate):
    """With alpha 1, lambda is 0 for a completion of one token, 2/3 for one of three.

    Values 0.5, 0.2 and 0.4 with a reward of 1: 0.6, then 0.2 + 2/3 0.6 = 0.6, then -0.3 + 2/3 0.6 = 0.1.
    """
    batch = completions([1, 0], mask=HOLE, value=[[0.5, 0.2, NAN, 0.4], [NAN, 0.3, NAN, NAN]])
    assert estimate("vapo", batch, alpha=1) == near(white([0.1, 0.6, 0.6, -0.3]))
    assert estimate("vapo", batch) == near(white([-0.3, 0.2, 0.6, -0.3]))  # a third of 20 tokens: lambda is 0


def test_magistral_punishes_a_tenth(estimate):
    """At the limit a completion loses 0.1 of its reward: 1, 0.9 and 0, with a spread of sqrt(0.3033)."""
    batch = completions([1, 1, 0], mask=[[1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    values = np.array([1, 0.9, 0])
    expected = (values - values.mean()) / values.std(ddof=1)
    assert estimate("magistral", batch, max_length=4, cache=2) == near(expected)


def in_pairs(name: str, reward: Sequence[float], dtype: torch.dtype = torch.float64) -> np.ndarray:
    """Advantages of one group of completions of two tokens; all policies are one, whatever else is asked for is 0."""
    rows = {"reward": np.array(reward, dtype=float), "reward_greedy": np.zeros(len(reward))}
    of_rows = {key: row for key, row in inputs().items() if row.axis is Axis.SEQUENCE}
    rows |= {
        key: np.zeros(len(reward), int if row.domain in (Domain.INDEX, Domain.INTEGER) else float)
        for key, row in of_rows.items()
    }
    rows |= {
        "right": np.ones(len(reward)),
        "wrong": np.ones(len(reward)),
        "usual": np.zeros(len(reward)),
        "prompt_id": np.zeros(len(reward), int),
    }
    tokens = plain(np.zeros((len(reward), 2)), np.zeros(len(reward)))
    batch = {
        **tokens,
        **rows,
        "group": np.full(len(reward), 5),
    }
    return compiled(name).advantage(as_torch(batch, dtype)).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHIPPED)
def test_no_estimator_blows_up(name, dtype):
    """The others of a lone failure are equal, so that their spread is a rounding: -0.95 became -2075 (NeMo #4158).

    One failure among seven equal completions is at most the (n - 1) / sqrt(n) spreads that n numbers allow.
    """
    assert np.abs(in_pairs(name, [0.0] + [0.95] * 7, dtype)).max() < 15 / 4


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
    "max_rl": (5 / 3, -1.0),  # 5/8 and -3/8 over 3/8
    "lite_ppo": (0.625 / np.sqrt(15 / 56), -0.375 / np.sqrt(15 / 56)),  # the rollout is one group
    "gdpo": (0.625 / np.sqrt(15 / 56), -0.375 / np.sqrt(15 / 56)),  # the second reward is 0
    "prime_default": (0.625, -0.375),
    "flash_reinforce": (0.625, -0.375),
    "nsr": (0.1, -1.0),
    "olmo3": (0.625, -0.375),
    # as grpo, times 0.4 + 1.1 / (1 + exp(10 (3/8 - 0.75))), and the same of 5/8
    "grpo_lead": (1.2076 * (0.4 + 1.1 / (1 + np.exp(-3.75))), -0.7246 * (0.4 + 1.1 / (1 + np.exp(-1.25)))),
    "scale_rl": (0.625 / np.sqrt(15 / 56), -0.375 / np.sqrt(15 / 56)),
    "magistral": (0.625 / np.sqrt(15 / 56), -0.375 / np.sqrt(15 / 56)),
    "molt": (
        0.625 / np.sqrt(15 / 64),
        -0.375 / np.sqrt(15 / 64),
    ),  # all tokens, whose spread is not corrected
    "a2po": (1.0, 0.0),  # the optimal value is 0
    "gvpo": (0.625, -0.375),
    "luffy": (0.625, -0.375),  # nothing is an expert's
    "chord": (1.2076, -0.7246),
    "gigpo": (1.2076, -0.7246),  # no step had a reward
    "gfpo": (1.2076, -0.7246),  # all eight are among the shortest
    "optimal_token_baseline": (0.625, -0.375),  # as much is learned from each
    "asymre": (0.725, -0.275),
    "rae": (1.0, 0.0),  # the player had nothing so far
    "oapl": (1 - np.log((3 * np.e + 5) / 8), -np.log((3 * np.e + 5) / 8)),
    "opd": (0.0, 0.0),  # the teacher is of the sampler's mind
    # four drawn are all wrong with 5/70; a wrong one beside three of seven others, four of them wrong, with 4/35
    "passk_training": (5 / np.sqrt(325), (5 / 70 - 4 / 35) * 70 / np.sqrt(325)),
    "spo": (0.625 / np.sqrt(15 / 56), -0.375 / np.sqrt(15 / 56)),  # half of each is expected
    "target_po": (0.625 / np.sqrt(15 / 64), -0.375 / np.sqrt(15 / 64)),
    "qae": (1 / np.sqrt(15 / 56), 0.0),  # 3/8 is at most 1 - 0.4, so the baseline is 0
}


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "vapo"])
def test_three_right_of_eight(name):
    """ "GRPO with a leave-one-out baseline" is not RLOO; names are told apart by numbers (Relax #174).

    Rewards 1, 1, 1, 0, 0, 0, 0, 0, in two tokens each. An estimator of its own must be in the table. VAPO's tokens
    differ.
    """
    if slot(name, "advantage").startswith("reward |> center(group) |> scale(group, ddof = 1, eps = "):
        right, wrong = 1.2076, -0.7246
    else:
        right, wrong = THREE_OF_EIGHT[name]
    values = in_pairs(name, [1, 1, 1, 0, 0, 0, 0, 0])
    expected = np.repeat([right, wrong], [3, 5])
    np.testing.assert_allclose(values.T, np.broadcast_to(expected, values.T.shape), rtol=4e-4)
