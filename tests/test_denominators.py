"""What a token's loss is divided by: the tokens, the sequences, a constant; and when a token is rejected."""

from dataclasses import asdict, dataclass

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.semantics.part_words import Role

from .batches import as_torch, padded, rows_of
from .running import SHIPPED, compiled, objective, plain, run_loss, same, slot, undivided

# Losses of tokens, by completion, on policy: the derivative by a log-prob is a loss over what it is divided by.
LOSSES = {"four of 1 and one of 10": (1, 4, 10, 1), "two of 10 and ten of 2": (10, 2, 2, 10)}
# Reduction -> the sum of the derivatives for each: (4 + 10) / 5, (1 + 10) / 2, (4 + 10) / 2; 40 / 12, 12 / 2, 40 / 2.
REDUCED = {
    "loss |> mean(window)": (2.8, 10 / 3),
    "(1 - mu) * loss |> mean(window)": (2.8, 10 / 3),  # with a mu of 0
    "loss |> mean(micro)": (2.8, 10 / 3),
    "loss |> mean(sequence) |> mean(window)": (5.5, 6.0),
    "loss |> mean(group) |> mean(window)": (5.5, 6.0),  # with a prompt for each
    "loss |> sum(sequence) |> mean(window)": (7.0, 20.0),
    "loss / max_length |> sum(sequence) |> mean(window)": (7.0, 20.0),  # with a length of 1
}
# Parameters that scale every loss alike, or add one to it.
UNSCALED = {"chord": {"mu": 0.0}, "pspo": {"alpha": 0.0}, "vapo": {"mu": 0.0}}


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("name", [name for name in SHIPPED if slot(name, "ratio") != "none"])
def test_the_mean_by_hand(name, losses):
    """One matrix, two means: 3.3333 of tokens, 6.0 of sequences; which one is it? (verl #593)

    And two micro-batches of it give the same: a trainer that averages theirs makes 5.5 of 2.8 (verl #906). A
    reduction of its own must be in the table.
    """
    first, columns, second, others = LOSSES[losses]
    batch = plain(np.zeros((2, max(columns, others))), [-first, -second])
    batch["mask"] = np.arange(max(columns, others)) < np.array([[columns], [others]])
    batch |= {"group": np.arange(2)}
    loss, reduce = compiled(name, {**undivided(name), **UNSCALED.get(name, {})}), slot(name, "reduce")
    expected = REDUCED[reduce][list(LOSSES).index(losses)]
    assert run_loss(loss, batch)[1].sum() == pytest.approx(expected)
    parts = [rows_of(batch, [row]) for row in (0, 1)]
    denominators = loss.window([as_torch(part) for part in parts])
    found = sum(run_loss(loss, part, denominators)[1].sum() for part in parts)
    assert found == pytest.approx((first + second) / 2 if "micro" in reduce else expected)


def bnpo_of_trl(part, steps):
    """TRL 1.16.0 `_compute_loss`, loss_type bnpo, of one micro-batch: loss and gradient.

    `steps` is current_gradient_accumulation_steps, the number of micro-batches that this step has.
    """
    advantage, mask = part["advantage"][:, None], part["mask"]
    ratio = np.exp(part["logp"] - part["logp_old"])
    clipped = np.clip(ratio, 0.8, 1.2)
    unclipped = ratio * advantage <= clipped * advantage
    tokens = max(mask.sum(), 1)
    loss = np.where(mask, -np.minimum(ratio * advantage, clipped * advantage), 0).sum() / tokens / steps
    return loss, np.where(mask & unclipped, -ratio * advantage, 0) / tokens / steps


