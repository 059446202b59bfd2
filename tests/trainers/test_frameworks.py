"""Runs that another framework is handed: what it is told, and which keys it does not take."""

import json
import shlex
from importlib.util import find_spec

import pytest
from maspo_dsl.trainers.config import ConfigError, known_keys, read_config
from maspo_dsl.trainers.frameworks import FRAMEWORKS, TRL, VERL
from maspo_dsl.trainers.handed import rewards_of
from maspo_dsl.trainers.tasks import Example
from maspo_dsl.trainers.verl_run import plan
from typer.testing import CliRunner

from maspo_dsl.cli.app import app


def refused(*overrides):
    with pytest.raises(ConfigError) as error:
        read_config(list(overrides))
    return str(error.value)


def test_every_key_is_honoured_or_refused_with_a_reason():
    for engine in FRAMEWORKS.values():
        keys = {*known_keys().paths, "params.alpha", "task_options.chat", "teacher.big"}
        reasons = {key: engine.unheard(key) for key in keys}
        assert {key for key, why in reasons.items() if why is None} >= {
            "model", "task", "reward", "params.alpha", "task_options.chat", "rollout.samples"
        }  # fmt: skip
        assert reasons["teacher.big"] and reasons["trainer.strategy"] and reasons["resume"]
        assert not set(engine.refused) & (engine.handed.union(*(row.keys for row in engine.settings)))
    assert refused("engine=trl", "trainer.eval_every=3", "tokenizer.end=x").count("does nothing with") == 2
    assert "did you mean" in refused("engine=trl", "trainer.learning_rat=1")
    assert read_config(["engine=own", "trainer.eval_every=3"]).trainer.eval_every == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("engine=nemo",), "`engine=nemo`: expected 'own', 'trl' or 'verl'"),
        (("engine=trl", "rollout.samples=1"), "a group has at least 2 completions"),
        (("engine=trl", "rollout.prompts=3", "rollout.samples=3"), "9 completions do not split evenly into"),
        (
            ("engine=verl", "rollout.prompts=6"),
            "= 6 do not split evenly into trainer.updates_per_rollout = 4",
        ),
        (("engine=verl", "trainer.accelerator=cpu"), "trainer.accelerator=cpu: expected auto or cuda"),
        (("engine=verl", "compile=off"), "does nothing with engine=verl: verl's workers compile the loss"),
    ],
)
def test_what_an_engine_cannot_do_is_said(overrides, message):
    assert message in refused(*overrides)


def test_what_trl_is_told():
    """A rollout of 8 x 4 completions in 2 updates of 2 parts, on 2 devices: 4 a part; a step is 2 of TRL's."""
    told = TRL.options(
        read_config(
            ["engine=trl", "rollout.prompts=8", "rollout.samples=4", "trainer.updates_per_rollout=2",
             "trainer.micro_batches=2", "trainer.devices=2", "trainer.max_steps=10", "trainer.warmup_steps=3",
             "trainer.gradient_clip=null", "trainer.precision=bf16-mixed", "trainer.accelerator=cpu"]
        )
    )  # fmt: skip
    expected = {"per_device_train_batch_size": 4, "steps_per_generation": 4, "gradient_accumulation_steps": 2,
                "num_generations": 4, "max_steps": 20, "warmup_steps": 6, "max_grad_norm": 0.0, "bf16": True,
                "use_cpu": True, "weight_decay": 0.0, "shuffle_dataset": False}  # fmt: skip
    assert {name: told[name] for name in expected} == expected


def test_what_verl_is_told(tmp_path):
    config = read_config(
        ["engine=verl", "rollout.prompts=8", "rollout.samples=4", "trainer.updates_per_rollout=2",
         "trainer.micro_batches=2", "trainer.max_steps=3", "trainer.eval_every=0", f"run={tmp_path / 'a b'}"]
    )  # fmt: skip
    planned = plan(config, "maspo")
    told, environment = planned.overrides(), planned.environment()
    actor = "actor_rollout_ref.actor"
    expected = {"data.train_batch_size": 8, f"{actor}.ppo_mini_batch_size": 4, "trainer.test_freq": -1,
                f"{actor}.ppo_micro_batch_size_per_gpu": 8, f"{actor}.policy_loss.loss_mode": "maspo/maspo",
                "trainer.total_training_steps": 3, f"{actor}.fsdp_config.dtype": "float32"}  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert shlex.split(environment["MASPO_DSL_VERL"]) == [str(tmp_path / "a b" / "spec.obj")]
    assert len(planned.parts.examples) == 24 and not (tmp_path / "a b").exists()
    assert VERL.options(config).items() <= told.items()
    with pytest.raises(ConfigError, match="bnpo: verl gives the tokens and sequences of a mini-batch"):
        plan(config, "bnpo")


def test_a_dry_run_writes_nothing(tmp_path):
    shown = {}
    for engine in ("own", "verl"):
        folder = tmp_path / engine
        done = CliRunner().invoke(app, ["train", "dapo", f"engine={engine}", f"run={folder}", "--dry-run"])
        assert done.exit_code == 0, done.output
        assert "objective dapo@" in done.output and not folder.exists()
        shown[engine] = done.output
    assert "rollout.prompts = 64" in shown["own"] and "data.train_batch_size=64" in shown["verl"]


@pytest.mark.skipif(find_spec("trl") is not None, reason="TRL is installed here")
def test_a_framework_that_is_not_installed_is_a_line():
    done = CliRunner().invoke(app, ["train", "dapo", "engine=trl"])
    assert done.exit_code == 2 and "pip install 'maspo-dsl[trl]'" in done.output


def test_rewards_reach_a_framework_as_they_reach_a_run():
    config = read_config(["rollout.reward_failures=0.5"])
    asked = [Example("a", {"n": 1}), Example("b", {"n": 2})]

    def reward(completions, n, **columns):
        return [
            float("nan") if text == "x" else number * len(text)
            for text, number in zip(completions, n, strict=True)
        ]

    assert json.dumps(rewards_of(reward, asked, ["xx", "x"], config)) == "[2.0, NaN]"
    with pytest.raises(ConfigError):
        rewards_of(reward, asked, ["x", "x"], config)
