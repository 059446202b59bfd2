"""What a token's loss is divided by: the tokens, the sequences, a constant; and when a token is rejected."""

import numpy as np
import pytest

from ..batches import as_torch
from .subjects import SHIPPED, extended, loss_of, objective, plain, run, same, slot, undivided

# Two tokens of loss 10 and ten of loss 2: 40 / 12, (10 + 2) / 2, (20 + 20) / 2, and that over a constant of 1.
TWO_BY_TEN = {
    "loss |> mean(window)": 3.3333,
    "loss |> mean(micro)": 3.3333,
    "loss |> mean(sequence) |> mean(window)": 6.0,
    "loss |> sum(sequence) |> mean(window)": 20.0,
    "loss / max_length |> sum(sequence) |> mean(window)": 20.0,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_t07_reduction_identity(name):
    """One matrix of 2 by 10, two means: 3.3333 of tokens, 6.0 of sequences; which one is it? (verl #593)

    On policy the derivative by a token's log-prob is its loss over what the reduction divides by. A reduction of
    its own must be in the table.
    """
    batch = plain(np.zeros((2, 10)), [-10.0, -2.0])
    batch["mask"][0, 2:] = False
    found = run(loss_of(name, **undivided(name)), batch).gradient.sum()
    assert found == pytest.approx(TWO_BY_TEN[slot(name, "reduce")], rel=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_t35_rejection_denominator(name):
    """Some divide by all tokens after rejecting some, some by what is left (slime #657, mlcommons training #905).

    Three of five tokens rejected, each an answer of its own: `mute` divides by 5, `exclude` by 2, `A` of -1 all over.
    """
    lines = "input rejected : token\n{} rejected where rejected > 0"
    mute = extended(name, lines.format("mute"), **undivided(name))
    exclude = extended(name, lines.format("exclude"), **undivided(name))
    rejected = np.array([[1.0], [0.0], [1.0], [0.0], [1.0]])
    batch = plain(np.zeros(5), [-1.0] * 5, rejected=rejected)
    same(run(mute, batch).gradient, (1 - rejected) / 5)
    same(run(exclude, batch).gradient, (1 - rejected) / 2)
    assert exclude.window([as_torch(batch)])["tokens"] == 2
    assert mute.window([as_torch(batch)])["tokens"] == 5


def shipped_rules() -> dict[str, set[str]]:
    """The words of the rules that objectives have for tokens."""
    parts = {name: objective(name).resolved.parts for name in SHIPPED}
    return {
        name: {word for word, rules in (("mute", part.mutes), ("exclude", part.excludes)) if rules}
        for name, part in parts.items()
        if part.mutes or part.excludes
    }


# Three tokens that are rejected and two that are not, each an answer: advantage, policy over old, old over rollout,
# probability under the policy, entropy.
KEPT = (-1.0, 1.0, 1.0, 0.2, 1.0)
REJECTED = {
    "dppo_tv": (1.0, 2.5, 1.0, 0.5, 1.0),  # it rose by 0.3
    "dppo_kl": (1.0, 2.5, 1.0, 0.5, 1.0),
    "dppo_tv_paper": (1.0, 1.0, 2.5, 0.5, 1.0),
    "dppo_kl_paper": (1.0, 1.0, 2.5, 0.5, 1.0),
    "grpo_opsm": (-1.0, 0.5, 1.0, 0.2, 1.0),  # it fell by log 2, more than 0.5
    "mis": (-1.0, 1.0, 6.0, 0.2, 1.0),
    "mis_geometric": (-1.0, 1.0, 1.01, 0.2, 1.0),
    "mis_product": (-1.0, 1.0, 3.5, 0.2, 1.0),
    "rejection": (-1.0, 1.0, 3.0, 0.2, 1.0),
    "rejection_geometric": (-1.0, 1.0, 1.01, 0.2, 1.0),
    "rejection_product": (-1.0, 1.0, 3.0, 0.2, 1.0),
}


@pytest.mark.parametrize("name", REJECTED)
def test_t35_rejection_denominator_of_shipped_rules(name):
    """The same of their own rules: two tokens are left of five, and count 1/5 or 1/2 each."""
    bad = REJECTED[name]
    rows = np.array([bad, KEPT, bad, KEPT, bad])
    policy = np.log(rows[:, 3:4])
    old = policy - np.log(rows[:, 1:2])
    batch = plain(np.zeros(5), rows[:, 0], logp=policy, logp_old=old, entropy=rows[:, 4:5])
    batch |= {"logp_ref": old, "logp_rollout": old - np.log(rows[:, 2:3])}
    (word,) = shipped_rules()[name]
    left = np.array([[0], [1], [0], [1], [0]])
    same(run(loss_of(name), batch).gradient, left / {"mute": 5, "exclude": 2}[word])
