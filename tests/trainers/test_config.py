"""Configurations: defaults, overrides, and what is said about wrong ones."""

import subprocess
import sys
from pathlib import Path

import pytest
from maspo_dsl.trainers.config import (
    ConfigError,
    RunConfig,
    TrainerConfig,
    known_keys,
    read_config,
    write_config,
)


def message(*overrides):
    with pytest.raises(ConfigError) as error:
        read_config(list(overrides))
    return str(error.value)


def test_defaults_are_those_measured_for_the_embedded_model():
    config = read_config([])
    assert (config.model, config.task, config.rollout.prompts, config.rollout.samples) == (
        "tiny",
        "sort",
        64,
        8,
    )
    assert (config.trainer.updates_per_rollout, config.trainer.learning_rate) == (4, 2e-4)
    assert (config.trainer.threads, config.trainer.gradient_clip, config.rollout.temperature) == (1, 1.0, 1.0)


def test_defaults_follow_the_model_and_overrides_follow_the_defaults():
    config = read_config(["model=smollm2", "trainer.max_steps=4"])
    assert (config.task, config.rollout.prompts, config.rollout.samples) == ("addition", 8, 8)
    assert config.rollout.max_new_tokens == 12
    assert (config.trainer.learning_rate, config.trainer.updates_per_rollout, config.trainer.max_steps) == (
        2e-5,
        2,
        4,
    )
    assert read_config(["model=some/model", "task=my.jsonl"]).rollout.max_new_tokens == 128
    assert RunConfig(model="smollm2", trainer=TrainerConfig(max_steps=3)).trainer.updates_per_rollout == 2


def test_values_have_their_types():
    config = read_config(
        [
            "run=7",
            "compile=on",
            "params.alpha=0.5",
            "trainer.gradient_clip=null",
            "task_options.digits=5",
        ]
    )
    assert config.run == Path("7")
    assert config.compile == "on"
    assert config.params == {"alpha": 0.5}
    assert config.trainer.gradient_clip is None
    assert config.task_options == {"digits": 5}


def test_importing_and_reading_needs_no_torch():
    code = "import sys, maspo_dsl.trainers.config as c; c.read_config([]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("trainer.max_step=3", "did you mean `trainer.max_steps`?"),
        ("sed=3", "did you mean `seed`?"),
        ("rollout.promts=3", "did you mean `rollout.prompts`?"),
        ("max_steps=3", "write `trainer.max_steps=3`"),
        ("rollout.learning_rate=3", "write `trainer.learning_rate=3`"),
        ("trainer.temperature=3", "write `rollout.temperature=3`"),
        ("trainer.model=tiny", "write `model=tiny`"),
        ("lr=3", "write `trainer.learning_rate=3`"),
        ("epsilon=0.2", "written `params.epsilon=0.2`"),
        ("seed.x=3", "no key `seed.x`"),
        ("trainer=3", "`trainer` is a block of keys"),
        ("params=3", "`params` is a block of keys"),
        ("params.=3", "no key `params.`"),
        ("seed", "has no `="),
        ("~seed", "cannot be removed"),
        ("+seed=3", "nothing in front"),
        ("--seed=3", "nothing in front"),
        ("seed =3", "no spaces"),
        ("=3", "a key before it"),
        ("seed=", "value is missing"),
        ("seed=1.5", "`seed=1.5`: expected a whole number"),
        ("seed=true", "expected a whole number"),
        ("seed=-1", "greater than or equal to 0"),
        ("trainer.max_steps=many", "`trainer.max_steps=many`: expected a whole number"),
        ("trainer.learning_rate=0", "greater than 0"),
        ("rollout.temperature=.nan", "`rollout.temperature=nan`: expected a"),
        ("compile=true", "'auto', 'on' or 'off'"),
        ("trainer.precision=16", "'32-true'"),
        ("params.alpha=[1,2]", "`params.alpha=[1, 2]`: expected a number"),
        ("params.alpha=much", "`params.alpha=much`: expected a number"),
        ("params.alpha=true", "`params.alpha=True`: expected a number"),
        ("run=${nothing}", "cannot be read"),
        ("rollout.prompts=3", None),
        ("rollout={prompts: 8, promts: 3}", "did you mean `rollout.prompts`?"),
        ("trainer.devices=65", "rollout.prompts=64"),
    ],
)
def test_one_mistake(override, hint):
    if hint is None:  # 3 prompts of 8 samples are 24 completions, enough for 4 updates
        assert read_config([override]).rollout.prompts == 3
    else:
        assert hint in message(override)


def test_a_key_given_twice():
    assert "`seed` is given twice" in message("seed=1", "seed=2")
    assert "`trainer.max_steps` is given twice" in message("trainer={max_steps: 3}", "trainer.max_steps=3")


def test_every_mistake_is_named_at_once():
    text = message("epsilon=1", "seed=1.5", "seed", "trainer.max_step=3")
    assert text.startswith("4 mistakes")
    assert all(part in text for part in ("epsilon", "seed=1.5", "no `=`", "max_steps"))


