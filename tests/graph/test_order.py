"""Gradients along a completion, of the largest and of log-sum-exp; the stable primitives: closed forms and plain loops.

Derivatives are those of a difference quotient, of the oracle and of torch, padded, and packed with the tokens of the
completions among each other.
"""

import math

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.emit.template.operations import binom
from maspo_dsl.graph.interpret import Interpretation

from ..batches import Arrays, as_torch, ragged
from .family import real
from .test_along_completions import eager, mingled, spec

LIVE = [
    "next(r)", "previous(r)", "discounted_sum(r, 0.7)", "running_sum(r, 0.7)", "running_sum(r, 0)", "running_sum(r, 1)",
    "discounted_sum(r, 0 if position == 2 else 1)", "running_sum(r, 0 if position == 3 else 0.9)",
    "discounted_sum(old, r)", "running_sum(r, 0.5 * r)", "discounted_sum(r, mean(r, sequence))",
    "running_max(r)", "running_min(r)", "running_max(-r + next(r))",
    "max(r, sequence)", "min(r, sequence)", "max(r, group)", "min(mean(r, sequence), group)", "max(r, micro)",
    "logsumexp(r, sequence)", "logsumexp(3 * r, group)", "logsumexp(mean(r, sequence), group)", "logsumexp(r, micro)",
    "softplus(3 * log(r))", "logsigmoid(3 * log(r))",
]  # fmt: skip


def of_penalty(value: str) -> maspo_dsl.Objective:
    """A loss in which each token's value has a weight of its own, so that no two derivatives are alike."""
    return spec(
        "let r = policy / old",
        f"penalty p = (0.3 + old) * ({value})",
        "reduce = loss |> sum(window)",
    )


def small(seed: int = 0) -> Arrays:
    arrays = real(ragged(seed, columns=6, extreme=False, spread=0.4))
    return {**{key: value for key, value in arrays.items() if key != "reward"}, "advantage": np.zeros(16)}


@pytest.mark.parametrize("value", LIVE)
def test_gradient_passes(value):
    objective, arrays = of_penalty(value), small()
    by_oracle = Interpretation(objective.graph, arrays).gradient("loss")
    assert np.abs(by_oracle).max() > 1e-3
    quotient = np.zeros_like(by_oracle)
    for place in np.argwhere(arrays["mask"])[::3]:
        values = []
        for step in (1e-6, -1e-6):
            moved = {**arrays, "logp": arrays["logp"].copy()}
            moved["logp"][tuple(place)] += step
            values.append(float(Interpretation(objective.graph, moved).output("loss")))
        quotient[tuple(place)] = (values[0] - values[1]) / 2e-6
        assert quotient[tuple(place)] == pytest.approx(by_oracle[tuple(place)], rel=1e-6, abs=1e-8)
    loss = maspo_dsl.compile(objective, backend="eager")
    flat, _ = mingled({**arrays, "places": np.arange(arrays["mask"].size).reshape(arrays["mask"].shape)}, 0)
    for form in (arrays, flat):
        tensors = as_torch(form)
        out = loss(tensors).loss
        assert out.item() == pytest.approx(
            float(Interpretation(objective.graph, arrays).output("loss")), rel=1e-12
        )
        out.backward()
        expected = by_oracle if form is arrays else by_oracle.ravel()[flat["places"]]
        np.testing.assert_allclose(tensors["logp"].grad, expected, rtol=1e-11, atol=1e-13)


def slopes(value: str, log_ratio: list[float], mask: list[bool] | None = None) -> list[float]:
    """Derivative of the sum of a value over the tokens of one completion, old at 1."""
    loss = eager("let r = policy / old", f"penalty p = {value}", "reduce = loss |> sum(window)")
    logp = torch.tensor([log_ratio], dtype=torch.float64).requires_grad_()
    taken = torch.tensor([[True] * len(log_ratio) if mask is None else mask])
    batch = {"logp": logp, "logp_old": torch.zeros_like(logp).detach(), "mask": taken}
    batch["advantage"] = torch.zeros(1).double()
    loss(batch).loss.backward()
    arrays = {name: tensor.detach().numpy() for name, tensor in batch.items()}
    found = logp.grad[0].tolist()
    np.testing.assert_allclose(
        Interpretation(loss.objective.graph, arrays).gradient("loss")[0], found, rtol=1e-12
    )
    return found


