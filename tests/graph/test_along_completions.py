"""From token to token of a completion, the largest tokens, quantiles of one completion and one group: numbers by hand.

Every number is asked of the interpreter and of the emitted torch, which takes it padded and packed, with the tokens
of the completions among each other in any order.
"""

import io

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.graph.interpret import Interpretation

from ..batches import Arrays, as_torch, given_advantage, packed
from .family import assert_same, batch, evaluated

NAN = np.nan


def spec(*lines: str) -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO("objective example extends group_ppo\n" + "\n".join(lines) + "\n"))


def eager(*lines: str) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(spec(*lines), backend="eager")


def mingled(arrays: Arrays, seed: int) -> tuple[Arrays, np.ndarray]:
    """The packed form, tokens of all completions interleaved, those of one still in order; and the order."""
    flat = packed(arrays)
    sequence = flat["sequence"]
    slots = np.random.default_rng(seed).permutation(sequence)
    order = np.empty(len(sequence), dtype=int)
    for row in np.unique(sequence):
        order[slots == row] = np.flatnonzero(sequence == row)
    return {
        name: value[order] if value.shape == sequence.shape else value for name, value in flat.items()
    }, order


def values(expression: str, **arrays) -> list[list[float]]:
    """An expression of tokens as the advantage, 0 at untrained ones, by the interpreter."""
    objective = spec(f"advantage = {expression}")
    arrays = {name: np.array(value) for name, value in arrays.items()}
    expected = Interpretation(objective.graph, arrays).output("advantage")
    expected = np.broadcast_to(expected, arrays["mask"].shape)
    loss = maspo_dsl.compile(objective, backend="eager")
    np.testing.assert_allclose(loss.advantage(as_torch(arrays)), expected, rtol=1e-12, atol=1e-12)
    taken = packed({**arrays, "places": np.arange(arrays["mask"].size).reshape(arrays["mask"].shape)})
    for seed in range(3):
        flat, order = mingled(arrays, seed)
        places = taken["places"][order]
        got = loss.advantage(as_torch(flat)).numpy()
        np.testing.assert_allclose(got, expected.ravel()[places], rtol=1e-12, atol=1e-12)
    return expected.tolist()


