"""Runs with real objectives: the reward goes where the spec says, a shipped one or a user's own."""

import io

import pytest
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.run import train
from rich.console import Console

SHORT = [
    "rollout.prompts=16",
    "rollout.samples=8",
    "rollout.max_new_tokens=4",
    "trainer.learning_rate=0.03",
    "trainer.max_steps=20",
    "trainer.warmup_steps=0",
    "trainer.eval_every=20",
]

FLIPPED = """
objective flipped extends {base}
"Against its own reward"
advantage = -reward |> center(group) |> scale(group, ddof = 1, eps = 1e-4)
"""

OWN = """
objective mine
"A gate and an estimator that nobody ships"
param width = 0.3 in (0, inf)  "distance from 1 at which the gate halves"
def bell(r, width) = r / (1 + ((r - 1) / width) ^ 2)
def above_best(r) = r - max(r, group) / 2 - mean(r, group) / 2
advantage = above_best(reward)
ratio     = policy / old |> bell(width) as gate
reduce    = loss |> mean(sequence) |> mean(window)
"""


def begins_with_the_prompt(prompts, completions, **columns):
    return [float(c.startswith(p)) for p, c in zip(prompts, completions, strict=True)]


def rewards(stand_in_policy, folder, source, *overrides):
    """Mean sampled rewards of each step, the real compiler with a small policy and task."""
    stand_in_policy.task.reward = begins_with_the_prompt
    config = read_config([*SHORT, f"run={folder}", *overrides])
    result = train(config, str(source), console=Console(file=io.StringIO()))
    assert all(row["updates"] == 4 for row in result.rows[1:])
    return [row["reward"] for row in result.rows[1:]]


def last_five(values):
    return sum(values[-5:]) / 5


@pytest.mark.parametrize(
    "name", ["maspo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("grpo", "dapo"))]
)
def test_a_shipped_objective_raises_the_reward_and_its_reverse_lowers_it(stand_in_policy, tmp_path, name):
    # The completions fill these few tokens, so that DAPO's length penalty would outweigh the reward.
    length = ["params.max_length=100"] if name == "dapo" else []
    values = rewards(stand_in_policy, tmp_path / "run", name, *length)
    assert last_five(values) > values[0] + 0.2
    (tmp_path / "flipped.obj").write_text(FLIPPED.format(base=name))
    values = rewards(stand_in_policy, tmp_path / "flipped", tmp_path / "flipped.obj", *length)
    assert last_five(values) < values[0] / 2


def test_a_user_s_own_gate_and_estimator_train(stand_in_policy, tmp_path):
    (tmp_path / "mine.obj").write_text(OWN)
    values = rewards(stand_in_policy, tmp_path / "run", tmp_path / "mine.obj", "params.width=0.5")
    assert last_five(values) > values[0] + 0.2
    assert "param width" in (tmp_path / "run/spec.obj").read_text()


def more(folder, rule):
    """MASPO with a rule more."""
    path = folder / "more.obj"
    path.write_text(f'objective more extends maspo\n"More"\n{rule}\n')
    return path


def test_a_rule_that_training_does_not_apply_is_refused(stand_in_policy, tmp_path):
    with pytest.raises(ConfigError, match="prompt"):
        rewards(stand_in_policy, tmp_path / "run", more(tmp_path, "prompt = mean(reward, group)"))
    assert not (tmp_path / "run").exists()


def test_a_step_rule_scales_the_learning_rate(stand_in_policy, tmp_path):
    """The mean ratio is 1 at first, and near 1 later."""
    path = more(tmp_path, "step = 0.5 * mean(detach(policy / old), window)")
    config = read_config([*SHORT, f"run={tmp_path / 'run'}", "trainer.micro_batches=2"])
    rows = train(config, str(path), console=Console(file=io.StringIO())).rows
    assert all(0.01 < row["learning_rate"] < 0.02 for row in rows[1:])
    assert len({row["learning_rate"] for row in rows[1:]}) > 10


@pytest.mark.slow
def test_the_default_run_learns(tmp_path):
    """The embedded model on its task, for a third of the default steps."""
    places = [f"run={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}"]
    config = read_config(["trainer.max_steps=40", "trainer.eval_every=40", *places])
    rows = train(config, "maspo", console=Console(file=io.StringIO())).rows
    assert sum(row["reward"] for row in rows[-5:]) / 5 > rows[0]["reward"] + 0.2
    assert rows[-1]["eval/greedy"] > rows[0]["eval/greedy"]
