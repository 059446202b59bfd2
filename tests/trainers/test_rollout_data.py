"""Rollouts: what is computed once, what is dropped, what is logged."""

import pytest
import torch
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.generation import token_logp
from maspo_dsl.trainers.measuring import measures
from maspo_dsl.trainers.rollout_data import RolloutData, columns_of
from maspo_dsl.trainers.tasks import Example

SMALL = ["rollout.prompts=8", "rollout.samples=4", "rollout.max_new_tokens=4", "trainer.micro_batches=2"]


@pytest.fixture
def build(parts):
    """Rollout data of stand-ins, its loss, and the lines it logged."""

    def build(*overrides, objective=None, loss=None, reward=None, task=None):
        objective = objective or parts.objective()
        loss, logged, task = loss or parts.loss(objective), [], task or parts.task()
        config = read_config([*SMALL, *overrides])
        reward = reward or task.reward
        return RolloutData(parts.policy(), task, reward, objective, loss, config, logged.append), loss, logged

    return build


def test_a_step_is_one_rollout_with_one_advantage_call_and_whole_groups(build):
    data, loss, logged = build()
    windows = list(data)
    assert len(windows) == 4
    assert [sum(len(part["reward"]) for part in window) for window in windows] == [8, 8, 8, 8]
    assert [len(window) for window in windows] == [2, 2, 2, 2]
    assert loss.advantage_calls == 1
    groups = [{int(g) for part in window for g in part["group"]} for window in windows]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 8
    assert not logged


