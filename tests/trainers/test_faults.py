"""Faults that a machine has, put into a run: what was saved can be read, and the run goes on."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from maspo_dsl.trainers.checkpoint import last_checkpoint, trained_weights
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.metrics import read_rows
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

ROOT = Path(__file__).parents[2]
EACH = "trainer.checkpoint_every=1"


def steps(folder):
    return [row["step"] for row in read_rows(folder)]


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_what_a_kill_leaves_of_a_checkpoint_is_not_taken_for_one(here, tmp_path):
    here("run=run", EACH, "trainer.eval_every=0", steps=1)
    whole = (tmp_path / "run/checkpoints/step-000001.ckpt").read_bytes()
    (tmp_path / "run/checkpoints/step-000002.part").write_bytes(whole[: len(whole) // 2])
    assert "done after step 2" in here("resume=run", steps=2, spec=None)
    assert names(tmp_path / "run") == ["step-000002.ckpt"]
    assert steps(tmp_path / "run") == [0, 1, 2]


KILLING = """
import os, signal
from lightning.pytorch import Trainer
save = Trainer.save_checkpoint
def killed(self, path, **options):
    save(self, path, **options)
    if "000003" in str(path):
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
Trainer.save_checkpoint = killed
from maspo_dsl.cli import main
main()
"""


@pytest.mark.slow
def test_kill_9_while_a_checkpoint_is_written(here, tmp_path):
    command = [sys.executable, "-c", KILLING, "train", "dapo", *here.settings, "run=run", EACH]
    done = subprocess.run(command, capture_output=True, timeout=300)
    assert done.returncode == -9
    assert last_checkpoint(tmp_path / "run").name == "step-000002.ckpt"
    assert "done after step 3" in here("resume=run", steps=3, spec=None)
    assert steps(tmp_path / "run") == [0, 1, 2, 3]


def test_a_disk_that_is_full_while_a_checkpoint_is_written(here, tmp_path):
    """Files cannot grow beyond 20 kB from the third rollout on; a checkpoint is larger, the metrics are not."""
    (tmp_path / "judges.py").write_text(
        "import resource\ncalls = 0\ndef letters(completions, **columns):\n    global calls\n    calls += 1\n"
        "    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "    if calls == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))\n"
        "    return [float(len(c)) for c in completions]\n"
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError):
            here("run=run", EACH, "trainer.eval_every=0", steps=9, spec="rloo")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path / "run") == ["step-000002.ckpt"]
    assert "done after step 4" in here("resume=run", steps=4, spec=None)
    assert steps(tmp_path / "run") == [0, 1, 2, 3, 4]


def test_files_that_were_cut_off_are_read_up_to_there(here, tmp_path):
    """As a machine without power leaves them."""
    here("run=run", EACH, "trainer.eval_every=0", steps=2)
    for name in ("metrics.jsonl", "metrics.csv", "samples.jsonl"):
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes()[:-20])
    assert "done after step 3" in here("resume=run", steps=3, spec=None)
    assert steps(tmp_path / "run") == [0, 1, 3]
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 4


def test_a_checkpoint_that_is_damaged_is_said(here, tmp_path):
    here("run=run", EACH, "trainer.eval_every=0", steps=1)
    path = last_checkpoint(tmp_path / "run")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ConfigError, match=r"step-000001\.ckpt is not a checkpoint of maspo-dsl"):
        here("resume=run", steps=2, spec=None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("task.jsonl", "say 3", "say 4"), r"data of task\.jsonl"),
        (("judges.py", "str.isalpha", "str.isdigit"), "reward letters"),
        (("base/config.json", None, None), "model base"),
    ],
)
def test_a_run_that_goes_on_with_something_else_is_refused_unless_told(here, tmp_path, change, named):
    file, old, new = change
    options = ("rewards.letters=judges.letters", "reward=null", "trainer.eval_every=0")
    here("run=run", *options, steps=1)
    if old is None:
        torch.manual_seed(1)
        LlamaForCausalLM(LlamaConfig.from_pretrained("base")).save_pretrained(tmp_path / "base")
    else:
        (tmp_path / file).write_text((tmp_path / file).read_text().replace(old, new))
    sys.modules.pop("judges", None)
    with pytest.raises(ConfigError, match=rf"not what the run was made with: {named} \(\w+ -> \w+\)\."):
        here("resume=run", steps=2, spec=None)
    assert steps(tmp_path / "run") == [0, 1]
    said = here("resume=run", "resume_changed=true", steps=2, spec=None)
    assert "run goes on with what it was not made with" in said and "done after step 2" in said
    assert "was not made with" not in here("resume=run", steps=3, spec=None)  # it is remembered


def test_another_version_is_named(here, tmp_path, monkeypatch):
    from maspo_dsl.trainers import origins

    here("run=run", "trainer.eval_every=0", steps=1)
    found = origins._version
    monkeypatch.setattr(origins, "_version", lambda name: "0.0.1" if name == "torch" else found(name))
    with pytest.raises(ConfigError, match=r"made with: torch \(\S+ -> 0\.0\.1\)\. It would be another"):
        here("resume=run", steps=2, spec=None)


def test_a_limit_that_does_not_work_here_is_said(here, monkeypatch):
    from maspo_dsl.trainers import run

    assert "has no effect" not in here("run=one", steps=1)
    monkeypatch.setattr(run, "can_limit", lambda: False)
    assert "rollout.reward_timeout=300 has no effect in this thread" in here("run=two", steps=1)
    assert "has no effect" not in here("run=three", "rollout.reward_timeout=null", steps=1)


def test_gradient_checkpointing_makes_the_same_update(here, tmp_path):
    calls, forward = [], LlamaMLP.forward

    def counted(self, states):
        calls.append(torch.is_grad_enabled())
        return forward(self, states)

    options = ("trainer.eval_every=0", "trainer.micro_batches=2")
    try:
        LlamaMLP.forward = counted
        here("run=kept", *options, steps=2)
        kept = sum(calls)
        calls.clear()
        here("run=again", *options, "trainer.gradient_checkpointing=true", steps=2)
    finally:
        LlamaMLP.forward = forward
    assert sum(calls) > kept  # layers were computed again, with a gradient
    one, other = (trained_weights(last_checkpoint(tmp_path / name)) for name in ("kept", "again"))
    assert one.keys() == other.keys() and all(torch.equal(each, other[name]) for name, each in one.items())


def test_every_fault_of_the_page_has_its_test():
    page = (ROOT / "docs" / "reliability.md").read_text()
    found = re.findall(r"`(test_\w+)::(test_\w+)`", page)
    assert len(found) > 15
    for file, test in found:
        assert f"def {test}(" in (ROOT / "tests" / "trainers" / f"{file}.py").read_text(), test
