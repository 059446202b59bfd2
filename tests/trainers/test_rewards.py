"""Rewards: TRL's signature, found by import path, with every wrong answer named."""

import contextlib
import math
import re
import signal
import sys
import time

import numpy
import pytest
import torch
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.rewards import load_reward, score
from maspo_dsl.trainers.time_limit import TimeLimit, time_limit

CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder, under a name that no other test uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = []

    def write(text):
        name = f"rewards_{tmp_path.name}_{len(written)}"
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_a_function_of_the_current_folder(module):
    name = module("def length(completions, **kwargs):\n    return [float(len(c)) for c in completions]\n")
    assert score(load_reward(f"{name}.length"), ["a", "b"], ["xx", "yyy"], {}).values == [2, 3]


def test_a_shipped_function():
    reward = load_reward("maspo_dsl.trainers.rewards.exact_match")
    assert score(reward, ["a"], ["1"], {"answer": ["1"], "other": [None]}).values == [1]


def test_functions_get_the_columns_that_they_name():
    def reward(completions, answer, level=None):
        return [len(completions) + int(a) + n for a, n in zip(answer, level, strict=True)]

    columns = {"answer": ("1", "2"), "level": (10, 20), "unread": (0, 0)}
    assert score(reward, ["a", "b"], ["x", "y"], columns).values == [13, 24]


def test_columns_are_lists_and_everything_goes_to_keywords():
    def reward(**given):
        assert sorted(given) == ["answer", "completions", "prompts"]
        assert all(isinstance(values, list) for values in given.values())
        return [0.5]

    assert score(reward, ("a",), ("x",), {"answer": ("1",)}).values == [0.5]


def test_completions_take_the_form_of_their_prompts():
    seen = []

    def reward(prompts, completions):
        seen.extend(completions)
        return [1, 1]

    score(reward, ["plain", CHAT], ["x", "y"], {})
    assert seen == ["x", [{"role": "assistant", "content": "y"}]]


@pytest.mark.parametrize("answer", [[1, 0], (True, False), torch.tensor([1.0, 0.0]), numpy.array([1, 0])])
def test_numbers_of_all_kinds(answer):
    assert score(lambda completions: answer, ["a", "b"], ["x", "y"], {}).values == [1.0, 0.0]
    assert score(lambda completions: list(answer), ["a", "b"], ["x", "y"], {}).values == [1.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "returned None; expected a list of 2 numbers"),
        ([1.0], "returned 1 values for 2 completions"),
        ([1.0, 2.0, 3.0], "returned 3 values for 2 completions"),
        (0.5, "returned 0.5; expected a list"),
        ("no", "returned 'no'; expected a list"),
        ({"a": 1, "b": 2}, "expected a list"),
        (torch.tensor(1.0), "returned 1.0; expected a list"),
    ],
)
def test_an_answer_that_is_no_list_of_rewards_is_an_error(answer, message):
    def my_reward(completions):
        return answer

    with pytest.raises(ConfigError, match="my_reward` returned") as caught:
        score(my_reward, ["a", "b"], ["first", "second"], {}, most=2)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "failed", "message"),
    [
        ([float("nan"), 1], 0, "returned nan for completion 0, 'first'"),
        ([1, float("-inf")], 1, "returned -inf for completion 1, 'second'"),
        (["1", 1], 0, "returned '1' for completion 0, 'first'; expected a number"),
        ([1, torch.tensor(float("nan"))], 1, "returned nan for completion 1"),
        ([1, 2j], 1, "returned 2j for completion 1"),
        ([1, [2, 3]], 1, "for completion 1, 'second'; expected a number"),
        ([1, 1e39], 1, "1e+39 for completion 1, 'second'; a reward is a finite number in 32 bits"),
        ([1, 10**400], 1, "for completion 1, 'second'; a reward is a finite number in 32 bits"),
    ],
)
def test_a_wrong_answer_costs_its_completion_and_is_named(answer, failed, message):
    def my_reward(completions):
        return answer

    scores = score(my_reward, ["a", "b"], ["first", "second"], {})
    assert math.isnan(scores.values[failed])
    assert scores.values[1 - failed] == 1.0
    assert scores.failures.keys() == {failed}
    assert message in scores.failures[failed]


def test_a_function_that_needs_what_is_not_there():
    def reward(completions, solution):
        return [0.0]

    with pytest.raises(ConfigError, match=r"needs `solution`, and the task has no such column.*`answer`"):
        score(reward, ["a"], ["x"], {"answer": ["1"]})
    with pytest.raises(ConfigError, match="takes `completions` by position"):
        score(lambda completions, /: [0.0], ["a"], ["x"], {})


def test_a_function_that_fails_is_named_with_the_place():
    def reward(completions):
        return [1 / 0]

    [why] = score(reward, ["a"], ["x"], {}).failures.values()
    assert re.search(r"reward` failed: ZeroDivisionError: .*test_rewards\.py:\d+", why)


def test_a_function_that_exits_fails():
    def reward(completions):
        sys.exit("no dictionary")

    [why] = score(reward, ["a"], ["x"], {}).failures.values()
    assert "reward` failed: SystemExit: no dictionary" in why