# Completions of one group: a hole, two tokens, one token, no token.
HOLES = {
    "mask": [[True, False, True, True], [False, True, True, False], [False, False, True, False], [False] * 4],
    "value": [[1.0, NAN, 2, 4], [NAN, 3, 5, NAN], [NAN, NAN, 7, NAN], [NAN] * 4],
    "reward": [10.0, 20.0, 30.0, 40.0],
    "group": [8, 8, 8, 8],
}
BY_HAND = [
    ("position + 0 * value", [[1, 0, 2, 3], [0, 1, 2, 0], [0, 0, 1, 0], [0] * 4]),
    ("position / length + 0 * value", [[1 / 3, 0, 2 / 3, 1], [0, 0.5, 1, 0], [0, 0, 1, 0], [0] * 4]),
    ("next(value)", [[2, 0, 4, 0], [0, 5, 0, 0], [0] * 4, [0] * 4]),
    ("next(next(value))", [[4, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]),
    ("next(position) + 0 * value", [[2, 0, 3, 0], [0, 2, 0, 0], [0] * 4, [0] * 4]),
    ("discounted_sum(value, 1)", [[7, 0, 6, 4], [0, 8, 5, 0], [0, 0, 7, 0], [0] * 4]),
    ("discounted_sum(value, 0.5)", [[3, 0, 4, 4], [0, 5.5, 5, 0], [0, 0, 7, 0], [0] * 4]),
    ("discounted_sum(value, 0)", [[1, 0, 2, 4], [0, 3, 5, 0], [0, 0, 7, 0], [0] * 4]),
    ("discounted_sum(value, -1)", [[3, 0, -2, 4], [0, -2, 5, 0], [0, 0, 7, 0], [0] * 4]),
    # factors 0.1, 0.2, 0.3 of the completions: 1 + 0.1 (2 + 0.4) = 1.24
    ("discounted_sum(value, reward / 100)", [[1.24, 0, 2.4, 4], [0, 4, 5, 0], [0, 0, 7, 0], [0] * 4]),
    ("previous(value)", [[0, 0, 1, 2], [0, 0, 3, 0], [0] * 4, [0] * 4]),
    ("running_sum(value, 1)", [[1, 0, 3, 7], [0, 3, 8, 0], [0, 0, 7, 0], [0] * 4]),
    ("running_sum(value, 0.5)", [[1, 0, 2.5, 5.25], [0, 3, 6.5, 0], [0, 0, 7, 0], [0] * 4]),
    # the factor of the later token: 2 + 0.2 * 1 = 2.2, then 4 + 0.4 * 2.2
    ("running_sum(value, value / 10)", [[1, 0, 2.2, 4.88], [0, 3, 6.5, 0], [0, 0, 7, 0], [0] * 4]),
    # the factor of the earlier token: 2 + 0.2 * 4 = 2.8, then 1 + 0.1 * 2.8
    ("discounted_sum(value, value / 10)", [[1.28, 0, 2.8, 4], [0, 4.5, 5, 0], [0, 0, 7, 0], [0] * 4]),
    ("running_max(5 - value)", [[4, 0, 4, 4], [0, 2, 2, 0], [0, 0, -2, 0], [0] * 4]),
    ("running_min(abs(value - 2))", [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 5, 0], [0] * 4]),
    ("at_end(reward) + 0 * value", [[0, 0, 0, 10], [0, 0, 20, 0], [0, 0, 30, 0], [0] * 4]),
    # deltas at gamma 1: 2 - 1, 4 - 2, 10 - 4; 5 - 3, 20 - 5; 30 - 7
    ("reward |> at_end |> gae(1, 0)", [[1, 0, 2, 6], [0, 2, 15, 0], [0, 0, 23, 0], [0] * 4]),
    ("reward |> at_end |> gae(1, 1)", [[9, 0, 8, 6], [0, 17, 15, 0], [0, 0, 23, 0], [0] * 4]),
    # deltas at gamma 0.5: 1 - 1, 2 - 2, 6; 2.5 - 3, 15; 23. Then gamma lambda = 0.25: 0.25 * 6, 0.25 * 1.5
    ("reward |> at_end |> gae(0.5, 0.5)", [[0.375, 0, 1.5, 6], [0, 3.25, 15, 0], [0, 0, 23, 0], [0] * 4]),
    ("value - quantile(value, 0.5, sequence)", [[-1, 0, 0, 2], [0, -1, 1, 0], [0] * 4, [0] * 4]),
    ("0 * value + quantile(value, 0.25, sequence)", [[1.5, 0, 1.5, 1.5], [0, 3.5, 3.5, 0], [0, 0, 7, 0], [0] * 4]),
    # of 1 2 4 3 5 7: a quarter of the way from the second to the third
    ("0 * value + quantile(value, 0.25, group)", [[2.25, 0, 2.25, 2.25], [0, 2.25, 2.25, 0], [0, 0, 2.25, 0], [0] * 4]),
    (
        "0 * value + quantile(value, 1, sequence, of = value < 3, empty = -reward)",
        [[2, 0, 2, 2], [0, -20, -20, 0], [0, 0, -30, 0], [0] * 4],
    ),
    (
        "0 * value + quantile(value, 0, group, of = value > 9, empty = max(reward, group))",
        [[30, 0, 30, 30], [0, 30, 30, 0], [0, 0, 30, 0], [0] * 4],
    ),
    ("0 * value + quantile(reward, 0.25, group)", [[15, 0, 15, 15], [0, 15, 15, 0], [0, 0, 15, 0], [0] * 4]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), BY_HAND, ids=[e for e, _ in BY_HAND])
def test_by_hand(expression, expected):
    np.testing.assert_allclose(values(expression, **HOLES), expected, rtol=1e-12, atol=1e-12)


def test_without_a_masked_token():
    """The last token of the last completion ends the batch."""
    whole = {"mask": [[True, True], [True, True]], "value": [[1.0, 2], [4, 8]]}
    assert values("discounted_sum(value, 0.5)", **whole) == [[2, 2], [8, 8]]
    assert values("next(value)", **whole) == [[2, 0], [8, 0]]
    assert values("position + 0 * value", **whole) == [[1, 2], [1, 2]]


