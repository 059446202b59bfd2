"""`maspo_dsl.verify` on specs that hold, shipped and not; and what it says about those that need not."""

import io

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.semantics.quantities import TENSORS
from maspo_dsl.verification.batches import completions, with_advantage
from maspo_dsl.verification.subject import Subject
from maspo_dsl.verification.verify import CHECKS

from .catalogue import FILES


def spec(text: str, base: str = "group_ppo") -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(f"objective example extends {base}\n{text}\n"))


def verdicts(report: maspo_dsl.Report) -> dict[str, str]:
    return {line.name: line.verdict for line in report.lines}


def detail(report: maspo_dsl.Report, name: str) -> str:
    return next(line.detail for line in report.lines if line.name == name)


def test_a_spec_of_ones_own():
    """Inputs, a window's quantile, scalar and token penalties, mutes, exclusions, step, prompt and keep."""
    report = maspo_dsl.verify(FILES["own"], params={"width": 0.5}, backend="eager")
    assert report.ok, str(report)
    assert [line.name for line in report.lines] == [check.name for check in CHECKS]
    assert (report.name, report.hash) == ("own", maspo_dsl.load(FILES["own"], {"width": 0.5}).hash)
    assert verdicts(report)["ranks"] == "declared" and "`rare`" in detail(report, "ranks")
    assert {name for name, verdict in verdicts(report).items() if verdict != "pass"} == {
        "compiled, float64",
        "compiled, float32",
        "ranks",
    }


def test_traced_for_the_compiler():
    """`aot_eager` traces as inductor does: the lines about compiled code, with no C++ to wait for."""
    report = maspo_dsl.verify("maspo", backend="aot_eager")
    assert report.ok and set(verdicts(report).values()) == {"pass"}, str(report)
    assert "one graph" in detail(report, "compiled, float64")


def test_a_micro_batch_is_declared():
    report = maspo_dsl.verify("bnpo", backend="eager")
    assert report.ok
    assert verdicts(report)["micro-batches"] == verdicts(report)["ranks"] == "declared"
    assert "the source divides by the micro-batch's own tokens" in detail(report, "micro-batches")
    undeclared = maspo_dsl.verify(spec("reduce = loss |> mean(micro)"), backend="eager")
    assert {line.name for line in undeclared.failed} == {"micro-batches", "ranks"}
    assert "allow micro-scope" in detail(undeclared, "micro-batches")


def test_what_a_sentence_asks_for_is_enough():
    """Ranks break ties by place, so equal rewards differ; a weight by position is acknowledged without a warning."""
    ranks = spec("advantage = rank(reward, group) / count(reward, group) |> center(group)")
    subject = Subject(ranks, "eager")
    no_signal = next(check for check in CHECKS if check.name == "no signal").line(subject)
    assert no_signal.verdict == "pass" and "equal rewards do have advantages" in no_signal.detail
    late = spec('weight late = position / length\nallow on-policy-weight "meant"')
    on_policy = next(check for check in CHECKS if check.name == "on policy").line(Subject(late, "eager"))
    assert on_policy.verdict == "declared" and not late.warnings


def test_a_rule_may_take_a_token_of_nan_away():
    """The loss stays a number then; the metrics say which tensor is not."""
    (check,) = [check for check in CHECKS if check.name == "NaN"]
    line = check.line(Subject(spec("mute far where not 0.5 < policy / old < 2"), "eager"))
    assert line.verdict == "declared" and "the metrics name the tensor" in line.detail


