"""`ratio = none`: losses that are penalties alone, by hand, and what may not stand beside it."""

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.verification.evaluation import as_torch, computed, interpreted
from maspo_dsl.verification.subject import Subject

from ..verify.catalogue import FILES

HEAD = "objective one extends group_ppo\n"
FIT = "penalty fit = (sum(log(policy / old), sequence) - reward) ^ 2\n"


def batch_of(subject: Subject) -> dict:
    return dict(subject.batches(3))["batch with rewards"]


def log_ratios(batch: dict, other: str) -> np.ndarray:
    return np.where(batch["mask"], batch["logp"] - batch[other], 0.0)


def test_a_regression_by_hand() -> None:
    """GVPO, arXiv:2504.19599: 0.5 (s - mean s - (R - mean R))^2 / (n - 1), s = 0.1 log-ratio, its mean detached."""
    subject = Subject(maspo_dsl.load(FILES["regression"]), "eager")
    batch = batch_of(subject)
    present, s = batch["mask"].any(1), 0.1 * log_ratios(batch, "logp_old").sum(1)
    loss, gradient = 0.0, np.zeros(batch["mask"].shape)
    for g in np.unique(batch["group"]):
        rows = np.flatnonzero((batch["group"] == g) & present)
        reward = batch["reward"][rows]
        residual = s[rows] - s[rows].mean() - (reward - reward.mean())
        share = 1 / max(len(rows) - 1, 1)
        loss += 0.5 * share * (residual**2).sum()
        gradient[rows] = (share * residual * 0.1)[:, None] * batch["mask"][rows]
    for found in (interpreted(subject.raw, batch), computed(subject.eager, batch)):
        assert found.loss == pytest.approx(loss, rel=1e-12) != 0
        assert np.allclose(found.gradients["logp"], gradient, rtol=1e-10, atol=1e-15)
    assert np.count_nonzero(gradient) > 50


def test_pairs_by_hand() -> None:
    """DPO, arXiv:2305.18290, eq. 7, a mean over pairs, beside likelihoods of tokens that are not excluded."""
    subject = Subject(maspo_dsl.load(FILES["pairs"]), "eager")
    batch = batch_of(subject)
    mask, x = batch["mask"], log_ratios(batch, "logp_ref").sum(1)
    groups = {g: np.flatnonzero((batch["group"] == g) & mask.any(1)) for g in np.unique(batch["group"])}
    pairs = [
        rows for rows in groups.values() if sorted(batch["side"][rows][batch["side"][rows] != 0]) == [-1, 1]
    ]
    assert len(pairs) > 0
    loss, gradient = 0.0, np.zeros(mask.shape)
    for rows in pairs:
        margin = (batch["side"][rows] * x[rows]).sum()
        loss += np.logaddexp(0, -0.1 * margin) / len(pairs)
        slope = -0.1 / (1 + np.exp(0.1 * margin)) / len(pairs)
        gradient[rows] += slope * (batch["side"][rows])[:, None] * mask[rows]
    counted = mask & (mask.sum(1) <= 6)[:, None]
    lengths, number = np.maximum(counted.sum(1), 1), counted.any(1).sum()
    weight = np.where(counted, 1 / lengths[:, None], 0.0) / number
    loss += (-0.1 * np.where(counted, batch["logp"], 0.0) * weight).sum()
    gradient += -0.1 * weight
    # GRPO's own KL is inherited.
    ref = np.where(mask, batch["logp_ref"] - batch["logp"], 0.0)
    loss += (0.04 * (np.exp(ref) - ref - 1) * weight).sum()
    gradient += 0.04 * (1 - np.exp(ref)) * weight
    for found in (interpreted(subject.raw, batch), computed(subject.eager, batch)):
        assert found.loss == pytest.approx(loss, rel=1e-12) != 0
        assert np.allclose(found.gradients["logp"], gradient, rtol=1e-10, atol=1e-15)