def test_one_completion_that_breaks_a_reward_costs_no_other():
    calls = []

    def reward(completions):
        calls.append(len(completions))
        return [1 / len(completion) for completion in completions]

    scores = score(reward, ["a"] * 4, ["x", "", "xy", "xyzw"], {}, most=2)
    assert scores.values[0] == 1
    assert math.isnan(scores.values[1])
    assert scores.values[2:] == [0.5, 0.25]
    assert scores.failures.keys() == {1}
    assert calls == [4, 1, 1, 1, 1]


def test_a_reward_that_always_fails_is_not_asked_for_ever():
    calls = []

    def reward(completions):
        calls.append(len(completions))
        raise OSError("the judge does not answer")

    scores = score(reward, ["a"] * 9, ["x"] * 9, {}, most=2)
    assert calls == [9, 1, 1, 1]
    assert scores.failures.keys() == set(range(9))
    assert all("OSError: the judge does not answer" in why for why in scores.failures.values())


@pytest.mark.parametrize("caught", [(), (Exception,)])
def test_a_reward_that_hangs_on_one_completion_is_stopped(caught):
    """Also one that tries again after any exception."""

    def reward(completions):
        while "hang" in completions:
            with contextlib.suppress(*caught):
                time.sleep(5)
        return [1.0] * len(completions)

    before, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    scores = score(reward, ["a"] * 3, ["x", "hang", "y"], {}, seconds=0.05, most=2)
    assert time.monotonic() - started < 4
    assert (scores.values[0], scores.values[2]) == (1.0, 1.0)
    assert "did not answer within 0.05 seconds (rollout.reward_timeout)" in scores.failures[1]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(("inner", "ends"), [(0.05, "inner"), (9.0, "outer")])
def test_a_limit_within_a_limit(inner, ends):
    """The one that ends first counts, and the outer one still works behind the inner."""
    started, found = time.monotonic(), []
    try:
        with time_limit(0.3) as outer:
            try:
                with time_limit(inner) as own:
                    time.sleep(5)
            except TimeLimit as error:
                if error is not own:
                    raise
                found.append("inner")
            time.sleep(5)
    except TimeLimit as error:
        assert error is outer
        found.append("outer")
    assert found == list(dict.fromkeys([ends, "outer"]))
    assert time.monotonic() - started < 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_reward_that_hangs_for_good_is_soon_given_up():
    calls = []

    def reward(completions):
        calls.append(len(completions))
        time.sleep(5)

    scores = score(reward, ["a"] * 99, ["x"] * 99, {}, seconds=0.02, most=99)
    assert calls == [99, 1, 1, 1]
    assert len(scores.failures) == 99


def test_a_reward_gets_copies_of_its_own():
    """Each completion of a prompt its own: rows of one prompt hold one list."""
    prompt, columns = [{"role": "user", "content": "hello"}], [["tag"]] * 2

    def reward(prompts, completions, tags):
        for each, completion, own in zip(prompts, completions, tags, strict=True):
            each.extend(completion)
            own.append("seen")
            each[0]["content"] = "changed"
        return [float(len(each) + len(own)) for each, own in zip(prompts, tags, strict=True)]

    assert score(reward, [prompt] * 2, ["x", "y"], {"tags": columns}).values == [4, 4]
    assert prompt == CHAT
    assert columns == [["tag"]] * 2


def test_a_function_may_empty_what_it_is_given():
    def reward(prompts, completions):
        return [float(len(completions.pop())) for _ in prompts]

    assert score(reward, ["a", "b"], ["x", "xyz"], {}).values == [3, 1]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("score", "write `module.function`"),
        ("rewards.py:score", "write `module.function`"),
        ("a/b.score", "write `module.function`"),
        ("", "write `module.function`"),
        ("no_such_module.score", "there is no module `no_such_module`"),
        ("maspo_dsl.trainers.reward.exact_match", "there is no module `maspo_dsl.trainers.reward`"),
        ("maspo_dsl.trainers.rewards.exact_macth", "did you mean `exact_match`"),
        ("maspo_dsl.trainers.rewards.RewardFunction.x", "there is no module"),
        ("math.pi", "is a float, not a function"),
    ],
)
def test_a_wrong_path(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError, match=message):
        load_reward(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_library\n", "imports `no_such_library`, which is not installed"),
        ("def f(:\n", r"SyntaxError: .*\.py:1"),
        ("import sys\nsys.exit(2)\n", r"SystemExit: 2 \(.*\.py:2"),
        ("\nraise OSError('gone')\n", r"OSError: gone \(.*\.py:2"),
    ],
)
def test_a_module_that_cannot_be_used(module, text, message):
    with pytest.raises(ConfigError, match=message):
        load_reward(f"{module(text)}.f")


def test_the_nearest_module_of_the_folder(module, tmp_path):
    name = module("def f(completions): ...\n")
    with pytest.raises(ConfigError, match=f"did you mean `{name}`"):
        load_reward(f"{name}x.f")