def test_a_sum_up_to_a_token_written_in_any_way():
    """Of three sums up to a token the first token is in all, the last in one."""
    for value in ("running_sum(log(r), 1)", "sum(log(r), sequence) - discounted_sum(log(r), 1) + log(r)"):
        assert slopes(value, [0.0, 0, 0]) == [3, 2, 1]
        assert slopes(value, [0.0, 0, 0, 0], [True, False, True, True]) == [3, 0, 2, 1]


def test_the_first_of_equal_ones_gets_the_gradient():
    assert slopes("running_max(log(r))", [0.0, 0, 0, 0]) == [4, 0, 0, 0]
    assert slopes("running_max(log(r))", [-1.0, 0, -1, 0]) == [1, 3, 0, 0]
    assert slopes("running_min(log(r))", [0.0, -1, 0, -1]) == [1, 3, 0, 0]
    assert slopes("per_token(max(log(r), sequence))", [0.0, -1, 0, -1]) == [2, 0, 2, 0]  # shared


def test_a_factor_of_zero_has_a_slope():
    """y = 2 + factor * (y before), with factors log(r) that are all 0: the derivative is the y before, 2."""
    assert slopes("running_sum(old + 1, log(r))", [0.0, 0, 0]) == [0, 2, 2]
    assert slopes("discounted_sum(old + 1, log(r))", [0.0, 0, 0]) == [2, 2, 0]


def test_a_cut_passes_nothing():
    """y = x + factor * (y before), the factor that of the later token: third and fourth know of each other alone."""
    cut = "0 if position == 3 else 0.5"
    assert slopes(f"running_sum(log(r), {cut})", [0.0] * 4) == [1.5, 1, 1.5, 1]
    assert slopes(f"discounted_sum(log(r), {cut})", [0.0] * 4) == [1, 1.5, 1.75, 1]


LENGTH = 6000


@pytest.mark.parametrize(
    "factor", ["1", "0.9999", "0.5", "1 if old > 0.1 else 0.9", "0 if old > 0.6 else 1", "old"]
)
def test_thousands_of_tokens_in_float32(factor):
    """Value and gradient against recurrences in float64 from the same float32 numbers, with holes in the mask."""
    random = np.random.default_rng(0)
    mask = random.random((2, LENGTH)) < 0.9
    old = np.log(random.uniform(0.05, 1, mask.shape)).astype(np.float32)
    logp = (old + 0.02 * random.standard_normal(mask.shape)).astype(np.float32)
    loss = eager(
        "let x = log(policy / old)",
        f"penalty p = old * (running_sum(x, {factor}) - 0.5 * discounted_sum(x, {factor}))",
        "reduce = loss |> sum(window)",
    )
    batch = {"logp": torch.tensor(logp, requires_grad=True), "logp_old": torch.tensor(old)}
    batch |= {"mask": torch.tensor(mask), "advantage": torch.zeros(2)}
    out = loss(batch).loss
    out.backward()
    weight = np.exp(old.astype(float))
    factors = {"1": np.ones_like(weight), "old": weight, "0.9999": np.full_like(weight, np.float32(0.9999))}
    factors |= {"0.5": np.full_like(weight, 0.5), "0 if old > 0.6 else 1": np.where(weight > 0.6, 0.0, 1)}
    factors |= {"1 if old > 0.1 else 0.9": np.where(weight > 0.1, 1, np.float32(0.9).astype(float))}
    total, gradient = 0.0, np.zeros(mask.shape)
    for row in range(2):
        places = np.flatnonzero(mask[row])
        for sign, at in ((1, places), (-0.5, places[::-1])):
            x, w, f = (a[row, at].astype(float) for a in (logp - old, weight, factors[factor]))
            before = 0.0
            for t in range(len(at)):
                before = x[t] + f[t] * before
                total += sign * w[t] * before
            after = 0.0
            for t in reversed(range(len(at))):
                after = w[t] + (f[t + 1] * after if t + 1 < len(at) else 0.0)
                gradient[row, at[t]] += sign * after
    assert out.item() == pytest.approx(total, rel=1e-4)
    np.testing.assert_allclose(batch["logp"].grad, gradient, rtol=2e-5, atol=1e-5 * np.abs(gradient).max())