def test_another_weight_on_policy_must_be_declared():
    text = "weight emphasis = 2 if A > 0 else 1"
    report = maspo_dsl.verify(spec(text), backend="eager")
    assert [line.name for line in report.failed] == ["on policy"]
    assert "allow on-policy-weight" in detail(report, "on policy")
    declared = spec(f'{text}\nallow on-policy-weight "the good count twice"')
    (check,) = [check for check in CHECKS if check.name == "on policy"]
    line = check.line(Subject(declared, "eager"))
    assert line.verdict == "declared" and "the good count twice" in line.detail


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("weight nothing = 1e-30", "batches"),
        ("mute all where A > 0 or A <= 0", "batches"),
        ("advantage = reward - mean(reward, group)", "no signal"),
        ("advantage = center(reward, group) / std(reward, group, ddof = 1)", "no signal"),
        ("ratio = (policy / old) ^ 5", "far ratios"),
        ("ratio = policy / old if policy / old < 50 else 1", "NaN"),
        ("ratio = policy / old |> prod(sequence)", "on policy"),
        ("weight late = 0.9 ^ position / 0.9 ^ length", "long completions"),
        ("penalty p = 0.1 * ((policy / old - 1) ^ 0.5 if policy > old else 0)", "derivative"),
    ],
)
def test_what_a_spec_can_do_wrong(text, line):
    (check,) = [check for check in CHECKS if check.name == line]
    assert check.line(Subject(spec(text), "eager")).verdict == "fail"


TIES = ("rank(A, group) <= 2", "rank(length, group) > 2", "rank(reward, group) > 2")


@pytest.mark.parametrize("condition", TIES)
def test_of_equal_values_the_earlier_is_first_however_a_window_is_cut(condition):
    subject = Subject(spec(f"mute some where {condition}"), "eager")
    found = {check.name: check.line(subject) for check in CHECKS if check.name in CUT}
    assert {line.verdict for line in found.values()} == {"pass"}, found


CUT = ("rows", "groups", "micro-batches", "ranks")


def test_nan_in_a_branch_that_is_not_taken_is_called_that():
    (check,) = [check for check in CHECKS if check.name == "derivative"]
    text = "penalty p = 0.1 * ((policy / old - 1) ^ 0.5 if policy > old else 0)"
    assert "a branch that is not taken" in check.line(Subject(spec(text), "eager")).detail


def test_a_completion_without_a_reward_leaves_the_gradient_of_its_group_a_number():
    """The reward is NaN there, and meets what a mean over the group carries gradient to."""
    text = "let s = sum(log(policy / old), sequence)\npenalty fit = (s - mean(s, group) - reward) ^ 2"
    subject = Subject(spec(text), "eager")
    names = ("emitted, float64", "packed", "missing completions")
    assert [check.line(subject).verdict for check in CHECKS if check.name in names] == ["pass"] * 3


def test_a_ratio_of_zero_is_no_crash():
    subject = Subject(spec("ratio = 0 * policy / old\npenalty p = 0.1 * k2(policy, old)"), "eager")
    names = ("on policy", "no signal")
    assert not any("raises" in check.line(subject).detail for check in CHECKS if check.name in names)


def test_a_spec_with_a_mistake():
    with pytest.raises(maspo_dsl.SpecError, match="alpha"):
        maspo_dsl.verify("maspo", params={"alpa": 1.0})


OWN = "objective one extends grpo\ninput own : token\ninput other : sequence\nweight w = own + other\n"


def test_batches_hold_what_can_go_wrong():
    """Both signs and zeros of A, ratios far on both sides of 1 for each, rare tokens, holes, rows of 1 and 0 tokens."""
    tensors = {**TENSORS, **maspo_dsl.parse(OWN).resolved.own}
    for seed in range(12):
        batch = with_advantage(completions(seed, tensors), seed)
        mask, sign = batch["mask"], np.sign(batch["advantage"])[:, None]
        ratio = np.exp(batch["logp"] - batch["logp_old"])
        for one in (-1, 1):
            seen = ratio[mask & (sign == one)]
            assert (seen < 0.4).any() and (seen > 2.5).any() and (np.abs(seen - 1) < 0.02).any()
        assert (sign == 0).any() and (batch["logp_old"][mask] < np.log(0.002)).any()
        assert set(mask.sum(axis=1)) >= {0, 1, mask.shape[1] - 1}
        assert max(batch[name].max() for name in ("logp", "logp_old", "logp_ref", "logp_rollout")) < 0
        assert batch["own"].shape == mask.shape and batch["other"].shape == mask.shape[:1]
        assert not np.array_equal(batch["correct"], batch["reward"] > 0)
