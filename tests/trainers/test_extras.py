"""Tasks of reasoning-gym and the reward of math-verify, with the packages themselves; and without them."""

import sys

import pytest
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.rewards import load_reward, score
from maspo_dsl.trainers.streams import Streams
from maspo_dsl.trainers.tasks import build_task


def test_what_is_not_installed_is_named_with_the_command(monkeypatch):
    for package in ("reasoning_gym", "math_verify"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ConfigError, match=r"task=reasoning_gym needs .*: pip install 'maspo-dsl\[reasoning-gym\]'"
    ):
        build_task("reasoning_gym", dataset="chain_sum")
    with pytest.raises(ConfigError, match=r"`math_verify` needs .*: pip install 'maspo-dsl\[math-verify\]'"):
        load_reward("math_verify")


def test_rewards_by_name():
    assert load_reward("exact_match")(["1"], answer=["1"]) == [1.0]
    with pytest.raises(ConfigError, match=r"`reward=math_verfy`: .*did you mean `math_verify`"):
        load_reward("math_verfy")


def first(task, count, seed=0):
    return Streams(task, seed).draw(count)[1]


def test_a_data_set_of_reasoning_gym():
    pytest.importorskip("reasoning_gym")
    task = build_task("reasoning_gym", dataset="chain_sum", min_terms=2, max_terms=2, min_digits=2)
    examples, held_out = first(task, 1500), task.held_out(20)
    assert examples == first(task, 1500) != first(task, 1500, seed=1)
    assert held_out == task.held_out(20) and len(held_out) == 20
    asked = {example.prompt[-1]["content"] for example in examples}
    assert len(asked) > 1000 and not asked & {example.prompt[-1]["content"] for example in held_out}
    example = held_out[0]
    right = example.columns["answer"]
    columns = {name: [value] * 3 for name, value in example.columns.items()}
    answers = [right, f"I think <answer> {right} </answer> is it", f"<answer>{int(right) + 1}</answer>"]
    assert score(task.reward, [example.prompt] * 3, answers, columns).values == [1.0, 1.0, 0.0]
    assert build_task("reasoning_gym", dataset="chain_sum", min_terms=2).fingerprint != task.fingerprint


def test_prompts_of_reasoning_gym():
    pytest.importorskip("reasoning_gym")
    plain = build_task("reasoning_gym", dataset="chain_sum", chat=False).held_out(1)[0].prompt
    system = build_task("reasoning_gym", dataset="chain_sum", system="default").held_out(1)[0].prompt
    assert isinstance(plain, str)
    assert [message["role"] for message in system] == ["system", "user"] and "<answer>" in system[0][
        "content"
    ]
    assert system[1]["content"] == plain.strip()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no such data set"),
        ({"dataset": "chain_smu"}, "did you mean `chain_sum`"),
        (
            {"dataset": "chain_sum", "min_trms": 3},
            "chain_sum of reasoning-gym refuses its options: .*min_trms",
        ),
        ({"dataset": "chain_sum", "min_terms": 9}, "refuses its options: max_terms must be"),
        ({"dataset": "chain_sum", "system": "defualt"}, "did you mean `default`"),
        ({"dataset": "chain_sum", "system": "default", "chat": False}, "needs `task_options.chat=true`"),
    ],
)
def test_options_of_reasoning_gym_that_are_wrong(options, said):
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ConfigError, match=said):
        build_task("reasoning_gym", **options)


def test_a_data_set_with_too_few_questions_is_refused(monkeypatch):
    pytest.importorskip("reasoning_gym")
    task = build_task("reasoning_gym", dataset="chain_sum")
    monkeypatch.setattr(task, "_made", lambda seed, size: [{"question": "1 + 1", "answer": "2"}] * 3)
    with pytest.raises(ConfigError, match="has too few questions to hold some out"):
        next(task.train(0))


@pytest.mark.parametrize(
    ("answer", "completion", "expected"),
    [
        ("72", "so it is 72.", 1.0),
        ("72", "so it is 73.", 0.0),
        ("\\frac{1}{2}", "The answer is $0.5$.", 1.0),
        ("\\frac{1}{2}", "The answer is $2$.", 0.0),
        ("$x^2 - 1$", "\\boxed{(x-1)(x+1)}", 1.0),
        ("#### 1,000", "\\boxed{1000}", 1.0),
        ("72", "no idea", 0.0),
    ],
)
def test_answers_that_are_equal(answer, completion, expected):
    pytest.importorskip("math_verify")
    scores = score(load_reward("math_verify"), ["a"], [completion], {"answer": [answer]}, seconds=30)
    assert scores.values == [expected]


def test_the_time_limit_of_a_run_outlives_one_completion(monkeypatch):
    """What algebra cannot decide in time counts 0, and the limit of the call still works behind it."""
    math_verify = pytest.importorskip("math_verify")
    import time

    from maspo_dsl.trainers import math_reward

    monkeypatch.setattr(math_reward, "_SECONDS", 0.05)
    monkeypatch.setattr(math_verify, "verify", lambda *given, **options: time.sleep(5))
    reward = load_reward("math_verify")
    started = time.monotonic()
    assert score(reward, ["a"], ["1"], {"answer": ["1"]}, seconds=30).values == [0.0]
    scores = score(reward, ["a"] * 99, ["1"] * 99, {"answer": ["1"] * 99}, seconds=0.5, most=0)
    assert len(scores.failures) == 99 and time.monotonic() - started < 20