def test_iterating_again_gives_the_same_windows_until_the_step_is_finished(build):
    data, loss, _ = build()
    first, again = list(data), list(data)
    assert all(
        torch.equal(a["tokens"], b["tokens"])
        for x, y in zip(first, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert loss.advantage_calls == 1
    data.finish_step()
    groups = {int(g) for window in data for part in window for g in part["group"]}
    assert groups == set(range(8, 16))


def test_old_log_probs_are_the_policy_s_and_start_at_ratio_one(build, parts):
    data, _, _ = build()
    part = next(iter(data))[0]
    logits = data.policy.model(part["tokens"]).logits.log_softmax(-1)
    length = part["mask"].shape[1]
    expected = logits[:, -length - 1 : -1].gather(2, part["tokens"][:, -length:, None])[..., 0]
    torch.testing.assert_close(part["logp_old"][part["mask"]], expected[part["mask"]].detach())
    assert not part["logp_old"].requires_grad


def test_no_reference_unless_the_objective_reads_one(build, parts):
    data, _, _ = build()
    assert not data.others
    assert "logp_ref" not in next(iter(data))[0]
    objective = parts.objective(inputs=parts.objective().inputs | {"logp_ref", "logp_rollout"})
    data, _, _ = build(objective=objective)
    part = next(iter(data))[0]
    torch.testing.assert_close(part["logp_ref"][part["mask"]], part["logp_old"][part["mask"]])
    torch.testing.assert_close(part["logp_rollout"][part["mask"]], part["logp_old"][part["mask"]])
    with torch.no_grad():
        data.policy.model.table += torch.randn_like(data.policy.model.table)
    data.finish_step()
    part = next(iter(data))[0]
    assert not torch.allclose(part["logp_ref"][part["mask"]], part["logp_old"][part["mask"]])


def test_a_teacher_reads_what_the_policy_wrote(parts):
    inputs = parts.objective().inputs | {"logp_larger"}
    objective, teacher = parts.objective(teachers=("larger",), inputs=inputs), parts.model()
    with torch.no_grad():
        teacher.table += torch.randn_like(teacher.table)
    config, task = read_config(SMALL), parts.task()
    given = parts.policy(), task, task.reward, objective, parts.loss(objective), config
    part = next(iter(RolloutData(*given, teachers={"larger": teacher})))[0]
    length, temperature = part["mask"].shape[1], config.rollout.temperature
    wanted, _ = token_logp(
        teacher, part["tokens"], part["attention"], length, temperature=temperature, entropy=False
    )
    chosen = part["mask"]
    torch.testing.assert_close(part["logp_larger"][chosen], wanted.detach()[chosen], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(part["logp_larger"][chosen], part["logp_old"][chosen], atol=0.1)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_old_log_probs_are_those_of_whole_sequences(build, precision):
    """The sampler's in full precision; computed once more in any other."""
    data, _, _ = build(f"trainer.precision={precision}")
    window = next(iter(data))
    for part in window:
        logp, entropy = token_logp(
            data.policy.model,
            part["tokens"],
            part["attention"],
            part["mask"].shape[1],
            temperature=data.config.rollout.temperature,
            entropy=True,
        )
        for found, wanted in ((part["logp_old"], logp), (part["entropy"], entropy)):
            assert found[part["mask"]].abs().max() > 0
            torch.testing.assert_close(
                found[part["mask"]], wanted.detach()[part["mask"]], rtol=1e-4, atol=1e-4
            )


def rarely(prompts, completions, **columns):
    """1 for completions that begin with the prompt: about half of the groups are all 0."""
    return [float(c.startswith(p)) for p, c in zip(prompts, completions, strict=True)]


def test_dynamic_sampling_refills_with_new_prompts(build, parts):
    data, _, _ = build(objective=parts.objective(keeps=True), reward=rarely)
    rewards = [part for window in data for part in window]
    for part in rewards:
        for group in part["group"].unique():
            assert part["reward"][part["group"] == group].unique().numel() > 1
    assert data.sampled.resamples > 0
    assert data.sampled.completions > 32 == len(data.sampled.rows)
    assert len({int(g) for part in rewards for g in part["group"]}) <= 8
    assert data.sampled.kept == sum(len(part["reward"]) for part in rewards)


def test_dynamic_sampling_goes_on_with_what_there_is(build, parts):
    data, _, logged = build("rollout.max_resamples=0", objective=parts.objective(keeps=True), reward=rarely)
    for _ in range(3):
        assert list(data)
        data.finish_step()
    assert len(logged) == 1
    assert "of 8 prompts after 0 refills" in logged[0]


def test_nothing_kept_is_a_step_without_updates(build, parts):
    data, _, logged = build(
        "rollout.max_resamples=2",
        objective=parts.objective(keeps=True),
        reward=lambda completions, **columns: [1.0] * len(completions),
    )
    assert list(data) == [[]]
    assert any("all 32 rewards are 1" in line for line in logged)
    assert any("kept no completion" in line for line in logged)
    assert data.sampled.resamples == 2


def test_a_rollout_without_a_trained_token_is_a_step_without_updates(build, monkeypatch):
    import maspo_dsl.trainers.rollout_data as module

    def silent(*args, **options):
        rollout = generate(*args, **options)
        rollout.mask.fill_(False)
        return rollout

    generate = module.generate
    monkeypatch.setattr(module, "generate", silent)
    data, _, logged = build()
    assert list(data) == [[]]
    assert any("no completion has a trained token" in line for line in logged)


def test_equal_rewards_are_logged_once(build):
    data, _, logged = build(reward=lambda completions, **columns: [0.5] * len(completions))
    for _ in range(3):
        list(data)
        data.finish_step()
    assert len([line for line in logged if "no signal" in line]) == 1


def test_rewards_equal_within_each_group_are_logged_once(build):
    places = {}

    def by_prompt(prompts, **columns):
        return [places.setdefault(prompt, len(places)) for prompt in prompts]

    data, _, logged = build(reward=by_prompt)
    for _ in range(3):
        list(data)
        data.finish_step()
    assert len(logged) == 1
    assert "step 1: every advantage is 0" in logged[0]


@pytest.mark.parametrize("returned", [None, [1.0], float("nan")])
def test_a_wrong_reward_is_a_config_error(build, returned):
    def reward(completions, **columns):
        return [returned] * len(completions) if isinstance(returned, float) else returned

    with pytest.raises(ConfigError, match="reward function"):
        list(build(reward=reward)[0])


def test_the_state_of_the_streams_resumes_exactly(build):
    data, _, _ = build()
    for _ in range(2):
        list(data)
        data.finish_step()
    state = data.state_dict()
    expected = list(data)
    torch.rand(3)
    other, _, _ = build()
    other.load_state_dict(state)
    assert other.steps_done == 2
    for window, again in zip(expected, other, strict=True):
        for part, same in zip(window, again, strict=True):
            assert all(torch.equal(part[name], same[name]) for name in part)


def test_held_out_greedy_reward(parts):
    config = read_config(SMALL)
    policy, task = parts.policy(), parts.task()
    with torch.no_grad():
        policy.model.table.copy_(10 * torch.eye(6))
    assert measures(policy, task.held_out(4), task.reward, {}, config) == {"eval/greedy": 1.0}
    assert measures(policy, [], task.reward, {}, config) == {}


def test_columns_of_examples_that_have_different_ones():
    assert columns_of([Example("a", {"x": 1}), Example("b", {"y": 2})]) == {"x": [1, None], "y": [None, 2]}
