"""`maspo_dsl.verify` on specs that hold, shipped and not; and what it says about those that need not."""

import io

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.semantics.quantities import TENSORS
from maspo_dsl.verification.batches import completions, with_advantage
from maspo_dsl.verification.report import Line
from maspo_dsl.verification.subject import Subject
from maspo_dsl.verification.verify import CHECKS

from .catalogue import FILES


def spec(text: str, base: str = "group_ppo") -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(f"objective example extends {base}\n{text}\n"))


def line_of(name: str, text: str) -> Line:
    (check,) = [check for check in CHECKS if check.name == name]
    return check.line(Subject(spec(text), "eager"))


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


REACHED = {
    "groups": "advantage = reward - quantile(reward, 0.5, group) if count(reward, group) >= 16 else 0",
    "groups of an exact size": "mute others where count(reward, group) != 24",
    "pairs": "mute others where count(reward, group) == 2",
    "lengths": "mute long where length > 30",
    "long completions": "mute early where position < 3000",
    "entropies": "mute sure where entropy(policy) < 4.2",
    "rewards": "advantage = (1 if reward > 87.5 else 0) |> center(group)",
    "advantages": "weight bold = 2 if A > 300 else 1",
    "far ratios": "mute far where policy / old > 1e5",
    "codes": "input status : sequence in {200, 404}\nmute failed where status != 200",
    "whole numbers": "input turn : token in [-1, 300]\nmute first where turn == 0 or turn == 250",
    "sets": "let x = min(sum(1 if reward > 0 else 0, group), 9)\nmute few where binom(x, 6) == 0",
}


@pytest.mark.parametrize("text", REACHED.values(), ids=REACHED)
def test_what_a_spec_compares_with_is_drawn(text):
    found = line_of("batches", text)
    assert found.verdict == "pass" and "not reached" not in found.detail, found.detail


def test_what_is_not_reached_is_named_with_its_place():
    found = line_of("batches", "weight w = 2 if A > 1e6 or A > 1e-6 and old <= 2 else 1")
    assert found.verdict == "pass"
    assert found.detail.endswith(
        "choices go both ways; not reached, which is not dead: "
        "<file>:2:17 `A > 1e6` never holds; <file>:2:41 `old <= 2` always holds"
    )


def test_what_is_not_finite_is_named_with_its_place():
    found = line_of("batches", "advantage = reward / (count(reward, group) - 1) |> center(group)")
    assert found.verdict == "fail" and "<file>:2:13 `reward / (count(reward, group) - 1)`" in found.detail


ASKED = {
    "an input": "input w : token\nweight given = w",
    "a part after the advantage": "weight late = position / length",
    "twice": "ratio = 2 * policy / old",
    "by the reward": "weight right = 2 if correct else 1",
    "an unlikely token": "weight rare = 2 if old < 0.1 else 1",
    "two policies": "ratio = policy / old + policy / rollout",
    "nobody": "mute all where A > 0 or A <= 0\npenalty p = k2(policy, 0.5 * old)",
    "a large advantage": "weight w = 2 if abs(A) > 200 else 1",
    "a group": "ratio = policy / old * (1 + mean(policy / old, group))",
}


@pytest.mark.parametrize("text", ASKED.values(), ids=ASKED)
def test_what_verify_asks_for_is_no_unused_allow(text):
    found = line_of("on policy", text)
    assert found.verdict == "fail" and 'allow on-policy-weight "why"' in found.detail
    allowed = f'{text}\nallow on-policy-weight "meant"'
    assert "unused-allow" not in {warning.code for warning in spec(allowed).warnings}
    assert line_of("on policy", allowed).verdict == "declared"


def test_an_advantage_that_is_not_estimated_is_tested_where_it_is_given():
    text = "advantage = 0 * reward\npenalty fit = (sum(log(policy / reference), sequence) - reward) ^ 2"
    assert line_of("on policy", text).verdict == "pass"
    assert "unused-allow" in {
        warning.code for warning in spec(f'{text}\nallow on-policy-weight "no"').warnings
    }


def test_a_loss_of_pairs_alone_is_tested():
    text = """
let best = reward == max(reward, group) and reward != min(reward, group)
let margin = sum(sum(log(policy / old), sequence) * (1 if best else -1), group)
ratio = none
penalty bt = mean(softplus(-margin) if count(reward, group) == 2 and 0 < mean(best, group) < 1 else 0, window)
"""
    assert line_of("batches", text).verdict == line_of("packed", text).verdict == "pass"


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
