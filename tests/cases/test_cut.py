"""However a window is cut, padded or packed, and whatever of it is masked, the objective is the same."""

import numpy as np
import pytest
import torch

import maspo_dsl

from ..batches import Arrays, as_torch, packed, padded
from .subjects import (
    SHIPPED,
    completions,
    estimated,
    extended,
    loss_of,
    objective,
    plain,
    reads_micro,
    run,
    run_parts,
    same,
    slot,
    undivided,
)

LENGTHS = [1, 2, 4, 7, 11, 18, 25, 32]


def window(name: str, seed: int = 0) -> Arrays:
    """Eight completions of 1 to 32 tokens in two groups, with the advantages that their rollout gave them."""
    order = np.random.default_rng(seed).permutation(len(LENGTHS))
    return estimated(name, completions(seed, [LENGTHS[i] for i in order]))


def cuts(seed: int) -> list[list[list[int]]]:
    """The eight rows, shuffled, in 1 to 8 micro-batches of random sizes."""
    random = np.random.default_rng(seed)
    found = []
    for parts in range(1, 9):
        places = np.sort(random.choice(np.arange(1, 8), size=parts - 1, replace=False))
        found.append([piece.tolist() for piece in np.split(random.permutation(8), places)])
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_t01_partition(name):
    """Means of micro-batches that were averaged again weighed tokens by their company (verl #5625 and #906).

    Eight completions of 1 to 32 tokens in 1 to 8 micro-batches give the gradient of the whole window. An objective
    that computes within `micro` declares it, and is not let off for nothing: some cut does change it.
    """
    batch = window(name)
    whole = run(loss_of(name), batch)
    parts = [run_parts(loss_of(name), batch, cut) for cut in cuts(1)]
    if reads_micro(name):
        assert "micro-scope" in objective(name).resolved.flat.allows
        assert any(np.abs(part.gradient - whole.gradient).max() > 1e-4 for part in parts)
        return
    for part in parts:
        same(part.gradient, whole.gradient, rtol=1e-6)
        assert part.loss == pytest.approx(whole.loss, rel=1e-6, abs=1e-12)


