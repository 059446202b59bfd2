"""Several rewards by name: their weighted sum, None, async, columns, and objectives that read one of them."""

import asyncio
import json
import math
import time

import pytest
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.rewards import Weighted, load_rewards, score, score_all


def length(completions):
    return [len(each) for each in completions]


def level(completions, level):
    return [None if each is None else each / 2 for each in level]


def test_the_reward_is_the_weighted_sum_of_those_that_apply():
    """0.5 * 3 + 2 * 4 / 2 = 5.5; alone 0.5 * 1; nothing of the two applies to nobody."""
    rewards = {"length": Weighted(length, 0.5), "level": Weighted(level, 2.0)}
    scores = score_all(rewards, ["a", "b"], ["xyz", "x"], {"level": [4, None]})
    assert scores.values == [5.5, 0.5]
    assert scores.parts["length"] == [3, 1]
    assert scores.parts["level"][0] == 2 and math.isnan(scores.parts["level"][1])
    assert not scores.failures


def test_a_completion_to_which_nothing_applies_has_no_reward_and_has_not_failed():
    scores = score_all({"level": Weighted(level)}, ["a", "b"], ["x", "y"], {"level": [None, 1]})
    assert math.isnan(scores.values[0]) and scores.values[1] == 0.5
    assert not scores.failures


def test_a_failure_of_one_costs_the_completion_what_the_others_say():
    def broken(completions):
        return [math.nan, 1.0]

    scores = score_all({"length": Weighted(length), "broken": Weighted(broken)}, ["a", "b"], ["x", "yy"], {})
    assert math.isnan(scores.values[0]) and scores.values[1] == 3
    assert scores.failures.keys() == {0} and "broken" in scores.failures[0]


def test_an_async_reward_waits_for_all_at_once():
    async def judge(completions):
        async def one(text):
            await asyncio.sleep(0.05)
            return float(len(text))

        return await asyncio.gather(*map(one, completions))

    started = time.monotonic()
    assert score(judge, ["a"] * 20, ["xy"] * 20, {}).values == [2.0] * 20
    assert time.monotonic() - started < 0.8

    async def within_a_loop():
        return score(judge, ["a"], ["xyz"], {}).values

    assert asyncio.run(within_a_loop()) == [3.0]


def test_an_async_reward_that_hangs_is_stopped():
    async def judge(completions):
        if "hang" in completions:
            await asyncio.sleep(5)
        return [1.0] * len(completions)

    started = time.monotonic()
    scores = score(judge, ["a"] * 2, ["hang", "x"], {}, seconds=0.05, most=1)
    assert time.monotonic() - started < 3
    assert scores.failures.keys() == {0} and scores.values[1] == 1.0


def test_an_async_reward_that_raises_is_named():
    async def judge(completions):
        raise OSError("no server")

    [why] = score(judge, ["a"], ["x"], {}).failures.values()
    assert "OSError: no server" in why


def test_named_functions_are_loaded_with_their_weights():
    path = "maspo_dsl.trainers.rewards.exact_match"
    assert load_rewards({"a": path, "b": path}, {"b": 0.25})["b"].weight == 0.25
    with pytest.raises(ConfigError, match=r"`rewards\.b=maspo_dsl\.trainers\.rewards\.exact`"):
        load_rewards({"b": "maspo_dsl.trainers.rewards.exact"}, {})


JUDGES = """
async def letters(completions, **columns):
    return [float(sum(map(str.isalpha, each))) for each in completions]

def even(completions, answer, **columns):
    return [None if int(a) % 2 else float(len(c)) for c, a in zip(completions, answer)]
"""
SPEC = """objective weighed extends dr_grpo
input even : sequence
weight by_even = 1 + even
allow on-policy-weight "weighed"
"""
NAMED = [
    "rewards.letters=judges.letters",
    "rewards.even=judges.even",
    "reward_weights.even=0.5",
    "reward=null",
]


def samples(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_a_run_has_a_column_for_each_and_samples_say_what_applied(here, tmp_path):
    (tmp_path / "judges.py").write_text(JUDGES)
    here("run=run", *NAMED, steps=3, spec="dr_grpo")
    for each in samples(tmp_path / "run"):
        even = each.get("reward/even")
        assert (even is None) == bool(int(each["answer"]) % 2)
        assert each["reward"] == pytest.approx(each["reward/letters"] + 0.5 * (even or 0))
    header = (tmp_path / "run/metrics.csv").read_text().splitlines()[0].split(",")
    assert header[-2:] == ["reward/letters", "reward/even"]


def test_an_objective_reads_one_of_them(here, tmp_path, monkeypatch):
    """A completion that lacks it is not trained: its reward is none, and its advantage 0."""
    from maspo_dsl.trainers import rollout_data

    (tmp_path / "judges.py").write_text(JUDGES)
    (tmp_path / "weighed.obj").write_text(SPEC)
    seen = []
    inner = rollout_data.RolloutData._cut_windows

    def spy(self, rows):
        windows = inner(self, rows)
        seen.extend((rows.batch["reward"], rows.batch["even"], rows.batch["advantage"], rows.notes))
        return windows

    monkeypatch.setattr(rollout_data.RolloutData, "_cut_windows", spy)
    here("run=run", *NAMED, steps=1, spec="weighed.obj")
    reward, even, advantage, notes = seen[:4]
    lacks = even.isnan()
    assert 0 < int(lacks.sum()) < len(lacks)
    assert lacks.tolist() == [bool(int(note.answer) % 2) for note in notes]
    assert reward.isnan().tolist() == lacks.tolist()
    assert advantage[~lacks].abs().sum() > 0 and not advantage[lacks].nan_to_num().any()


def test_an_input_that_no_reward_gives_is_refused(here, tmp_path):
    (tmp_path / "weighed.obj").write_text(SPEC)
    with pytest.raises(ConfigError, match=r"reads `even`.*`rewards\.NAME=module\.function` give"):
        here("run=run", spec="weighed.obj")


def test_a_reward_that_never_applies_is_an_error(here, tmp_path):
    (tmp_path / "judges.py").write_text(
        "def letters(completions, **columns):\n    return [None] * len(completions)\n"
    )
    with pytest.raises(ConfigError, match="returned None where the objective needs a number, for all 16"):
        here("run=run")