LARGEST = {
    "mask": [[True, True, False, True], [True, True, True, False]],
    "logp": np.full((2, 4), -1.0),
    "logp_old": np.full((2, 4), -1.0),
    "value": [[3.0, 1, 9, 3], [2, 3, -np.inf, 9]],
    "advantage": [1.0, 1.0],
}


def chosen(condition: str, arrays=LARGEST, **params) -> list[list[int]]:
    """Tokens that a mute takes: those without a gradient."""
    arrays = {name: np.array(value) for name, value in arrays.items()}
    objective = spec(
        "param share = 0.5 in [0, 1]", f"mute these where {condition}", "penalty p = 0 * share * policy"
    )
    loss = maspo_dsl.compile(objective, params=params, backend="eager")
    flat, order = mingled(arrays, 1)
    tensors, moved = as_torch(arrays), as_torch(flat)
    for x in (tensors, moved):
        loss(x).loss.backward()
    taken = packed({**arrays, "places": np.arange(8).reshape(2, 4)})["places"][order]
    np.testing.assert_array_equal(moved["logp"].grad, tensors["logp"].grad.ravel()[taken])
    by_oracle = Interpretation(loss.objective.graph, arrays).gradient("loss")
    np.testing.assert_allclose(by_oracle, tensors["logp"].grad)
    return ((tensors["logp"].grad == 0).numpy() & arrays["mask"]).astype(int).tolist()


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.2, [[1, 0, 0, 0], [0, 0, 0, 0]]),  # int(1.2): of the three 3s the earliest
        (0, [[1, 0, 0, 0], [0, 0, 0, 0]]),  # at least one
        (0.34, [[1, 0, 0, 1], [0, 0, 0, 0]]),  # int(2.04): the tie ends within the first completion
        (0.5, [[1, 0, 0, 1], [0, 1, 0, 0]]),
        (0.67, [[1, 0, 0, 1], [1, 1, 0, 0]]),
        (0.9, [[1, 1, 0, 1], [1, 1, 0, 0]]),  # int(5.4)
        (1, [[1, 1, 0, 1], [1, 1, 1, 0]]),  # an infinite one is a member, what is masked is not
    ],
)
def test_top(share, expected):
    assert chosen("top(value, share, micro)", share=share) == expected
    assert chosen(f"top(value, {share}, micro)") == expected


def test_top_of_equal_ones():
    assert chosen("top(0 * value, 0.5, micro)", {**LARGEST, "value": np.zeros((2, 4))}) == [
        [1, 1, 0, 1],
        [0] * 4,
    ]


def test_top_of_the_smallest():
    assert chosen("top(-value, 0.34, micro)") == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_a_share_in_float32_is_the_share_that_was_written():
    """0.0002 of 10000 tokens is 2, although the float32 below 0.0002 is a little less."""
    shape = (10, 1000)
    old = np.random.default_rng(0).normal(size=shape) - 5
    arrays = {"logp": old, "logp_old": old, "mask": np.ones(shape, dtype=bool), "advantage": np.ones(10)}
    for line in ("mute m where top(old, share, micro)", "mute m where pick(old > 0, share, micro)"):
        loss = eager("param share = 0.0002", line)
        tensors = as_torch(arrays, torch.float32)
        loss(tensors).loss.backward()
        assert int((tensors["logp"].grad == 0).sum()) == 2


