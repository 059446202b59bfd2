"""What is measured on held-out prompts, against what it must come to."""

import math

import pytest
import torch
from maspo_dsl.trainers import measuring
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.measuring import measures
from maspo_dsl.trainers.rewards import Weighted
from maspo_dsl.trainers.tasks import Example

EXAMPLES = [Example(str(2 + number % 4)) for number in range(600)]


def same(prompts, completions):
    return [float(prompt == completion) for prompt, completion in zip(prompts, completions, strict=True)]


@pytest.mark.parametrize("k", [1, 4])
def test_avg_and_pass_at_k_of_a_uniform_policy(parts, k):
    """Six tokens are equally likely, and one is right: avg@k is 1/6, pass@k 1 - (5/6)^k; four standard errors."""
    policy = parts.policy()
    with torch.no_grad():
        policy.model.table.zero_()
    config = read_config([f"trainer.eval_samples={k}", "rollout.max_new_tokens=1"])
    found = measures(policy, EXAMPLES, same, {}, config)
    p, passed = 1 / 6, 1 - (5 / 6) ** k
    assert found["eval/avg@k"] == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / (600 * k)))
    assert found["eval/pass@k"] == pytest.approx(passed, abs=4 * math.sqrt(passed * (1 - passed) / 600))
    assert measures(policy, EXAMPLES, same, {}, config) == found  # the same completions each time


def test_what_a_group_passes_by(parts, monkeypatch):
    """Two prompts, three completions each: 1 + 0 + 0 and 0 + 0 + none; a reward below 0 passes nothing."""
    answers = iter([["a", "b"], ["2", "x", "x", "x", "x", "none"]])
    monkeypatch.setattr(measuring, "_texts", lambda *given, **options: next(answers))

    def reward(prompts, completions):
        worth = {"2": 1.0, "x": -0.5, "none": None}
        return [worth.get(each, 0.0) for each in completions]

    config = read_config(["trainer.eval_samples=3"])
    found = measures(parts.policy(), [Example("2"), Example("3")], reward, {}, config)
    assert found == {"eval/greedy": 0.0, "eval/avg@k": (1 - 0.5 * 4) / 5, "eval/pass@k": 0.5}


def test_metrics_of_ones_own_read_the_greedy_completions(parts):
    lengths = Weighted(lambda completions: [len(each) for each in completions])
    config = read_config(["rollout.max_new_tokens=3"])
    with torch.no_grad():
        (policy := parts.policy()).model.table.zero_()[:, 4] = 9.0  # 444 to everything
    found = measures(policy, EXAMPLES[:4], same, {"length": lengths}, config)
    assert found == {"eval/greedy": 0.0, "eval/length": 3.0}