def test_bounds_that_run_over_thousands_of_tokens():
    random = np.random.default_rng(1)
    log_ratio = np.round(random.standard_normal(5000), 1) * 0.2
    gradient = np.zeros(5000)
    best = 0
    for t in range(5000):
        best = t if log_ratio[t] > log_ratio[best] else best
        gradient[best] += 1
    assert slopes("running_max(log(r))", log_ratio.tolist()) == gradient.tolist()
    assert np.count_nonzero(gradient) > 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_bounds_far_out(dtype):
    """log(1 + exp(x)) and log(sigmoid(x)) at ±1000 and in between, value and gradient."""
    for word, sign in (("softplus", 1.0), ("logsigmoid", -1.0)):
        loss = eager(f"penalty p = {word}(500 * log(policy) * (1 if A > 0 else -1))", "reduce = loss |> sum(window)",
                     "ratio = 0 * A + policy / detach(policy)")  # fmt: skip
        for side in (1.0, -1.0):
            for far in (2.0, 0.1, 0.002):
                x = -side * 500 * far
                logp = torch.tensor([[-far]], dtype=dtype, requires_grad=True)
                batch = {"logp": logp, "mask": torch.ones(1, 1, dtype=torch.bool)}
                batch["advantage"] = torch.tensor([side], dtype=dtype)
                out = loss(batch).loss
                out.backward()
                z = sign * x
                soft = max(z, 0.0) + math.log1p(math.exp(-abs(z)))
                rtol = 1e-5 if dtype == torch.float32 else 1e-12
                assert out.item() + side == pytest.approx(sign * soft, rel=rtol, abs=rtol)
                sigmoid = 1 / (1 + math.exp(-z)) if z > -700 else 0.0
                assert logp.grad.item() + side == pytest.approx(sigmoid * side * 500, rel=1e-4, abs=1e-4)


def test_log_sum_exp_far_out_and_of_nothing():
    """In float32, groups at +1000 and -1000; a group without a trained token is 0."""
    loss = eager("advantage = logsumexp(reward, group)")
    reward = torch.tensor([1000.0, 1000, -1000, -1001, 5])
    group = torch.tensor([4, 4, 9, 9, 1])
    mask = torch.tensor([[True]] * 4 + [[False]])
    found = loss.advantage({"reward": reward, "group": group, "mask": mask}).tolist()
    expected = [1000 + math.log(2)] * 2 + [-1000 + math.log1p(math.exp(-1))] * 2 + [0.0]
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "reduced", ["logsumexp(log(policy), sequence)", "logsumexp(log(policy), group, of = A > 0)"]
)
def test_log_sum_exp_shows_nan(reduced):
    """A broken run does not look like a healthy one."""
    arrays = small()
    arrays["advantage"] = np.ones(len(arrays["mask"]))
    row, column = np.argwhere(arrays["mask"])[0]
    arrays["logp"][row, column] = np.nan
    loss = eager("ratio = none", f"penalty p = mean({reduced}, window)")
    assert loss(as_torch(arrays)).loss.isnan()


def test_a_window_pools_log_sum_exp():
    arrays = small()
    loss = eager("penalty p = detach(logsumexp(log(old), window)) * policy", "reduce = loss |> sum(window)")
    parts = [{k: v[rows] for k, v in arrays.items()} for rows in (slice(0, 7), slice(7, 16))]
    d = loss.window([as_torch(part) for part in parts])
    total = sum(loss(as_torch(part), denominators=d).loss.item() for part in parts)
    assert total == pytest.approx(loss(as_torch(arrays)).loss.item(), rel=1e-12) and abs(total) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ways_to_choose(dtype):
    """Every n and k of groups up to 64, below and above what there is."""
    n, k = (torch.tensor(x, dtype=dtype) for x in np.meshgrid(np.arange(-1.0, 65), np.arange(-1.0, 66)))
    found = binom(n, k)
    expected = [[float(math.comb(int(a), int(b))) if 0 <= b <= a else 0.0 for a, b in zip(*r, strict=True)]
                for r in zip(n.tolist(), k.tolist(), strict=True)]  # fmt: skip
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=2e-7 if dtype == torch.float32 else 1e-12)
    few = (n <= 32) & (k <= 32)
    np.testing.assert_array_equal(found[few], torch.tensor(expected, dtype=dtype)[few])


