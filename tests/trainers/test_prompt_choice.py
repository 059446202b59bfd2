"""Which prompts are sampled: the best of some candidates by the objective's score, or by what a teacher learned."""

from types import SimpleNamespace

import pytest
import torch
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.memory import MemoryStore, prompt_ids
from maspo_dsl.trainers.policies.policy import Policy
from maspo_dsl.trainers.prompt_choice import PromptChoice
from maspo_dsl.trainers.run import trainable_objective
from maspo_dsl.trainers.tasks import Example
from maspo_dsl.trainers.utility import UtilityTeacher
from transformers import Qwen2Config, Qwen2ForCausalLM

import maspo_dsl

SOLVED = """\
objective solved extends grpo
memory rate = 0.5 * rate + 0.5 * mean(correct, group) start 0.5 per prompt
prompt = sqrt(rate * (1 - rate))
"""
EXAMPLES = [Example(prompt) for prompt in ("a", "b", "c", "d", "e", "f", "g", "h")]


def chosen(explore, seed=0, text=SOLVED):
    objective = maspo_dsl.parse(text)
    loss = maspo_dsl.compile(objective, backend="eager")
    memory = MemoryStore(objective.memories)
    rates = torch.tensor([0.1, 0.9, 0.45, 1.0, 0.2, 0.7, 0.0, 0.95])
    if memory:
        memory.update({"rate": rates}, prompt_ids([example.prompt for example in EXAMPLES]))
    config = read_config([f"rollout.explore={explore}", "rollout.candidates=4"])
    choice = PromptChoice(objective, loss, config)
    given = EXAMPLES, memory, torch.Generator().manual_seed(seed)
    return [example.prompt for example in choice.choose(SimpleNamespace(), *given)]


def test_of_candidates_that_follow_each_other_the_best_is_taken():
    """sqrt(p (1 - p)) is largest at 0.45 of the first four, and at 0.7 of the others."""
    assert chosen(0.0) == ["c", "f"]
    assert chosen(0.0, text="objective alike extends grpo\n") == [example.prompt for example in EXAMPLES]


def test_some_are_taken_at_random():
    found = [prompt for seed in range(200) for prompt in chosen(1.0, seed)]
    shares = [found.count(example.prompt) / 400 for example in EXAMPLES]
    assert all(0.06 < share < 0.19 for share in shares)
    some = [chosen(0.2, seed)[0] for seed in range(300)]
    assert 0.78 < some.count("c") / 300 < 0.92  # 0.8 and a quarter of 0.2


class Letters:
    pad_id, eos_ids, size = 0, (1,), 6

    def encode(self, prompt):
        return [2 + ord(letter) - ord("a") for letter in prompt]


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=32, num_key_value_heads=1, max_position_embeddings=64, **sizes)
    return Policy(Qwen2ForCausalLM(config).eval(), Letters(), "tiny")


def test_a_teacher_learns_which_prompts_have_rewards_that_differ(policy):
    """Prompts with an `a` are solved half of the time, others always; prompts of several lengths stand together."""
    teacher = UtilityTeacher(0)
    mixed, solved = ["ab", "cad", "adda", "bba"], ["bc", "ccd", "dbcd", "cbb"]
    features = teacher.features(policy, mixed + solved, 4, "32-true")
    for prompt, row in zip(mixed + solved, features, strict=True):
        alone = teacher.features(policy, [prompt], 4, "32-true")[0]
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-5)
    assert teacher.predict(features).tolist() == [0.25] * 8
    for _ in range(20):
        teacher.learn(features, torch.tensor([0.5] * 4 + [0.0] * 4))
    expected = teacher.predict(features)
    assert expected[:4].min() > 0.35 and expected[4:].max() < 0.15
    again = UtilityTeacher(1)
    again.restore(teacher.state())
    for each in (teacher, again):
        each.learn(features[:1], torch.tensor([0.1]))
    assert torch.equal(teacher.predict(features), again.predict(features))
    assert not torch.equal(teacher.predict(features), expected)


def test_a_teacher_sees_the_spread_of_each_prompt_that_has_rewards(policy):
    objective = maspo_dsl.load("goldilocks")
    config = read_config(["rollout.candidates=2", "rollout.explore=0"])
    choice = PromptChoice(objective, maspo_dsl.compile(objective, backend="eager"), config)
    taken = choice.choose(policy, EXAMPLES, MemoryStore({}), torch.Generator())
    assert len(taken) == 4
    nan = torch.nan
    choice.see(torch.tensor([1.0, 0, 1, 0, 1, 1, 1, nan, nan, nan, nan, nan, 0, 0, 0, 1]), 4)
    ((features, spread),) = choice._tried
    assert len(features) == 3  # one prompt has no reward at all
    torch.testing.assert_close(spread, torch.tensor([0.5, 0.0, 0.1875**0.5]))
    before = choice.state()["weight"]
    choice.learn()
    assert not before.numel() and choice.state()["weight"].any() and not choice._tried


def test_what_cannot_be_chosen_by_is_refused(tmp_path):
    (tmp_path / "late.obj").write_text("objective late extends grpo\nprompt = mean(reward, group)\n")
    with pytest.raises(
        ConfigError, match="the `prompt` of objective `late` reads `reward`, which nobody knows"
    ):
        trainable_objective(read_config([]), str(tmp_path / "late.obj"))
    with pytest.raises(
        ConfigError, match=r"rollout\.candidates=7 has no effect: objective `grpo` has no `prompt`"
    ):
        trainable_objective(read_config(["rollout.candidates=7"]), "grpo")
    assert trainable_objective(read_config(["rollout.candidates=7"]), "goldilocks").name == "goldilocks"