@pytest.mark.parametrize("sizes", [[8], [4, 4], [2, 2, 2, 2], [3, 3, 2], [1, 0, 7]], ids=str)
def test_bnpo_is_that_of_trl(sizes):
    """A mean of means however the window is cut: a tail with fewer rows counts as one, and so does an empty part."""
    random = np.random.default_rng(3)
    batch = plain(0.4 * random.standard_normal((8, 6)), random.standard_normal(8))
    batch["mask"] = np.arange(6) < np.array([[6], [1], [4], [2], [5], [3], [6], [1]])
    parts = [rows_of(batch, rows) for rows in np.split(np.arange(8), np.cumsum(sizes)[:-1])]
    if 0 in sizes:
        parts[sizes.index(0)] = {**rows_of(batch, [0]), "mask": np.zeros((1, 6), dtype=bool)}
    loss = compiled("bnpo")
    denominators = loss.window([as_torch(part) for part in parts])
    assert denominators["micro_batches"] == len(parts)
    for part in parts:
        expected, slope = bnpo_of_trl(part, len(parts))
        value, gradient = run_loss(loss, part, denominators)
        assert value == pytest.approx(expected, rel=1e-12)
        if part["mask"].any():
            same(gradient, slope)
        else:
            assert not gradient.any()


@pytest.mark.parametrize("word", ["penalty", "bonus"])
def test_a_penalty_within_micro_is_averaged_as_well(word):
    """TRL's entropy bonus is a mean over a micro-batch's tokens, divided by the accumulation steps."""
    text = f"reduce = loss |> mean(window)\n{word} entropy = 0.3 * mean(entropy(policy), micro)"
    loss = maspo_dsl.compile(maspo_dsl.parse(f"objective mine extends group_ppo\n{text}\n"), backend="eager")
    batch = plain(np.zeros((3, 4)), np.zeros(3))
    batch["mask"] = np.arange(4) < np.array([[4], [1], [2]])
    batch["entropy"] = np.arange(12.0).reshape(3, 4)
    parts = [rows_of(batch, [0, 1]), rows_of(batch, [2])]
    denominators = loss.window([as_torch(part) for part in parts])
    sign = 1 if word == "penalty" else -1
    for part, mean in zip(parts, (10 / 5, 17 / 2), strict=True):
        assert run_loss(loss, part, denominators)[0] == pytest.approx(sign * 0.3 * mean / 2)


def test_micro_elsewhere_is_the_statistic_of_one():
    """A weight divides by its micro-batch's own mean; the shares of the window still add up."""
    text = "ratio = policy / old\nweight w = 1 / mean(value, micro)\nreduce = loss |> mean(window)"
    loss = maspo_dsl.compile(maspo_dsl.parse(f"objective mine extends group_ppo\n{text}\n"), backend="eager")
    batch = plain(np.zeros((2, 2)), [-1.0, -1.0])
    batch["value"] = np.array([[1.0, 3.0], [4.0, 6.0]])
    parts = [rows_of(batch, [0]), rows_of(batch, [1])]
    denominators = loss.window([as_torch(part) for part in parts])
    assert "micro_batches" not in denominators
    found = [run_loss(loss, part, denominators)[0] for part in parts]
    assert found == pytest.approx([2 / 2 / 4, 2 / 5 / 4])


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_two_means_by_hand(parts):
    """REINFORCE by token mean beside k2 by sequence mean: -A / tokens and 0.3 log(policy / reference) / length / 8."""
    text = "ratio = 1 |> score\nreduce = loss |> mean(window)\n"
    text += "penalty near = 0.3 * mean(mean(k2(policy, reference), sequence), window)"
    loss = maspo_dsl.compile(maspo_dsl.parse(f"objective mine extends group_ppo\n{text}\n"), backend="eager")
    random = np.random.default_rng(4)
    batch = plain(0.4 * random.standard_normal((8, 32)), np.linspace(-1, 2, 8))
    batch["logp_ref"] = batch["logp"] + 0.4 * random.standard_normal((8, 32))
    batch["mask"] = mask = np.arange(32) < np.array([[1], [2], [4], [7], [11], [18], [25], [32]])
    policy = np.where(mask, -batch["advantage"][:, None], 0) / mask.sum()
    near = 0.3 * np.where(mask, batch["logp"] - batch["logp_ref"], 0) / mask.sum(axis=1, keepdims=True) / 8
    pieces = [rows_of(batch, rows) for rows in np.arange(8).reshape(parts, -1)]
    denominators = loss.window([as_torch(piece) for piece in pieces])
    found = np.concatenate([run_loss(loss, piece, denominators)[1] for piece in pieces])
    same(found, policy + near)