def test_too_few_completions_for_the_updates():
    assert "too few" in message("rollout.prompts=1", "rollout.samples=2")


def test_every_key_can_be_written_and_read_back(tmp_path):
    config = read_config(
        ["model=smollm2", "params.alpha=0.25", "reward=a.b", "compile=on", f"run={tmp_path}"]
    )
    write_config(config, tmp_path / "config.yaml")
    again = read_config([f"resume={tmp_path}", "trainer.max_steps=99"])
    assert again.model_copy(update={"resume": None, "trainer": config.trainer}) == config
    assert again.trainer.max_steps == 99


def test_what_shaped_the_past_cannot_change_on_resuming(tmp_path):
    write_config(read_config(["seed=3"]), tmp_path / "config.yaml")
    text = message(f"resume={tmp_path}", "seed=4", "params.alpha=0.5")
    assert "`seed=4` cannot change" in text
    assert "`params.alpha=0.5` cannot change" in text
    assert read_config([f"resume={tmp_path}", "seed=3"]).seed == 3


def test_a_resumed_run_stays_in_its_folder(tmp_path):
    write_config(read_config([f"run={tmp_path}"]), tmp_path / "config.yaml")
    text = message(f"resume={tmp_path}", f"run={tmp_path / 'other'}")
    assert f"`run={tmp_path / 'other'}`: a run goes on in its own folder, {tmp_path}" in text
    assert read_config([f"resume={tmp_path}", f"run={tmp_path}"]).run == tmp_path


@pytest.mark.parametrize("content", [None, "", "- 1\n", "{", "seeed: 3\n", "seed: x\n"])
def test_a_run_that_cannot_be_resumed(tmp_path, content):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    text = message(f"resume={tmp_path}")
    assert "config.yaml" in text or "`seed=x`: expected" in text


def test_a_file_gives_keys_and_what_stands_beside_it_goes_first(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: smollm2\nseed: 7\ntrainer:\n  max_steps: 3\nparams: {alpha: 0.25}\nrollout.samples: 4\n"
    )
    config = read_config([f"config={file}", "seed=8"])
    assert (config.model, config.seed, config.trainer.max_steps) == ("smollm2", 8, 3)
    assert (config.params, config.rollout.samples) == ({"alpha": 0.25}, 4)
    assert config.trainer.learning_rate == 2e-5  # what suits the model that the file names


def test_the_file_of_a_run_makes_another_run(tmp_path):
    """Its folder, and what it was resumed from, are not those of the new one; the folder is where its spec lies."""
    write_config(read_config(["seed=3", f"run={tmp_path}"]), tmp_path / "config.yaml")
    file = f"config={tmp_path / 'config.yaml'}"
    assert read_config([file]).run == tmp_path  # a file that only looks like one
    (tmp_path / "spec.obj").write_text("")
    config = read_config([file, "trainer.max_steps=2"])
    assert (config.run, config.resume, config.seed, config.trainer.max_steps) == (None, None, 3, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sed: 3\n", "mine.yaml: there is no key `sed`; did you mean `seed`?"),
        ("trainer: {max_step: 3}\n", "did you mean `trainer.max_steps`?"),
        ("lr: 3\n", "write `trainer.learning_rate=…`"),
        ("seed: x\n", "`seed=x`: expected a whole number"),
        ("- 1\n", "cannot be read"),
        ("{", "cannot be read"),
        ("", "holds no keys"),
        (None, "there is no such file"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, content, said):
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
    assert said in message(f"config={tmp_path / 'mine.yaml'}")


def test_every_mistake_of_a_file_is_named_with_those_beside_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("sed: 3\ntrainer: {max_step: 3}\n")
    text = message(f"config={tmp_path / 'mine.yaml'}", "rollout.promts=3")
    assert text.startswith("3 mistakes")


def test_named_rewards_and_their_weights():
    config = read_config(["rewards.a=m.f", "rewards.b=m.g", "reward_weights.b=0.5"])
    assert (config.rewards, config.reward_weights) == ({"a": "m.f", "b": "m.g"}, {"b": 0.5})
    assert "give one of the two" in message("reward=m.f", "rewards.a=m.g")
    assert "there is no `rewards.c`" in message("rewards.a=m.f", "reward_weights.c=1")
    assert "`reward_weights.a=much`: expected a number" in message("rewards.a=m.f", "reward_weights.a=much")


def test_a_schedule_has_the_steps_it_was_begun_with(tmp_path):
    write_config(read_config(["trainer.schedule=cosine"]), tmp_path / "config.yaml")
    assert "learning rates of the steps made were those of 160" in message(
        f"resume={tmp_path}", "trainer.max_steps=9"
    )
    write_config(read_config([]), tmp_path / "config.yaml")
    assert read_config([f"resume={tmp_path}", "trainer.max_steps=9"]).trainer.max_steps == 9


def test_every_key_has_a_description():
    for block in (RunConfig, *(field.annotation for field in RunConfig.model_fields.values())):
        for name, field in getattr(block, "model_fields", {}).items():
            assert field.description or name in ("rollout", "trainer", "tokenizer"), name
    assert "trainer.max_steps" in known_keys()
