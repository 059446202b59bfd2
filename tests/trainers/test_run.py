"""Whole runs of a few steps: the run folder, seeds, resuming, interruption, and what cannot start."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from maspo_dsl.trainers import policies
from maspo_dsl.trainers.checkpoint import last_checkpoint
from maspo_dsl.trainers.columns import COLUMNS
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.policies import build_teacher
from maspo_dsl.trainers.run import train, trainable_objective
from maspo_dsl.trainers.teachers import distributions_in_updates
from rich.console import Console

TIMING = tuple(column.name for column in COLUMNS.values() if column.by == "clock")

SMALL = [
    "rollout.prompts=8",
    "rollout.samples=4",
    "rollout.max_new_tokens=4",
    "trainer.learning_rate=0.02",
    "trainer.micro_batches=2",
    "trainer.eval_every=2",
]


def run(folder, *overrides, steps=4, source="clip"):
    """A run and the text it printed."""
    text = io.StringIO()
    keys = {each.partition("=")[0] for each in overrides}
    small = [each for each in SMALL if each.partition("=")[0] not in keys]
    given = [] if "resume" in keys else [*small, f"run={folder}"]
    config = read_config([*given, f"trainer.max_steps={steps}", *overrides])
    result = train(config, source, console=Console(file=text, width=200))
    return result, text.getvalue()


def table(folder):
    """metrics.csv without what the clock decides."""
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]


def weights(folder):
    return torch.load(last_checkpoint(folder), weights_only=True)["state_dict"]["model.table"]


def test_the_run_folder(stand_in, tmp_path):
    result, text = run(tmp_path / "run")
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    files = "config.yaml curves.png metrics.csv metrics.jsonl run.json samples.jsonl spec.obj"
    assert names == {"checkpoints", "tokens", *files.split()}
    assert (folder / "spec.obj").read_text() == stand_in.objective.text
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000004.ckpt"]
    assert (result.folder, result.steps, result.interrupted, len(result.rows)) == (folder, 4, False, 5)
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header == list(COLUMNS)
    assert tuple(header[-2:]) == TIMING
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows == list(result.rows)
    assert [row["eval/greedy"] is not None for row in rows] == [True, False, True, False, True]
    assert rows[0]["reward"] == rows[1]["reward"]
    assert rows[1].keys() >= {"loss", "entropy", "ratio_mean", "grad_norm", "tokens_per_second"}
    assert rows[1]["updates"] == 4
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert {sample["step"] for sample in samples} == {1, 2, 3, 4}
    assert samples[0].keys() == {"step", "prompt", "completion", "answer", "reward", "advantage", "truncated"}
    assert "objective clip@aaaaaaaaaaaa" in text
    assert "loss: eager (compile=auto, model tiny)" in text
    assert "step 4/4  reward" in text
    assert "done after step 4" in text


def test_the_same_seed_gives_the_same_metrics(stand_in, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, f"seed={seed}")
    assert table(tmp_path / "a") == table(tmp_path / "b") != table(tmp_path / "c")
    assert torch.equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    for file in ("samples.jsonl", "tokens/4.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("objective", [{}, {"keeps": True}])
def test_a_resumed_run_is_the_uninterrupted_one(stand_in, parts, tmp_path, objective):
    inputs = stand_in.objective.inputs | {"logp_ref"}
    stand_in.objective = parts.objective(inputs=inputs, **objective)
    run(tmp_path / "whole", steps=6)
    run(tmp_path / "parts", steps=2)
    result, _ = run(tmp_path, f"resume={tmp_path / 'parts'}", steps=6, source=None)
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert table(tmp_path / "whole") == table(tmp_path / "parts")
    assert (result.steps, len(result.rows)) == (6, 7)
    assert (tmp_path / "whole/samples.jsonl").read_text() == (tmp_path / "parts/samples.jsonl").read_text()
    again, text = run(tmp_path, f"resume={tmp_path / 'parts'}", steps=6)
    assert again.rows == result.rows
    assert "raise trainer.max_steps" in text


class Interrupting:
    """A task whose reward function presses Ctrl-C at some of its calls."""

    def __init__(self, task, calls):
        self.task, self.calls, self.made = task, calls, 0

    def __getattr__(self, name):
        return getattr(self.task, name)

    def reward(self, prompts, completions, **columns):
        self.made += 1
        if self.made in self.calls:
            os.kill(os.getpid(), signal.SIGINT)
        return self.task.reward(prompts, completions, **columns)


def test_ctrl_c_finishes_the_step_and_the_run_goes_on(stand_in, tmp_path):
    run(tmp_path / "whole", steps=6)
    task = stand_in.task
    stand_in.task = Interrupting(task, {5})  # rollout 1, held out, rollout 2, held out, rollout 3
    before = signal.getsignal(signal.SIGINT)
    result, text = run(tmp_path / "parts", steps=6)
    assert signal.getsignal(signal.SIGINT) is before
    assert (result.interrupted, result.steps, len(result.rows)) == (True, 3, 4)
    assert "stopping after this step" in text
    assert f"go on with `maspo-dsl train resume={tmp_path / 'parts'}`" in text
    stand_in.task = task
    run(tmp_path, f"resume={tmp_path / 'parts'}", steps=6)
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert table(tmp_path / "whole") == table(tmp_path / "parts")


def test_a_second_ctrl_c_loses_the_step_and_not_the_run(stand_in, tmp_path):
    run(tmp_path / "whole", "trainer.checkpoint_every=2", steps=6)
    task = stand_in.task
    stand_in.task = Interrupting(
        task, {6, 7}
    )  # steps 4 and, as the first only asks, its held-out measurement
    result, _ = run(tmp_path / "parts", "trainer.checkpoint_every=2", steps=6)
    assert (result.interrupted, result.steps) == (True, 2)
    stand_in.task = task
    result, _ = run(tmp_path, f"resume={tmp_path / 'parts'}", steps=6)
    assert (result.interrupted, result.steps) == (False, 6)
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert table(tmp_path / "whole") == table(tmp_path / "parts")


def test_what_a_second_ctrl_c_loses_is_said(stand_in, tmp_path):
    stand_in.task = Interrupting(stand_in.task, {6, 7})
    result, text = run(tmp_path / "run", "trainer.checkpoint_every=20", steps=6)
    assert (result.interrupted, result.steps, len(result.rows)) == (True, 0, 4)
    assert "Ctrl-C again stops now, without saving" in text  # more than this step: all since a checkpoint
    assert "stopped, with no step saved" in text


def test_ctrl_c_before_the_first_step_leaves_nothing(stand_in, tmp_path):
    stand_in.task = Interrupting(stand_in.task, {1})
    result, text = run(tmp_path / "run")
    assert (result.interrupted, result.steps, result.rows) == (True, 0, ())
    assert not (tmp_path / "run").exists()
    assert "stopped before the first step" in text


def test_a_run_killed_before_its_first_checkpoint_starts_again(stand_in, tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts")
    last_checkpoint(tmp_path / "parts").unlink()
    run(tmp_path, f"resume={tmp_path / 'parts'}")
    assert table(tmp_path / "whole") == table(tmp_path / "parts")


def test_another_objective_does_not_go_on_with_a_run(stand_in, parts, tmp_path):
    run(tmp_path / "run", steps=2)
    stand_in.objective = parts.objective(hash="b" * 64)
    for remove in (False, True):
        if remove:
            last_checkpoint(tmp_path / "run").unlink()
        with pytest.raises(ConfigError) as error:
            run(tmp_path, f"resume={tmp_path / 'run'}", steps=3)
        assert "a" * 64 in str(error.value)
        assert "b" * 64 in str(error.value)


def test_a_broken_checkpoint_is_an_error(stand_in, tmp_path):
    run(tmp_path / "run", steps=2)
    last_checkpoint(tmp_path / "run").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"step-000002\.ckpt is not a checkpoint"):
        run(tmp_path, f"resume={tmp_path / 'run'}", steps=3)


def test_a_folder_in_use_is_refused(stand_in, tmp_path):
    run(tmp_path / "run", steps=1)
    with pytest.raises(ConfigError, match="resume="):
        run(tmp_path / "run", steps=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run(tmp_path / "file", steps=1)
    with pytest.raises(ConfigError, match="cannot be made"):
        run(tmp_path / "file" / "below", steps=1)
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", steps=1)[0].steps == 1


def test_runs_are_numbered_by_default(stand_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        config = read_config([*SMALL, "trainer.max_steps=1"])
        assert str(train(config, "clip", console=Console(file=io.StringIO())).folder) == f"runs/clip-{number}"


@pytest.mark.parametrize("reward", [None, [0.5], float("nan")])
def test_a_run_that_cannot_start_leaves_nothing_behind(stand_in, tmp_path, reward):
    stand_in.task = Interrupting(stand_in.task, ())
    stand_in.task.reward = lambda completions, **columns: (
        [reward] * len(completions) if reward != [0.5] else reward
    )
    with pytest.raises(ConfigError, match="reward function"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_objective_that_reads_what_training_does_not_have(stand_in, parts, tmp_path):
    stand_in.objective = parts.objective(inputs=stand_in.objective.inputs | {"value"})
    with pytest.raises(ConfigError, match="reads `value`, which training does not provide"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


OPD = """\
objective opd extends group_ppo
teacher larger
advantage = log(larger / old)
"""


def test_a_teacher_is_named_by_the_run(tmp_path):
    """One that is not, or is of no use, is refused by its name before anything is built."""
    (tmp_path / "opd.obj").write_text(OPD)
    source = str(tmp_path / "opd.obj")
    with pytest.raises(ConfigError, match=r"reads `logp_larger`.*named by teacher.larger=MODEL"):
        trainable_objective(read_config([]), source)
    with pytest.raises(ConfigError, match="has no teacher `other`; it has larger"):
        trainable_objective(read_config(["teacher.other=tiny"]), source)
    config = read_config(["teacher.larger=tiny"])
    assert "logp_larger" in trainable_objective(config, source).inputs
    (tmp_path / "opd.obj").write_text(OPD.replace("log(larger / old)", "kl(old, larger)"))
    with pytest.raises(ConfigError, match=r"reads `kl_old_larger`, which .* known within an update alone"):
        trainable_objective(config, source)


def test_whole_distributions_are_of_the_policy_and_of_named_teachers(tmp_path):
    source = str(tmp_path / "opd.obj")
    penalty = "penalty near = jsd(larger, policy) + kl(policy, reference)"
    (tmp_path / "opd.obj").write_text(OPD.replace("advantage = log(larger / old)", penalty))
    with pytest.raises(ConfigError, match=r"reads `jsd_larger_policy`.*named by teacher.larger=MODEL"):
        trainable_objective(read_config([]), source)
    objective = trainable_objective(read_config(["teacher.larger=tiny"]), source)
    assert distributions_in_updates(objective, ["larger"]) == {
        "jsd_larger_policy": ("larger",),
        "kl_policy_reference": ("reference",),
    }


def test_a_teacher_has_the_vocabulary_of_the_policy(monkeypatch, parts):
    policy = parts.policy()
    monkeypatch.setattr(policies, "build_policy", lambda *given, **options: parts.policy())
    assert not any(
        each.requires_grad for each in build_teacher("m", policy, None, seed=0, cache=None).parameters()
    )

    class Other(type(policy.tokenizer)):
        def decode(self, ids):
            return super().decode(ids)[::-1] + "x"

    monkeypatch.setattr(
        policies, "build_policy", lambda *given, **options: replace(parts.policy(), tokenizer=Other())
    )
    with pytest.raises(ConfigError, match="teacher model m has another vocabulary than"):
        build_teacher("m", policy, None, seed=0, cache=None)


@pytest.mark.parametrize("override", ["trainer.strategy=quick", "trainer.accelerator=cuda"])
def test_a_trainer_that_lightning_cannot_build(stand_in, tmp_path, override):
    if override.endswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ConfigError, match="Lightning cannot use these"):
        run(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_an_objective_is_needed(stand_in, tmp_path):
    with pytest.raises(ConfigError, match="objective is missing"):
        run(tmp_path / "run", source=None)


def test_sparse_logging_keeps_the_last_row(stand_in, tmp_path):
    result, _ = run(tmp_path / "run", "trainer.log_every=3", "trainer.eval_every=0", steps=5)
    assert [row["step"] for row in result.rows] == [0, 3, 5]


def test_steps_without_signal_are_rows_without_updates(stand_in, parts, tmp_path):
    stand_in.objective = parts.objective(keeps=True)
    stand_in.task = Interrupting(stand_in.task, ())
    stand_in.task.reward = lambda completions, **columns: [1.0] * len(completions)
    result, text = run(tmp_path / "run", "rollout.max_resamples=1", steps=3)
    assert [row.get("updates") for row in result.rows] == [None, 0, 0, 0]
    assert "kept no completion" in text
    assert result.steps == 3


@pytest.mark.slow
def test_two_processes_are_forked_from_a_fresh_one():
    """A process that is forked after autograd has run in threads can wait for ever."""
    test = f"{__file__}::test_two_processes_train_one_policy"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, env={**os.environ, "FRESH_PROCESS": "1"}, timeout=240, capture_output=True)
    assert b"1 passed" in done.stdout, done.stdout.decode()


@pytest.mark.skipif(
    "FRESH_PROCESS" not in os.environ, reason="run by the test above, in a process of its own"
)
def test_two_processes_train_one_policy(stand_in, tmp_path):
    """Each has half of the prompts; both end with the same weights, and the folder is written once."""
    result, _ = run(
        tmp_path / "run", "trainer.devices=2", "trainer.strategy=ddp_fork", "trainer.accelerator=cpu", steps=2
    )
    assert (result.steps, result.interrupted) == (2, False)
    assert [row["step"] for row in result.rows] == [0, 1, 2]
    assert result.rows[1]["updates"] == 4
    run(tmp_path, f"resume={tmp_path / 'run'}", steps=3)
    assert len(table(tmp_path / "run")) == 4