def test_the_constant_of_a_divisor_is_written():
    """Dr. GRPO divides by what its text says: four tokens of loss 1 over 4 are 1, however wide their tensor is."""
    batch = plain(np.zeros((1, 4)), [-1.0])
    loss = compiled("dr_grpo", {"max_length": 4})
    assert run_loss(loss, batch)[0] == run_loss(loss, padded(batch, 12))[0] == 1


@pytest.mark.parametrize(("word", "count"), [("mute", 5), ("exclude", 2)])
@pytest.mark.parametrize("name", ["dapo", "grpo", "dr_grpo", "gspo"])
def test_a_rejected_token_counts_or_does_not(name, word, count):
    """Some divide by all tokens after rejecting some, some by what is left (slime #657, mlcommons training #905).

    Three of five tokens rejected, each a completion of its own: `mute` divides by 5, `exclude` by 2, `A` is -1.
    """
    text = f"objective mine extends {name}\ninput rejected : token\n{word} rejected where rejected > 0\n"
    loss = maspo_dsl.compile(maspo_dsl.load(maspo_dsl.parse(text), undivided(name)), backend="eager")
    rejected = np.array([[1.0], [0.0], [1.0], [0.0], [1.0]])
    batch = plain(np.zeros(5), [-1.0] * 5, rejected=rejected)
    same(run_loss(loss, batch)[1], (1 - rejected) / count)
    assert loss.window([as_torch(batch)])["tokens"] == count


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
    "decoupled_ppo": (Completion(mismatch=6.0), Completion(), {}),
    "deepseek_v32": (Completion(ratio=0.5), Completion(), {"kl": 0.0}),
    "flash_reinforce": (Completion(mismatch=3.0), Completion(), {}),
    "molt": (Completion(mismatch=1.02), Completion(), {"kl": 0.0}),
    "grpo_opsm": (Completion(ratio=0.5), Completion(), {}),  # it fell by log 2, which is more than 0.5
    "mis": (Completion(mismatch=6.0), Completion(), {}),
    "mis_geometric": (Completion(mismatch=1.01), Completion(), {}),
    "mis_product": (Completion(mismatch=3.5), Completion(), {}),
    "rejection": (Completion(mismatch=3.0), Completion(), {}),
    "rejection_geometric": (Completion(mismatch=1.01), Completion(), {}),
    "rejection_product": (Completion(mismatch=3.0), Completion(), {}),
    "stapo": (SURE, UNSURE, {}),  # the 0.75-quantile of entropies 0.1, 0.1, 0.1, 5, 5 is 5
    "stapo_v1": (SURE, UNSURE, {}),
    "stapo_goldilocks": (SURE, UNSURE, {}),
    "stapo_maspo": (SURE, UNSURE, {}),
    "top_entropy": (SURE, UNSURE, {}),  # and so is the 0.8-quantile
    # Means of 0.2 and -4: covariances of 0.8 * 3, within 1 and 5, and of 1.2 * 4.5
    "clip_cov": (Completion(1.0, policy=np.exp(-1)), Completion(policy=np.exp(-8.5)), {"share": 0.6}),
}


# One asks for two tokens of a completion, one has rules of both words, one always leaves a token, one is about whole
# completions: in tests/reference.
OTHERWISE = {"fipo", "prime_default", "m2po", "chord"}


@pytest.mark.parametrize("name", REJECTED)
def test_what_shipped_rules_reject(name):
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
    same(run_loss(compiled(name, params), batch)[1], left / {"mute": 5, "exclude": 2}[word])


def test_every_rule_is_looked_at():
    assert set(shipped_rules()) == set(REJECTED) | OTHERWISE