EXPECTED_OF_FIVE_AND_TWO = {
    # token losses [1, 1, 1, 1] and [10]: 14 / 5, (1 + 10) / 2, (4 + 10) / 2, and that over a constant of 1
    "loss |> mean(window)": 2.8,
    "loss |> mean(sequence) |> mean(window)": 5.5,
    "loss |> sum(sequence) |> mean(window)": 7.0,
    "loss / max_length |> sum(sequence) |> mean(window)": 7.0,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_t01_partition_of_four_tokens_and_one(name):
    """The mean over five tokens of [1, 1, 1, 1] and [10] is 2.8; a trainer that averages two micro-batches says 5.5.

    5.5 is right for a mean of sequences alone. On policy the derivative by a token's log-prob is its loss.
    """
    batch = plain(np.zeros((2, 4)), [-1.0, -10.0])
    batch["mask"][1, 1:] = False
    loss = loss_of(name, **undivided(name))
    reduce = slot(name, "reduce")
    if reduce == "loss |> mean(micro)":
        assert run(loss, batch).gradient.sum() == pytest.approx(2.8)
        assert run_parts(loss, batch, [[0], [1]]).gradient.sum() == pytest.approx(1 + 10)
        return
    expected = EXPECTED_OF_FIVE_AND_TWO[reduce]
    assert run(loss, batch).gradient.sum() == pytest.approx(expected)
    assert run_parts(loss, batch, [[0], [1]]).gradient.sum() == pytest.approx(expected)


@pytest.mark.parametrize("name", SHIPPED)
def test_t05_auxiliary_terms(name):
    """The fix of an accumulated token mean mis-scaled the losses beside it (ms-swift #10116).

    Beside each objective stands a mean of sequences of k3, 0.5 of it. Its derivative is (1 - reference / policy) /
    length / 8 by hand, and neither it nor the policy's term moves with 1, 2, 4 or 8 micro-batches.
    """
    batch = window(name)
    aux = extended(name, "penalty aux = 0.5 * mean(mean(k3(policy, reference), sequence), window)")
    mask = batch["mask"]
    slope = np.where(mask, 1 - np.exp(batch["logp_ref"] - batch["logp"]), 0)
    by_hand = 0.5 * slope / mask.sum(axis=1, keepdims=True) / 8
    whole = run(loss_of(name), batch).gradient
    for parts in (1, 2, 4, 8):
        cut = np.arange(8).reshape(parts, -1)
        alone = run_parts(loss_of(name), batch, cut).gradient
        same(run_parts(aux, batch, cut).gradient - alone, by_hand, rtol=1e-6)
        if not reads_micro(name):
            same(alone, whole, rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_t05_auxiliary_terms_of_a_users_objective(parts):
    """REINFORCE by token mean beside k2 by sequence mean: -A / tokens and 0.3 log(policy / reference) / length / 8."""
    text = "ratio = 1 |> score\nreduce = loss |> mean(window)\n"
    text += "penalty near = 0.3 * mean(mean(k2(policy, reference), sequence), window)"
    loss = maspo_dsl.compile(maspo_dsl.parse(f"objective mine extends group_ppo\n{text}\n"), backend="eager")
    batch = completions(4, LENGTHS) | {"advantage": np.linspace(-1, 2, 8)}
    mask = batch["mask"]
    apart = np.where(mask, batch["logp"] - batch["logp_ref"], 0)
    policy = np.where(mask, -batch["advantage"][:, None], 0) / mask.sum()
    near = 0.3 * apart / mask.sum(axis=1, keepdims=True) / 8
    found = run_parts(loss, batch, np.arange(8).reshape(parts, -1)).gradient
    same(found, policy + near)


@pytest.mark.parametrize("name", SHIPPED)
def test_t06_pad_width(name):
    """A loss divided by the width of its tensor falls as padding is added: from 1 to 0.25 (verl #3741, TRL #7024).

    Six columns of NaN: every gradient and the loss are the same, bit for bit where the sums are exact.
    """
    batch = window(name, seed=2)
    wider = padded(batch, 6)
    loss, gradient = run(loss_of(name), batch)
    wide_loss, wide = run(loss_of(name), wider)
    assert wide_loss == pytest.approx(loss, rel=1e-13, abs=1e-15)
    same(wide[:, :-6], gradient, rtol=1e-13)
    assert not wide[:, -6:].any()


@pytest.mark.parametrize("name", SHIPPED)
def test_t06_pad_width_bit_for_bit(name):
    """Every number a power of two or a sum of few: no order of summation rounds, so the loss has the same bits."""
    batch = plain(np.zeros((4, 4)), [1.0, -0.5, 2.0, -4.0], old=-0.5)
    batch["mask"][1:3, 2:] = False
    loss = loss_of(name, **undivided(name))
    found, wide = run(loss, batch), run(loss, padded(batch, 6))
    assert found.loss == wide.loss != 0
    assert np.array_equal(found.gradient, wide.gradient[:, :4]) and found.gradient.any()


def test_t06_the_constant_of_a_divisor_is_written():
    """Dr. GRPO divides by what its text says: four tokens of loss 1 over 4 are 1, however wide their tensor is."""
    batch = plain(np.zeros((1, 4)), [-1.0])
    loss = loss_of("dr_grpo", max_length=4)
    assert run(loss, batch).loss == 1
    assert run(loss, padded(batch, 12)).loss == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_t08_packing(name):
    """Reductions over rows of a packed tensor are not those over sequences (tunix #1662).

    The same completions in columns, and one after the other with the number of their sequence: equal loss and gradient.
    """
    batch = window(name, seed=3)
    flat = packed(batch)
    loss, gradient = run(loss_of(name), batch)
    flat_loss, flat_gradient = run(loss_of(name), flat)
    assert flat_loss == pytest.approx(loss, rel=1e-9, abs=1e-12)
    same(flat_gradient[flat["mask"]], gradient[batch["mask"]])
    assert not flat_gradient[~flat["mask"]].any()


@pytest.mark.parametrize("form", [dict, packed])
@pytest.mark.parametrize("name", SHIPPED)
def test_t14_all_masked(name, form):
    """0 / 0 made a micro-batch without trained tokens NaN, and the step with it (TRL #7077 and #7087).

    Loss 0 with a gradient that flows and is 0; metrics are numbers; beside other micro-batches it adds nothing.
    """
    full = window(name)
    empty = {**full, "mask": np.zeros_like(full["mask"])}
    tensors = as_torch(form(empty))
    out = loss_of(name)(tensors)
    assert out.loss.item() == 0 and out.loss.requires_grad
    out.loss.backward()
    assert torch.equal(tensors["logp"].grad, torch.zeros_like(tensors["logp"]))
    assert all(torch.isfinite(value) for value in out.metrics.values()), out.metrics
    denominators = loss_of(name).window([as_torch(form(empty)), as_torch(form(full))])
    beside = run(loss_of(name), form(full), denominators)
    same(beside.gradient, run(loss_of(name), form(full)).gradient)
    nothing = run(loss_of(name), form(empty), denominators)
    assert nothing.loss == 0 and not nothing.gradient.any()


@pytest.mark.parametrize("name", SHIPPED)
def test_t15_one_row_masked(name):
    """A row without a trained token made the mean of sequences, or the KL metric, NaN (unsloth-zoo #1262, verl #3915).

    The loss is that of the other rows, as if the row were not there: it is in no denominator.
    """
    batch = window(name)
    batch["mask"] = batch["mask"].copy()
    batch["mask"][0] = False
    rest = {key: value[1:] for key, value in batch.items()}
    found, expected = run(loss_of(name), batch), run(loss_of(name), rest)
    assert found.loss == pytest.approx(expected.loss, rel=1e-12, abs=1e-15)
    same(found.gradient[1:], expected.gradient)
    assert not found.gradient[0].any()
    metrics, others = loss_of(name)(as_torch(batch)).metrics, loss_of(name)(as_torch(rest)).metrics
    assert {"kl", "loss", "ratio_mean", "entropy"} <= set(metrics)
    for key, value in metrics.items():
        assert value.item() == pytest.approx(others[key].item(), rel=1e-9, abs=1e-12), key