def test_metrics_know_no_policy_term() -> None:
    loss = maspo_dsl.compile(FILES["pairs"], backend="eager")
    batch = batch_of(Subject(loss.objective, "eager"))
    metrics = loss(as_torch(batch)).metrics
    assert {"loss", "kl", "ratio_mean", "nonfinite", "outside_side"} <= set(metrics)
    assert not {"policy_loss", "gated_pos", "mass_neg"} & set(metrics)
    assert not loss.advantage(as_torch(batch)).any()
    assert "advantage" not in loss.objective.inputs | loss.module.reads["loss"].keys()
    terms = loss.module.functions["terms"]
    assert "policy" not in terms.__code__.co_consts


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ratio = none", "without a policy term, what trains is a penalty or a bonus; none has a gradient"),
        ("ratio = none\npenalty fit = 0 * k2(policy, old)", "without a policy term"),
        ("ratio = none\nweight w = old / rollout\n" + FIT, "`weight w` does nothing: there is no `ratio`"),
        ("ratio = none\nmute m where old < 0.1\n" + FIT, "`mute m` does nothing: there is no `ratio`"),
        (
            "ratio = none\nadvantage = reward\n" + FIT,
            "`advantage` does nothing: there is no policy term, and",
        ),
        (
            "ratio = none\nreward long = -length\n" + FIT,
            "`reward long` does nothing: there is no `advantage`",
        ),
        (
            "ratio = none\nreduce = loss |> mean(window)\npenalty fit = mean(k2(policy, old), window)",
            "`reduce` does nothing: there is no policy term, and every penalty",
        ),
        (
            "ratio = none\nexclude e where old < 0.1\npenalty fit = mean(k2(policy, old), window)",
            "`exclude e` does nothing: there is no `reduce`",
        ),
        ("ratio = none\npenalty fit = ratio * k2(policy, old)", "there is no `ratio` here"),
        ("ratio = none |> min(2)\n" + FIT, "nothing is named `none`"),
        ("advantage = none", "nothing is named `none`"),
    ],
)
def test_what_does_nothing_is_a_mistake(lines: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        maspo_dsl.parse(f"{HEAD}{lines}\n")
    assert message in str(raised.value)


def test_what_is_inherited_is_dropped_by_name() -> None:
    with pytest.raises(SpecError) as raised:
        maspo_dsl.parse("objective one extends mis\nratio = none\n" + FIT)
    hints = {found.hint for found in raised.value.diagnostics}
    assert {found.code for found in raised.value.diagnostics} == {"does-nothing"}
    dropped = "\n".join(hint.removeprefix("write: ") for hint in hints)
    assert maspo_dsl.parse(f"objective one extends mis\nratio = none\n{dropped}\n{FIT}").inputs


def test_none_is_a_name_where_something_is_called_so() -> None:
    same = [f"{HEAD}let {name} = policy / old\nratio = {name}\n" for name in ("none", "other")]
    first, second = (maspo_dsl.parse(text) for text in same)
    assert first.resolved.parts.has_policy_term
    assert first.graph.nodes == second.graph.nodes


def test_a_spec_without_base_needs_no_more_than_it_uses() -> None:
    text = "objective one\nratio = none\npenalty fit = mean(k2(policy, old), window)\n"
    objective = maspo_dsl.parse(text)
    assert objective.inputs == {"logp", "logp_old", "mask"}
    assert maspo_dsl.parse(objective.text).hash == objective.hash
    for lines, lacks in (
        ("penalty fit = k2(policy, old)", "reduce"),
        ("penalty fit = mean(A * log(policy), window)", "advantage"),
    ):
        with pytest.raises(SpecError, match=f"no `{lacks}`"):
            maspo_dsl.parse(f"objective one\nratio = none\n{lines}\n")


def test_dropping_the_ratio_is_writing_none() -> None:
    written, dropped = (maspo_dsl.parse(HEAD + line + "\n" + FIT) for line in ("ratio = none", "drop ratio"))
    assert written.hash == dropped.hash
    assert "advantage" not in written.text and "ratio = none" in " ".join(written.text.split())


def test_rows_without_a_reward_are_trained_where_nothing_reads_it() -> None:
    for name, reads in (("pairs", False), ("regression", True)):
        subject = Subject(maspo_dsl.load(FILES[name]), "eager")
        batch = batch_of(subject)
        missing = {**batch, "reward": np.where(np.arange(len(batch["reward"])) % 2, batch["reward"], np.nan)}
        for evaluate in (
            lambda b, s=subject: interpreted(s.raw, b),
            lambda b, s=subject: computed(s.eager, b),
        ):
            whole, part = evaluate(batch), evaluate(missing)
            assert (whole.loss == part.loss) is not reads
            gone = part.gradients["logp"][::2]
            assert bool(np.any(gone)) is not reads
