"""What an objective answers about itself: what it reads, when, and within what."""

import pytest

import maspo_dsl


@pytest.mark.parametrize(
    ("name", "purposes", "given", "reads"),
    [
        ("grpo", ["loss"], [], {"mask", "logp", "logp_old", "logp_ref", "reward", "group"}),
        ("grpo", ["loss"], ["advantage"], {"mask", "logp", "logp_old", "logp_ref"}),
        ("grpo", ["advantage"], [], {"mask", "reward", "group"}),
        ("grpo", ["keep", "step", "prompt"], [], {"mask"}),
        ("grpo", ["window"], ["advantage"], {"mask"}),
        ("dapo", ["keep"], [], {"mask", "correct", "group"}),
        ("ppo", ["advantage"], [], {"mask", "reward", "value"}),
        ("stapo", ["window"], ["advantage"], {"mask", "logp", "entropy"}),
        ("vcpo", ["step"], ["advantage"], {"mask", "logp_old", "logp_rollout"}),
    ],
)
def test_reads(name, purposes, given, reads):
    assert maspo_dsl.load(name).reads(*purposes, given=given) == reads


def test_an_unknown_purpose():
    with pytest.raises(ValueError, match="no purpose ratio; there are loss, advantage, keep"):
        maspo_dsl.load("grpo").reads("ratio")


@pytest.mark.parametrize(
    ("line", "purpose", "scopes"),
    [
        ("", "loss", {"sequence", "window"}),
        ("", "advantage", {"group"}),
        ("", "keep", set()),
        ("reduce = loss |> mean(micro)", "loss", {"micro"}),
        ("mute crowd where rank(A, group) > 2", "loss", {"sequence", "window", "group"}),
        ("advantage = reward |> whiten(rollout_batch)", "advantage", {"rollout_batch"}),
        ("reward long = 0.1 * mean(length, rollout_batch)", "advantage", {"group", "rollout_batch"}),
        ("keep hard where mean(correct, group) < 1", "keep", {"group"}),
    ],
)
def test_scopes(line, purpose, scopes):
    assert maspo_dsl.parse(f"objective one extends group_ppo\n{line}\n").scopes(purpose) == scopes


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("reduce = loss |> mean(window)", False),
        ("mute sure where entropy(policy) < quantile(entropy(policy), 0.8, window)", True),
        ("weight far = mean(detach(policy / old), window)", True),
        ("weight far = mean(old, window)", False),
    ],
)
def test_a_statistic_of_the_window_that_reads_the_policy(line, reads):
    assert maspo_dsl.parse(f"objective one extends group_ppo\n{line}\n").window_reads_policy is reads
