"""What an objective keeps from rollout to rollout: brought with each batch, learned from all of a rollout, resumed."""

import pytest
import torch
from maspo_dsl.trainers.checkpoint import last_checkpoint
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.memory import MemoryStore, prompt_ids
from maspo_dsl.trainers.rollout_data import RolloutData

import maspo_dsl

from .test_run import run, table, weights

SPEC = """\
objective kept extends group_ppo
memory base = 0.5 * base + 0.5 * mean(reward, group)                                        start 0.25 per prompt
memory coef = coef + (1e-3 if mean(detach(entropy(policy)), rollout_batch) < 1 else -1e-3)  start 0.1  per run
advantage     = reward - base
bonus entropy = coef * entropy(policy)
keep some where max(reward, group) > 0
"""


@pytest.fixture
def data(parts):
    objective, task = maspo_dsl.parse(SPEC), parts.task()
    config = read_config(["rollout.prompts=8", "rollout.samples=4", "rollout.max_new_tokens=4"])
    loss = maspo_dsl.compile(objective, backend="eager")
    return RolloutData(parts.policy(), task, task.reward, objective, loss, config, print)


def test_values_are_those_before_the_rollout_and_learn_from_all_of_it(data):
    """Prompts that `keep` leaves out tell their reward all the same; two groups of a prompt are one."""
    known: dict[str, float] = {}
    coef, twice, dropped = 0.1, 0, 0
    for _ in range(4):
        windows = list(data)
        sampled = [
            (prompt, float(r))
            for rows in data._rollout
            for prompt, r in zip(rows.prompts, rows.batch["reward"], strict=True)
        ]
        for part in (part for window in windows for part in window):
            prompts = [str(int(token)) for token in part["tokens"][:, 0]]
            expected = torch.tensor([known.get(prompt, 0.25) for prompt in prompts])
            assert torch.equal(part["base"], expected) and part["coef"] == torch.tensor(coef)
            torch.testing.assert_close(part["advantage"], part["reward"] - expected)
        for prompt in {prompt for prompt, _ in sampled}:
            rewards = [reward for one, reward in sampled if one == prompt]
            twice += len(rewards) > 4
            known[prompt] = float(
                torch.tensor(0.5 * known.get(prompt, 0.25) + 0.5 * sum(rewards) / len(rewards))
            )
        entropy = torch.cat([rows.batch["entropy"][rows.batch["mask"]] for rows in data._rollout]).mean()
        coef = float(torch.tensor(coef) + (1e-3 if entropy < 1 else -1e-3))
        dropped += data.sampled.completions - data.sampled.kept
        found = data.memory.tensors(prompt_ids(list(known)))
        torch.testing.assert_close(found["base"], torch.tensor(list(known.values())))
        data.finish_step()
    assert twice and dropped and len(known) == 4


def test_a_resumed_run_is_the_uninterrupted_one(stand_in_policy, tmp_path):
    spec = tmp_path / "kept.obj"
    spec.write_text(SPEC)
    run(tmp_path / "whole", steps=4, source=str(spec))
    run(tmp_path / "parts", steps=2, source=str(spec))
    run(tmp_path, f"resume={tmp_path / 'parts'}", steps=4, source=None)
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert table(tmp_path / "whole") == table(tmp_path / "parts")
    kept = [_kept(tmp_path / folder) for folder in ("whole", "parts")]
    assert kept[0] == kept[1] and len(kept[0]["base"]) == 4 and kept[0]["coef"][0] != 0.1


def _kept(folder):
    state = torch.load(last_checkpoint(folder), weights_only=True)
    return next(value["memory"] for value in state.values() if isinstance(value, dict) and "memory" in value)


def test_what_is_not_finite_is_refused():
    store = MemoryStore(maspo_dsl.parse(SPEC).memories)
    after = {"base": torch.tensor([0.5, float("nan")]), "coef": torch.tensor(0.1)}
    with pytest.raises(ConfigError, match="`memory base` became nan"):
        store.update(after, torch.tensor([1, 2]))


def test_a_prompt_has_one_number_whatever_its_form():
    chat = [{"role": "user", "content": "2 + 2"}]
    ids = prompt_ids(["2 + 2", "2 + 3", "2 + 2", chat, [dict(chat[0])]]).tolist()
    assert ids[0] == ids[2] and ids[3] == ids[4] and len(set(ids)) == 3
