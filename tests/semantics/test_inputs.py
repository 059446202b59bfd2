"""Tensors that a spec declares itself: what they hold, what is drawn for them, and what is counted of them."""

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.analysis import extremes, probes
from maspo_dsl.graph.build import build
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.verification.evaluation import as_torch, computed, interpreted
from maspo_dsl.verification.subject import Subject

from ..batches import given_advantage
from ..verify.catalogue import FILES

SPEC = FILES["declared"]


def test_flags_ids_and_pairs_by_hand() -> None:
    objective = maspo_dsl.load(SPEC)
    subject = Subject(objective, "eager")
    batch = dict(subject.batches(3))["batch with advantages"]
    mask, rows = batch["mask"], len(batch["mask"])
    x = np.where(mask, batch["logp"] - batch["logp_old"], 0.0)
    r, ref = np.exp(x), np.where(mask, batch["logp_ref"] - batch["logp"], 0.0)
    loss, slope = np.zeros(mask.shape), np.zeros(mask.shape)
    counted = mask & ~((batch["trust"] < 0.5) & (batch["progress"] > 0.1))[:, None]
    for n, t in np.argwhere(mask):
        a = batch["advantage"][n]
        weight = 1.0 if batch["turn_id"][n, t] == 1 else 0.5
        clipped = min(r[n, t] * a, np.clip(r[n, t], 0.8, 1.2) * a)
        moves = batch["expert"][n, t] or clipped == r[n, t] * a
        if batch["anchor"][n] != 2:
            loss[n, t] = -weight * (r[n, t] * a if batch["expert"][n, t] else clipped)
            slope[n, t] = -weight * r[n, t] * a if moves else 0.0
        loss[n, t] += 0.01 * batch["progress"] * (np.exp(ref[n, t]) - ref[n, t] - 1)
        slope[n, t] += 0.01 * batch["progress"] * (1 - np.exp(ref[n, t]))
    total = (loss * counted).sum() / counted.sum()
    gradient = np.where(counted, slope, 0.0) / counted.sum()
    pairs = [
        g
        for g in np.unique(batch["group"])
        if np.abs(batch["side"][(batch["group"] == g) & mask.any(1)]).sum() == 2
    ]
    paired = [n for n in range(rows) if batch["group"][n] in pairs and mask[n].any()]
    assert len(paired) > 3, "pairs are formed"
    for n in paired:
        total += 0.1 * batch["side"][n] * x[n].sum() / len(pairs)
        gradient[n] += 0.1 * batch["side"][n] * mask[n] / len(pairs)
    for found in (interpreted(subject.raw, batch), computed(subject.eager, batch)):
        assert found.loss == pytest.approx(total, rel=1e-12)
        assert np.allclose(found.gradients["logp"], gradient, rtol=1e-10, atol=1e-14)
    assert np.count_nonzero(gradient) > 0.3 * mask.sum()


def test_what_is_drawn_lies_in_the_domain_and_reaches_all_of_it() -> None:
    objective = maspo_dsl.load(SPEC).resolved
    drawn = [probes.tokens(objective), extremes.far_tokens(objective), *probes.batches(objective)]
    for batch in drawn:
        for name, row in objective.own.items():
            assert row.values is None or all(value in row.values for value in np.ravel(batch[name])), name
    batch = drawn[0]
    assert set(batch["side"]) == {-1, 0, 1} and set(batch["anchor"]) == {-1, 0, 1, 2, 3, 4, 5}
    assert (
        set(batch["turn_id"]) > {-1, 0, 1, 2, 3}
        and max(batch["turn_id"]) > 500
        and set(batch["expert"]) == {False, True}
    )
    assert {0.0, 1.0} < set(batch["trust"])


@pytest.mark.parametrize(
    ("declared", "condition"),
    [
        ("token in {0, 1}", "x == 1"),
        ("token integer", "x == 2"),
        ("token integer in [0, inf)", "x > 100"),
        ("token condition", "x"),
        ("sequence in {-1, 0, 1}", "sum(abs(x), group) == 2"),
        ("sequence in [10, inf)", "x > 10.5"),
        ("sequence in (-inf, -4]", "x == -4"),
        ("scalar in [0, 1]", "x > 0.5"),
        ("token", "x == 1"),
    ],
)
def test_a_parameter_behind_a_flag_is_not_dead(declared: str, condition: str) -> None:
    lines = f"input x : {declared}\nparam w = 0.5 in (0, 1]\nweight a = w if {condition} else 1"
    text = f"objective one extends grpo\n{lines}\n"
    assert "dead-parameter" not in {warning.code for warning in maspo_dsl.parse(text).warnings}
    # `verify` may ask for it, which `check` must then accept.
    assert maspo_dsl.parse(text + 'allow on-policy-weight "flagged tokens weigh less"\n').warnings == ()


def test_a_weight_that_a_batch_brings_is_asked_about_by_check_and_verify_alike() -> None:
    text = "objective one extends grpo\ninput w : token\nweight given = w\n"
    assert [warning.code for warning in maspo_dsl.parse(text).warnings] == ["on-policy-weight"]
    allowed = maspo_dsl.parse(text + 'allow on-policy-weight "as the host says"\n')
    assert allowed.warnings == ()


def test_what_counts_for_the_hash() -> None:
    def of(declared: str) -> str:
        return maspo_dsl.parse(
            f"objective one extends grpo\ninput x : {declared}\nweight w = 1 if x == 1 else 0.5\n"
        ).hash

    assert of("token in {0, 1}") == of("token") == of("token in [0, 1]")
    assert len({of("token"), of("sequence"), of("scalar"), of("token integer")}) == 4


