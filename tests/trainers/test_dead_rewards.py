"""A length penalty that no completion of a run is long enough to get is said to be dead."""

import pytest
from maspo_dsl.trainers.dead_rewards import dead_rewards

import maspo_dsl

UNBOUND = """objective unbound extends group_ppo
param max_length = 20480, cache = 4096 in [1, inf)
reward overlong = overlong(length, max_length, cache)
"""


@pytest.mark.parametrize("limit", [1, 8, 10, 300])
def test_lengths_bound_to_the_run_are_alive(limit):
    assert not dead_rewards(maspo_dsl.load("dapo", run={"generation_limit": limit}), limit)


def test_the_lengths_of_the_paper_are_dead_in_a_short_run():
    assert dead_rewards(maspo_dsl.parse(UNBOUND), 10)
    assert dead_rewards(maspo_dsl.parse(UNBOUND), 16384)
    assert not dead_rewards(maspo_dsl.parse(UNBOUND), 16400)


def test_other_rewards_are_left_alone():
    assert not dead_rewards(maspo_dsl.load("grpo"), 10)
    text = "objective o extends group_ppo\nreward late = -1 * mean(k1(old, reference), sequence)\n"
    assert not dead_rewards(maspo_dsl.parse(text), 10)