@pytest.mark.parametrize("factor", [0, 0.3, 0.95, 0.9999, 1])
@pytest.mark.parametrize("length", [4000, 4096])
def test_long_completions_in_float32(factor, length):
    """Against the recurrence in float64: no overflow by factor ^ -t, no error that grows with the length."""
    random = np.random.default_rng(0)
    mask = random.random((2, length)) < 0.9
    value = random.normal(size=mask.shape)
    value32 = torch.as_tensor(value, dtype=torch.float32)
    loss = eager("param f = 0.5 in [0, 1]", "advantage = discounted_sum(value, f)")
    loss.params["f"].fill_(factor)
    got = loss.advantage({"mask": torch.as_tensor(mask), "value": value32})
    expected = np.zeros(mask.shape)
    for row in range(2):
        rest = 0.0
        for t in reversed(np.flatnonzero(mask[row])):
            rest = float(value32[row, t]) + float(torch.tensor(factor).float()) * rest
            expected[row, t] = rest
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_what_is_not_a_number_stays_in_its_completion():
    value = np.array([[1.0, 2, 3], [NAN, 1, 1], [4, 5, 6]])
    arrays = {"mask": np.ones((3, 3), dtype=bool), "value": value}
    for line in ("discounted_sum(value, 0.5)", "next(value)"):
        got = eager(f"advantage = {line}").advantage(as_torch(arrays)).numpy()
        assert np.isfinite(got[[0, 2]]).all() and np.isfinite(got[1, 1:]).all()
    assert torch.isnan(eager("advantage = discounted_sum(value, 0.5)").advantage(as_torch(arrays))[1, 0])
    arrays["value"] = np.array([[1.0, NAN, 3]] * 3)
    assert (
        eager("advantage = discounted_sum(value, 0)").advantage(as_torch(arrays))[:, ::2].tolist()
        == [[1, 3]] * 3
    )


def test_untrained_advantages_are_not_looked_at():
    """An advantage a token is NaN where nothing is trained."""
    loss = eager("advantage = value", "weight w = 1 + sigmoid(discounted_sum(A, 0.5) + next(A))")
    arrays = given_advantage(3, token=True, extreme=False)
    assert np.isnan(arrays["advantage"]).any()
    tensors = as_torch(arrays)
    loss(tensors).loss.backward()
    expected = evaluated(loss.objective.graph, arrays)["gradient"]
    np.testing.assert_allclose(tensors["logp"].grad, expected, rtol=1e-12, atol=1e-15)


EVERYTHING = (
    "advantage = (at_end(reward) |> gae(0.9, 0.8) |> whiten(rollout_batch)) + 0.1 * quantile(value, 0.3, group)",
    "weight w = 1 + sigmoid(next(old) - discounted_sum(old, eps_low)) * position / length",
    "mute m where top(old, 0.2, micro)",
    "exclude e where entropy(policy) > quantile(entropy(policy), 0.8, sequence) and A > 0",
    "penalty p = 0.1 * k2(policy, old) * quantile(per_token(A), 0.4, group, of = old > 0.2, empty = 1)",
)


@pytest.mark.parametrize("shape", [(4, 0), (0, 3)])
def test_batch_without_columns_or_rows(shape):
    loss = eager(*EVERYTHING, "weight v = max(old, micro) + min(old, sequence) + quantile(old, 0.5, micro)")
    names = ("logp", "logp_old", "entropy", "value")
    arrays = {name: np.zeros(shape) for name in names} | {"mask": np.zeros(shape, dtype=bool)}
    arrays |= {"reward": np.zeros(shape[0]), "group": np.zeros(shape[0], dtype=int)}
    tensors = as_torch(arrays)
    out = loss(tensors)
    out.loss.backward()
    assert out.loss == 0 and tensors["logp"].grad.shape == shape
    assert loss.advantage(as_torch(arrays)).shape == shape
    micro_batches = [as_torch(arrays), as_torch(batch())]
    with pytest.raises(
        maspo_dsl.BatchError, match="rollout_batch, and these micro-batches have more than one"
    ):
        loss.window(micro_batches)
    micro_batches = [{**each, "advantage": loss.advantage(each)} for each in micro_batches]
    alone, together = loss.window(micro_batches[1:]), loss.window(micro_batches)
    assert alone["tokens"] > 0
    torch.testing.assert_close(together, alone)


def test_everything_padded_and_packed():
    loss, arrays = eager(*EVERYTHING), batch(2)
    expected = evaluated(loss.objective.graph, arrays)
    assert np.abs(expected["gradient"]).max() > 1e-4
    for form, order in ((arrays, None), mingled(arrays, 0)):
        tensors = as_torch(form)
        out = loss(tensors)
        out.loss.backward()
        gradient = (
            expected["gradient"]
            if order is None
            else packed({**arrays, "g": expected["gradient"]})["g"][order]
        )
        assert_same({"loss": out.loss.detach().numpy(), "gradient": tensors["logp"].grad.numpy()},
                    {"loss": expected["loss"], "gradient": gradient}, 1e-12)  # fmt: skip


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_one_graph_for_every_length(backend):
    """In the loss, under torch.compile: sizes are unknown, and no value is asked of the device."""
    compiled, plain = maspo_dsl.compile(spec(*EVERYTHING), backend=backend), eager(*EVERYTHING)
    for rows in (range(16), range(1, 6), range(6, 7)):
        arrays = {name: value[list(rows)] for name, value in batch(3).items()}
        found = []
        for loss in (compiled, plain):
            tensors = as_torch(arrays, torch.float32)
            out = loss(tensors)
            out.loss.backward()
            found.append((out.loss.item(), tensors["logp"].grad.numpy()))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)
    assert compiled.compilations == 1


