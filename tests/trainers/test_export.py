"""What comes out of a run, and what is left of one that is stopped, killed, or started twice."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from maspo_dsl.trainers import run_folder
from maspo_dsl.trainers.checkpoint import best_checkpoint, last_checkpoint, trained_weights
from maspo_dsl.trainers.claim import claimed_folder
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.export import export
from maspo_dsl.trainers.metrics import read_rows
from maspo_dsl.trainers.policies.tiny import ALPHABET, CharacterTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

import maspo_dsl


def logits(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer("say 7", return_tensors="pt", return_token_type_ids=False)).logits


def test_the_trained_model_comes_out(here, tmp_path):
    here("run=run")
    trained = trained_weights(last_checkpoint(tmp_path / "run"))
    loaded = AutoModelForCausalLM.from_pretrained("run/model")
    assert all(torch.equal(each, trained[name]) for name, each in loaded.state_dict().items())
    base = AutoModelForCausalLM.from_pretrained("base").state_dict()
    assert not torch.equal(base["lm_head.weight"], trained["lm_head.weight"])
    assert export(tmp_path / "run", tmp_path / "out") == 3
    assert torch.equal(logits("out"), logits("run/model"))
    best = best_checkpoint(tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "best", best=True) == int(best.stem[-6:])
    card = (tmp_path / "out/README.md").read_text()
    objective = maspo_dsl.load("run/spec.obj")
    assert objective.hash in card and objective.text.strip() in card and "\\begin{aligned}" in card
    assert "held-out, greedy" in card and (tmp_path / "out/curves.png").stat().st_size > 1000
    assert "done after step 1" in here("run=second", "model=run", steps=1)
    with pytest.raises(ConfigError, match="not empty"):
        export(tmp_path / "run", tmp_path / "out")
    with pytest.raises(ConfigError, match="no run is there"):
        export(tmp_path / "base", tmp_path / "other")


def test_the_best_weights_are_kept(here, tmp_path, monkeypatch):
    """Greedy rewards that rise and fall: the weights of the highest stay, through a resumed run too."""
    from maspo_dsl.trainers import run

    measured = iter([0.1, 0.2, 0.9, 0.3, 0.8])
    monkeypatch.setattr(run, "measures", lambda *given: {"eval/greedy": next(measured)})
    here("run=run")
    assert best_checkpoint(tmp_path / "run").name == "best-000002.ckpt"
    here("resume=run", steps=4, spec=None)
    assert best_checkpoint(tmp_path / "run").name == "best-000002.ckpt"
    assert last_checkpoint(tmp_path / "run").name == "step-000004.ckpt"


def test_the_tokenizer_of_the_tiny_model_comes_out_too(tmp_path):
    """As transformers read it beside the model's configuration, whose kind has a tokenizer of its own."""
    tokenizer = CharacterTokenizer()
    tokenizer.hugging_face().save_pretrained(tmp_path)
    Qwen2Config().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.pad_token_id, loaded.eos_token_id) == (tokenizer.pad_id, *tokenizer.eos_ids)
    assert loaded(f"{ALPHABET}A\n")["input_ids"] == tokenizer.encode(ALPHABET)
    assert loaded.decode(tokenizer.encode(ALPHABET)) == ALPHABET


def test_two_runs_have_two_folders(here, tmp_path):
    objective = maspo_dsl.load("dapo")
    default, named = read_config([]), read_config(["run=mine"])
    with claimed_folder(default, objective) as one, claimed_folder(default, objective) as two:
        assert (one.name, two.name) == ("dapo-1", "dapo-2")
    with claimed_folder(named, objective), pytest.raises(ConfigError, match="another run has mine"):
        here("run=mine")
    here("run=mine", steps=1)
    resumed = read_config(["resume=mine"])
    with claimed_folder(resumed, objective), pytest.raises(ConfigError, match="another run has mine"):
        here("resume=mine", steps=2)
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "runs").exists()


def test_a_folder_appears_whole_or_not_at_all(here, tmp_path, monkeypatch):
    """A full disk while the folder is made leaves nothing; one during the run leaves what can be resumed."""

    def full(path, content):
        if path.name == "run.json":
            raise OSError(28, "No space left on device")
        path.write_text(content)

    monkeypatch.setattr(run_folder, "write_whole", full)
    with pytest.raises(ConfigError, match="No space left"):
        here("run=run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_writes_the_model(here, tmp_path, number):
    (tmp_path / "judges.py").write_text(
        f"import os\ncalls = 0\ndef letters(completions, **columns):\n    global calls\n    calls += 1\n"
        f"    if calls == 4: os.kill(os.getpid(), {int(number)})\n    return [float(len(c)) for c in completions]\n"
    )
    before = signal.getsignal(number)
    text = here("run=run", steps=50, spec="rloo")
    assert "stopping after this step" in text and "resume=run" in text
    assert signal.getsignal(number) is before
    saved = last_checkpoint(tmp_path / "run")
    assert saved is not None and int(saved.stem[-6:]) < 50
    assert (tmp_path / "run/model/config.json").exists()


def test_an_end_by_a_measurement_that_fails_is_saved(here, tmp_path):
    (tmp_path / "judges.py").write_text(
        "calls = 0\ndef letters(completions, **columns):\n    global calls\n    calls += 1\n"
        "    return [float(len(c)) for c in completions][calls == 6:]\n"  # the measurement after step 2
    )
    with pytest.raises(ConfigError, match="values for"):
        here("run=run", steps=50, spec="grpo")
    assert last_checkpoint(tmp_path / "run").name == "step-000002.ckpt"


def test_a_strategy_is_looked_at_before_the_model(here, monkeypatch):
    from maspo_dsl.trainers import run

    monkeypatch.setattr(run, "build_policy", lambda *given, **options: pytest.fail("the model was made"))
    with pytest.raises(ConfigError, match="Lightning cannot use these"):
        here("run=run", "trainer.strategy=quick")


def test_a_killed_run_goes_on(here, tmp_path):
    """kill -9 while it runs; the folder can be resumed, and its claim is gone with the process."""
    command = [
        sys.executable,
        "-c",
        "from maspo_dsl.cli import main; main()",
        "train",
        "dapo",
        *here.settings,
        "run=run",
    ]
    command += ["trainer.max_steps=4000", "trainer.checkpoint_every=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 240
        while last_checkpoint(tmp_path / "run") is None and time.monotonic() < until:
            time.sleep(0.1)
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    steps = int(last_checkpoint(tmp_path / "run").stem[-6:])
    assert "done after step" in here("resume=run", steps=steps + 1, spec=None)


@pytest.mark.slow
def test_sigterm_to_the_parent_of_forked_processes_saves(here, tmp_path):
    """As a scheduler sends it that knows of one process: both finish their step, and the model is written whole."""
    two = [
        "trainer.devices=2",
        "trainer.strategy=ddp_fork",
        "trainer.accelerator=cpu",
        "trainer.max_steps=4000",
    ]
    command = [sys.executable, "-c", "from maspo_dsl.cli import main; main()", "train", "rloo"]
    settings = [*here.settings, "run=run", "trainer.checkpoint_every=4000"]
    process = subprocess.Popen([*command, *settings, *two])
    try:
        until = time.monotonic() + 240
        while len(read_rows(tmp_path / "run")) < 3 and time.monotonic() < until:
            time.sleep(0.1)
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 130
    finally:
        process.kill()
    trained = trained_weights(last_checkpoint(tmp_path / "run"))
    loaded = AutoModelForCausalLM.from_pretrained("run/model")
    assert all(torch.equal(each, trained[name]) for name, each in loaded.state_dict().items())