def test_an_input_that_the_loss_does_not_read_is_counted_where_it_is() -> None:
    """An estimator may read one, or the score of a prompt: with the loss it need not be there."""
    text = "objective one extends grpo\ninput x : sequence in [0, 0.5]\nadvantage = reward - x\nprompt = x\n"
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    batch = as_torch(dict(Subject(loss.objective, "eager").batches(3))["batch with rewards"])
    given = {**batch, "advantage": loss.advantage(batch)}
    del given["x"], given["reward"]
    assert "outside_x" not in loss(given).metrics
    assert loss({**batch, "x": batch["x"] + 1}).metrics["outside_x"].item() == 1


def test_values_outside_of_the_domain_are_counted() -> None:
    loss = maspo_dsl.compile(maspo_dsl.load(SPEC), backend="eager")
    batch = as_torch(dict(Subject(loss.objective, "eager").batches(3))["batch with advantages"])
    assert all(v == 0 for k, v in loss(batch).metrics.items() if k.startswith("outside"))
    present = batch["mask"].any(-1)
    batch["side"][present.nonzero()[0]] = 2.0
    batch["trust"][present.nonzero()[:2]] = torch.tensor([[torch.nan], [1.5]]).double()
    batch["anchor"][~present] = 9
    batch["progress"] = torch.tensor(-0.5).double()
    metrics = loss(batch).metrics
    assert metrics["outside_side"].item() == pytest.approx(1 / int(present.sum()))
    assert metrics["outside_trust"].item() == pytest.approx(2 / int(present.sum()))
    assert (metrics["outside_anchor"], metrics["outside_progress"]) == (0, 1)
    assert "outside_expert" not in metrics and "outside_turn_id" not in metrics


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("turn_id", torch.zeros(20, 7), "`turn_id` must be whole numbers"),
        ("progress", torch.zeros(20), "`progress` must be one number, 0-d"),
        ("anchor", torch.zeros(20, 7, dtype=torch.long), r"`anchor` must be \[N\]"),
        ("expert", None, r"lacks `expert` \[N, T\], needed by `ratio`"),
        ("progress", None, r"lacks `progress` 0-d"),
    ],
)
def test_tensors_that_do_not_fit(name: str, value: torch.Tensor | None, message: str) -> None:
    loss = maspo_dsl.compile(maspo_dsl.load(SPEC), backend="eager")
    batch = as_torch(dict(Subject(loss.objective, "eager").batches(3))["batch with advantages"])
    batch = {key: each for key, each in {**batch, name: value}.items() if each is not None}
    with pytest.raises(maspo_dsl.BatchError, match=message):
        loss(batch)


def test_whole_numbers_are_numbers_that_can_be_divided() -> None:
    text = (
        "objective one extends group_ppo\ninput n : sequence integer in [1, 4]\nweight w = 2 ^ -n + 1 / n\n"
    )
    objective = maspo_dsl.parse(text)
    batch = {**given_advantage(0), "n": np.ones(len(given_advantage(0)["mask"]), dtype=int) * 2}
    loss = maspo_dsl.compile(objective, backend="eager")(as_torch(batch)).loss.item()
    plain = Interpretation(build(maspo_dsl.load("group_ppo").resolved.parts), batch).output("loss")
    assert loss == pytest.approx(0.75 * float(plain)) != 0
    assert Interpretation(build(objective.resolved.parts), batch).output("loss") == pytest.approx(loss)


def test_gradient_to_whoever_brings_a_live_input() -> None:
    """A critic, and FlowRL's log Z (arXiv:2509.15207, eq. 6), by hand: mean of sequences of means of tokens."""
    subject = Subject(maspo_dsl.load(FILES["live"]), "eager")
    batch = dict(subject.batches(3))["batch with advantages"]
    mask = batch["mask"]
    present, length = mask.any(1), np.maximum(mask.sum(1), 1)
    weight = mask / length[:, None] / present.sum()
    apart = np.where(mask, batch["logp"] - batch["logp_ref"], 0.0).sum(1) / length
    flow = batch["log_z"] + apart - 2 * batch["reward"]
    probability = np.where(mask, np.exp(batch["logp"]), 0.0)
    critic = np.where(mask, 0.2 * (batch["critic"] - batch["target"]) - 0.01 * probability, 0.0) * weight
    log_z = np.where(present, 0.1 * flow / present.sum(), 0.0)
    for found in (interpreted(subject.raw, batch), computed(subject.eager, batch)):
        assert np.allclose(found.gradients["critic"], critic, rtol=1e-10, atol=1e-16)
        assert np.allclose(found.gradients["log_z"], log_z, rtol=1e-10, atol=1e-16)
    assert np.count_nonzero(critic) == mask.sum() and np.count_nonzero(log_z) == present.sum()
    assert subject.objective.warnings == ()


def test_a_live_input_before_the_advantage_is_detached_or_refused() -> None:
    text = (
        "objective one extends grpo\ninput v : token live\nadvantage = reward - {}\npenalty c = (v - 1) ^ 2\n"
    )
    assert maspo_dsl.parse(text.format("detach(v)")).inputs >= {"v", "logp"}
    with pytest.raises(maspo_dsl.SpecError, match="`advantage` is computed without gradient"):
        maspo_dsl.parse(text.format("v"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input z : scalar live\npenalty p = z * k2(policy, old)", "added once for each micro-batch"),
        (
            "input z : token live\nratio = none\npenalty p = (z - reward) ^ 2",
            "nothing here has a gradient to the policy",
        ),
    ],
)
def test_live_inputs_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(maspo_dsl.SpecError, match=message):
        maspo_dsl.parse(f"objective one extends grpo\ndrop kl\n{text}\n")