def test_a_group_value_counts_once_a_group():
    """Groups of three, one, two completions with means 1, 7 and 5: the median is 5, the mean 13 / 3, the largest 7."""
    arrays = {"mask": [[True]] * 6, "reward": [0.0, 1, 2, 7, 4, 6], "group": [1, 1, 1, 2, 3, 3]}
    arrays = {name: np.array(value) for name, value in arrays.items()}
    for expression, expected in [
        ("quantile(mean(reward, group), 0.5, rollout_batch)", 5),
        ("quantile(mean(reward, group), 0.25, rollout_batch, of = mean(reward, group) < 6, empty = 0)", 2),
        ("mean(mean(reward, group), rollout_batch)", 13 / 3),
        ("max(mean(reward, group), rollout_batch)", 7),
        ("min(mean(reward, group), rollout_batch)", 1),
        ("count(mean(reward, group), rollout_batch)", 3),
    ]:
        loss = eager(f"advantage = {expression} + 0 * reward")
        assert loss.advantage(as_torch(arrays)).tolist() == pytest.approx([expected] * 6), expression
        by_oracle = Interpretation(loss.objective.graph, arrays).output("advantage")
        assert by_oracle.tolist() == pytest.approx([expected] * 6)


def test_a_condition_of_completions_among_tokens():
    """`of` is a condition of completions here, of which there are as many as tokens in a row."""
    arrays = {"mask": np.ones((3, 3), dtype=bool), "reward": np.array([1.0, 0, 1])}
    arrays["value"] = np.array([[1.0, 2, 3], [10, 20, 30], [4, 5, 6]])
    line = "0 * value + quantile(value, 0.5, rollout_batch, of = correct, empty = 0)"
    assert values(line, **arrays) == [[3.5] * 3] * 3


@pytest.mark.parametrize(
    "folded",
    [
        "rank(0 * reward, group)", "kth(0 * reward + 3, group, 1)", "quantile(0 * reward + 3, 0.4, group)",
        "quantile(0 * reward + 0.1, 0.4, rollout_batch)", "max(0 * reward - 0.1, group)",
        "sum(0 * reward + 0.1, group)", "sum(0 * old + 0.1, sequence)",
        "min(0 * reward - 0.1, rollout_batch)", "quantile(0 * old + 0.1, 0.4, sequence)",
    ],
)  # fmt: skip
def test_what_passes_made_a_number(folded):
    """A value that folds to a number is reduced like any other, in the precision of the batch."""
    loss = eager(f"advantage = reward * {folded}")
    expected = Interpretation(loss.objective.graph, batch()).output("advantage")
    np.testing.assert_allclose(loss.advantage(as_torch(batch())), expected, rtol=1e-15)


def test_what_passes_made_a_number_in_the_window():
    reduced = ["quantile(0 * old + 0.1, 0.4, window)", "max(0 * old + 2, window)", "min(0 * old - 2, window)"]
    lines = [f"penalty p{number} = policy * {value}" for number, value in enumerate(reduced)]
    loss, tensors = eager(*lines), as_torch(batch())
    assert loss(tensors).loss.item() == pytest.approx(float(evaluated(loss.objective.graph, batch())["loss"]))


def test_a_let_named_like_an_operation():
    """The generated function calls `sum_within` and has a value of that name."""
    text = [
        "let sum_within = old * 2",
        "let masked = 1 + sum_within",
        "weight w = masked * sum(sum_within, sequence)",
    ]
    loss, tensors = eager(*text), as_torch(batch())
    assert loss(tensors).loss.item() == pytest.approx(float(evaluated(loss.objective.graph, batch())["loss"]))