def second_moment_mask(squares: np.ndarray, tau: float) -> np.ndarray:
    """What AReaL leaves out: the largest, until the mean of the rest is below tau; of equal ones the earlier."""
    order = np.argsort(-squares, kind="stable")
    left_out = np.zeros(len(squares), dtype=bool)
    for place in order[:-1]:
        rest = squares[~left_out]
        if math.fsum(rest) / len(rest) < tau:
            break
        left_out[place] = True
    return left_out


@pytest.mark.parametrize("tau", [0.001, 0.01, 0.04, 0.5, 1e-9])
def test_the_second_moment_of_32768_tokens(tau):
    random = np.random.default_rng(3)
    shape, size = (8, 5000), 32768
    mask = np.zeros(40000, dtype=bool)
    mask[random.permutation(40000)[:size]] = True
    mask = mask.reshape(shape)
    squares = (0.2 * random.standard_t(2, shape)) ** 2
    squares[0] = squares[1]  # ties
    logp = -np.ones(shape)
    loss = eager("input x : token", f"exclude far where tail(x, {tau}, micro)", "ratio = policy / old")
    batch = {"logp": logp, "logp_old": logp, "x": squares, "mask": mask, "advantage": np.ones(8)}
    tensors = as_torch(batch)
    loss(tensors).loss.backward()
    values = squares[mask]
    descending = np.sort(values)[::-1]
    means = np.cumsum(descending[::-1])[::-1] / np.arange(size, 0, -1)
    count = int(np.argmax(means < tau)) if (means < tau).any() else size - 1
    order = np.argsort(-values, kind="stable")
    expected = np.zeros(size, dtype=bool)
    expected[order[:count]] = True
    found = (tensors["logp"].grad == 0).numpy()[mask]
    assert expected.any() or tau == 0.5
    np.testing.assert_array_equal(found, expected)
    by_oracle = Interpretation(loss.objective.graph, batch).gradient("loss")[mask] == 0
    np.testing.assert_array_equal(by_oracle, expected)


def test_the_second_moment_by_its_definition():
    random = np.random.default_rng(4)
    loss = eager("input x : token", "exclude far where tail(x, 0.3, micro)", "ratio = policy / old")
    for _ in range(20):
        squares = np.round(random.exponential(0.5, (3, 5)), 1)
        mask = random.random((3, 5)) < 0.8
        batch = {"logp": -np.ones((3, 5)), "logp_old": -np.ones((3, 5)), "x": squares, "mask": mask}
        tensors = as_torch({**batch, "advantage": np.ones(3)})
        loss(tensors).loss.backward()
        found = (tensors["logp"].grad == 0).numpy()[mask]
        np.testing.assert_array_equal(found, second_moment_mask(squares[mask], 0.3))


def test_a_tail_of_each_completion_and_group():
    """Limits 1: of 5 1 0 | 9 9 0 the largest go until the mean is below 1; a lone token stays."""
    x = [[5.0, 1, 0], [9, 9, 0], [7, 0, 0]]
    mask = [[True] * 3, [True] * 3, [True, False, False]]
    for scope, expected in (
        ("sequence", [[1, 0, 0], [1, 1, 0], [0, 0, 0]]),
        ("group", [[1, 0, 0], [1, 1, 0], [1, 0, 0]]),
    ):
        loss = eager("input x : token", f"exclude far where tail(x, 1, {scope})", "ratio = policy / old")
        batch = {
            "logp": np.zeros((3, 3)),
            "logp_old": np.zeros((3, 3)),
            "x": np.array(x),
            "mask": np.array(mask),
        }
        batch |= {"advantage": np.ones(3), "group": np.array([2, 2, 2])}
        for form in (batch, mingled(batch, 0)[0]):
            tensors = as_torch(form)
            loss(tensors).loss.backward()
            found = Interpretation(loss.objective.graph, batch).gradient("loss") == 0
            assert (found & batch["mask"]).astype(int).tolist() == expected
            taken = tensors["logp"].grad[tensors["mask"]] == 0
            assert int(taken.sum()) == sum(map(sum, expected))
