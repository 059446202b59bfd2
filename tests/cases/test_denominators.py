"""What a token's loss is divided by: the tokens, the sequences, a constant; and when a token is rejected."""

from dataclasses import asdict, dataclass

import numpy as np
import pytest

from maspo_dsl.semantics.part_words import Role

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

    Three of five tokens rejected, each a completion of its own: `mute` divides by 5, `exclude` by 2, `A` is -1.
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
        name: {word for word, _ in rules}
        for name, part in parts.items()
        if (rules := part.of(Role.REMOVES_POLICY_TERM, Role.REMOVES_TOKEN))
    }


@dataclass(frozen=True)
class Completion:
    """A completion of one token."""

    advantage: float = -1.0
    ratio: float = 1.0  # of the policy to the old one
    mismatch: float = 1.0  # of the old policy to the sampler
    policy: float = 0.2  # its probability
    entropy: float = 1.0


SURE, UNSURE = Completion(1.0, policy=0.001, entropy=0.1), Completion(1.0, policy=0.001, entropy=5.0)
# A completion that is rejected, one that is not, and parameters.
REJECTED = {
    "dppo_tv": (Completion(1.0, ratio=2.5, policy=0.5), Completion(), {}),  # it rose by 0.3
    "dppo_kl": (Completion(1.0, ratio=2.5, policy=0.5), Completion(), {}),
    "dppo_tv_paper": (Completion(1.0, mismatch=2.5, policy=0.5), Completion(), {}),
    "dppo_kl_paper": (Completion(1.0, mismatch=2.5, policy=0.5), Completion(), {}),
    "grpo_opsm": (Completion(ratio=0.5), Completion(), {}),  # it fell by log 2, which is more than 0.5
    "mis": (Completion(mismatch=6.0), Completion(), {}),
    "mis_geometric": (Completion(mismatch=1.01), Completion(), {}),
    "mis_product": (Completion(mismatch=3.5), Completion(), {}),
    "rejection": (Completion(mismatch=3.0), Completion(), {}),
    "rejection_geometric": (Completion(mismatch=1.01), Completion(), {}),
    "rejection_product": (Completion(mismatch=3.0), Completion(), {}),
    "stapo": (SURE, UNSURE, {}),  # the 0.75-quantile of entropies 0.1, 0.1, 0.1, 5, 5 is 5
    "stapo_v1": (SURE, UNSURE, {}),
    "stapo_maspo": (SURE, UNSURE, {}),
    "top_entropy": (SURE, UNSURE, {}),  # and so is the 0.8-quantile
    # Means of 0.2 and -4: covariances of 0.8 * 3, within 1 and 5, and of 1.2 * 4.5
    "clip_cov": (Completion(1.0, policy=np.exp(-1)), Completion(policy=np.exp(-8.5)), {"share": 0.6}),
}


@pytest.mark.parametrize("name", REJECTED)
def test_t35_rejection_denominator_of_shipped_rules(name):
    """The same of their own rules: two completions are left of five, and count 1/5 or 1/2 each."""
    bad, good, params = REJECTED[name]
    rows = [bad, good, bad, good, bad]
    column = {key: np.array([[getattr(row, key)] for row in rows]) for key in asdict(bad)}
    policy = np.log(column["policy"])
    old = policy - np.log(column["ratio"])
    batch = plain(
        np.zeros(5), column["advantage"][:, 0], logp=policy, logp_old=old, entropy=column["entropy"]
    )
    batch |= {"logp_ref": old, "logp_rollout": old - np.log(column["mismatch"])}
    (word,) = shipped_rules()[name]
    left = np.array([[0], [-good.advantage], [0], [-good.advantage], [0]])
    same(run(loss_of(name, **params), batch).gradient, left / {"mute": 5, "exclude": 2}[word])


def test_t35_every_rule_is_looked_at():
    assert set(shipped_rules()) == set(REJECTED)
