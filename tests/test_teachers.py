"""Teachers: on-policy distillation from sampled tokens, in plain float64 loops over tokens."""

import math

import numpy as np
import pytest
import torch

import maspo_dsl

OPD = """\
objective opd extends group_ppo
"On-policy distillation, Thinking Machines 2025; prime-rl's ref_kl"
teacher larger
advantage = log(larger / rollout)
ratio = policy / rollout
reduce = loss |> mean(window)
allow unbounded-side "as the source"
"""
MOPD = """\
objective mopd extends group_ppo
"Several teachers and a group's advantage, slime 2051"
param alpha = 0.5, cap = 1.1
teacher proofs
teacher code
advantage = (log(proofs / rollout) + log(code / rollout)) / 2 + alpha * (reward - mean(reward, group))
ratio = policy / rollout |> min(cap) |> score
reduce = loss |> mean(sequence) |> mean(window)
"""


def batch(seed=0):
    random = np.random.default_rng(seed)
    names = ("logp", "logp_rollout", "logp_larger", "logp_proofs", "logp_code")
    found = {name: -0.1 - random.exponential(1.0, (4, 5)) for name in names}
    found["logp"] = np.minimum(found["logp_rollout"] + 0.3 * random.standard_normal((4, 5)), -1e-3)
    mask = np.arange(5) < np.array([5, 3, 1, 4])[:, None]
    mask[0, 2] = False
    return {**found, "mask": mask, "reward": np.array([1.0, 0.0, 0.5, -1.0]), "group": np.array([3, 3, 8, 8])}


def opd(x):
    """Loss and slopes: -A r over all tokens, A the log-ratio of teacher and sampler."""
    trained, loss, slopes = x["mask"].sum(), 0.0, np.zeros((4, 5))
    for n, t in np.argwhere(x["mask"]):
        ratio = math.exp(x["logp"][n, t] - x["logp_rollout"][n, t])
        gain = x["logp_larger"][n, t] - x["logp_rollout"][n, t]
        loss -= gain * ratio / trained
        slopes[n, t] = -gain * ratio / trained
    return loss, slopes


def mopd(x):
    """Loss and slopes: -A sg(min(r, 1.1)) log pi, the mean over tokens, then over completions."""
    loss, slopes = 0.0, np.zeros((4, 5))
    means = {group: x["reward"][x["group"] == group].mean() for group in (3, 8)}
    for n, t in np.argwhere(x["mask"]):
        weight = min(math.exp(x["logp"][n, t] - x["logp_rollout"][n, t]), 1.1) / x["mask"][n].sum() / 4
        gap = (x["logp_proofs"][n, t] + x["logp_code"][n, t]) / 2 - x["logp_rollout"][n, t]
        gain = gap + 0.5 * (x["reward"][n] - means[x["group"][n]])
        loss -= gain * weight * x["logp"][n, t]
        slopes[n, t] = -gain * weight
    return loss, slopes


@pytest.mark.parametrize(("text", "by_hand"), [(OPD, opd), (MOPD, mopd)])
def test_distillation_from_sampled_tokens(text, by_hand):
    arrays = batch()
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    tensors["logp"].requires_grad_()
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")(tensors).loss
    loss.backward()
    value, slopes = by_hand(arrays)
    assert abs(value) > 0.01 and np.abs(slopes).max() > 0.01
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(tensors["logp"].grad.numpy(), slopes, rtol=1e-12, atol=1e-15)


def test_a_batch_without_a_teacher_is_told_its_name():
    tensors = {name: torch.tensor(value) for name, value in batch().items() if name != "logp_proofs"}
    with pytest.raises(maspo_dsl.BatchError, match=r"lacks `logp_proofs` \[N, T\], needed by `advantage`"):
        maspo_dsl.compile(maspo_dsl.parse(MOPD), backend="eager")(tensors)
