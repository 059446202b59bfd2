"""Which line decided what a token weighs: each kind of reason, worked out by hand on a batch of four completions."""

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.analysis.inspection import inspect_batch, missing_tensors
from maspo_dsl.graph.interpret import Interpretation

RATIO = np.array([[1.0, 1.5, 0.5], [1.0, 1.5, 0.5], [1.0, 1.5, 1.0], [1.1, 1.5, 1.0]])
OLD = np.log(np.full((4, 3), 0.1))
BATCH = {
    "logp": OLD + np.log(RATIO),
    "logp_old": OLD,
    "mask": np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]], dtype=bool),
    "reward": np.array([1.0, 0.0, 1.0, 1.0]),
    "group": np.array([3, 3, 8, 8]),
    "truncated": np.array([False, False, True, False]),
}


def inspected(spec, batch=BATCH):
    objective = maspo_dsl.load(spec) if "\n" not in spec else maspo_dsl.parse(spec)
    return inspect_batch(objective.resolved, objective.graph, batch)


def told(found):
    return [["" if n < 0 else found.reasons[n].text for n in row] for row in found.reason]


CLIPPED = "cut off by clip(1 - eps_low, 1 + eps_high)"
EQUAL = "A is 0: its group's rewards are all equal"
MASKED = "not trained: its mask is false"


def test_each_token_has_its_reason():
    found = inspected("group_ppo")
    assert told(found) == [
        ["", CLIPPED, ""],
        ["", "", CLIPPED],
        [EQUAL] * 3,
        [EQUAL, EQUAL, MASKED],
    ]
    lines = {reason.text: reason.span and reason.span.line for reason in found.reasons}
    assert lines == {MASKED: None, EQUAL: 11, CLIPPED: 12}


def test_numbers_are_those_of_the_formula():
    """A is ±1/√2 over its spread of 1/√2, with 1e-4 added to it; weights are A r where nothing is clipped."""
    found = inspected("group_ppo")
    size = 0.5 / (np.sqrt(0.5) + 1e-4)
    assert found.weight[0] == pytest.approx([size, 0, 0.5 * size], abs=1e-9)
    assert found.weight[1] == pytest.approx([-size, -1.5 * size, 0], abs=1e-9)
    assert found.gate[0] == pytest.approx([1, 0, 1])
    assert np.allclose(found.ratio, np.where(BATCH["mask"], RATIO, np.nan), equal_nan=True)


def test_the_gradient_is_that_of_the_oracle():
    objective = maspo_dsl.load("maspo")
    found = inspected("maspo")
    gradient = Interpretation(objective.graph, BATCH).gradient("loss")
    assert np.abs(gradient).max() > 0.01
    assert np.allclose(found.gradient, -gradient)
    assert "gaussian_gate" in told(found)[0][1]


def test_rules_and_weights_of_a_spec_are_named():
    found = inspected(
        "objective mine extends group_ppo\n"
        "mute far where policy / old > 1.2\nexclude last where position == 3\nkeep whole where not truncated\n"
        "weight w = 0 if A < 0 else 1\n"
    )
    assert told(found)[0] == ["", "muted by mute far", "left out by exclude last"]
    assert told(found)[1] == ["weight w is 0", "muted by mute far", "left out by exclude last"]
    assert told(found)[2] == ["dropped by keep whole"] * 3
    assert found.kept.tolist() == [True, True, False, True]


def test_a_missing_reward_and_a_lone_completion_are_said():
    found = inspected("group_ppo", {**BATCH, "reward": np.array([1.0, np.nan, 1.0, 0.0])})
    assert told(found)[0] == ["A is 0: its completion is alone in its group"] * 3
    assert told(found)[1] == ["its completion has no reward"] * 3


def test_what_is_missing_is_named():
    objective = maspo_dsl.load("grpo")
    batch = {name: value for name, value in BATCH.items() if name != "group"}
    assert missing_tensors(objective.resolved, objective.graph, batch).keys() == {"group", "logp_ref"}
    assert not missing_tensors(
        objective.resolved, objective.graph, {**batch, "logp_ref": OLD, "advantage": BATCH["reward"]}
    )
