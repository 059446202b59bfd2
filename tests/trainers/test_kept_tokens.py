"""What a run keeps of its samples' tokens: `inspect` finds the gradients that its updates made, by torch itself."""

import json

import numpy as np
import pytest
import torch
from maspo_dsl.trainers import kept_tokens
from maspo_dsl.trainers.module import PolicyTrainer
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.analysis.surroundings import Surroundings, surroundings
from maspo_dsl.cli.app import app
from maspo_dsl.cli.output import InputError
from maspo_dsl.cli.run_samples import read_samples

from .test_run import run

# Objectives by what must stand beside a token: nothing; its group; its micro-batch; its window.
WHOLE_GROUPS = """objective groups extends group_ppo
"The mean ratio of the group is taken out"
weight near = exp(-abs(mean(log(policy / old), group)))
allow on-policy-weight "to look at groups"
"""
NEEDS = {
    "maspo": Surroundings.COMPLETION,
    "gspo": Surroundings.COMPLETION,
    "groups.obj": Surroundings.GROUP,
    "bnpo": Surroundings.MICRO_BATCH,
    "clip_cov": Surroundings.MICRO_BATCH,
    "top_entropy": Surroundings.WINDOW,
}


@pytest.fixture
def specs(tmp_path, monkeypatch):
    (tmp_path / "groups.obj").write_text(WHOLE_GROUPS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gradients(monkeypatch):
    """Minus what torch's loss gives each trained row's log-probs, by the row's tokens and step."""
    found, step = {}, PolicyTrainer.training_step

    def noted(self, window, index):
        denominators = self.denominators(window)
        for part in window:
            with torch.no_grad():
                batch = self.with_policy(part)
            batch["logp"].requires_grad_()
            (slope,) = torch.autograd.grad(self.loss(batch, denominators=denominators).loss, batch["logp"])
            for row, group in enumerate(part["group"].tolist()):
                trained = part["mask"][row]
                key = (self.current_epoch + 1, group, tuple(part["tokens"][row].tolist()))
                found[key] = -slope[row][trained].numpy(), batch["logp"][row][trained].detach().numpy()
        return step(self, window, index)

    monkeypatch.setattr(PolicyTrainer, "training_step", noted)
    return found


@pytest.mark.parametrize("spec", NEEDS)
def test_inspect_finds_the_gradients_of_the_updates(stand_in_policy, specs, gradients, spec):
    run(specs / "run", "trainer.updates_per_rollout=3", steps=2, source=spec)
    # The run's own: parameters that are bound to a run have its values there.
    objective = maspo_dsl.load(str(specs / "run/spec.obj"))
    assert surroundings(objective.graph) is NEEDS[spec]
    compared = 0.0
    for step in (1, 2):
        samples = read_samples(objective, specs / "run", step)
        found, records = samples.tokens, samples.records
        assert found is not None and len(records) == len(found.mask) == 4
        for row, record in enumerate(records):
            trained = found.mask[row]
            group = int(found.batch["group"][row])
            made = [value for key, value in gradients.items() if key[:2] == (step, group)]
            ratios = found.ratio[row][trained]
            logp = found.batch["logp"][row][trained]
            (slope,) = {
                tuple(slope)
                for slope, of_policy in made
                if of_policy.shape == logp.shape and np.allclose(of_policy, logp)
            }
            assert found.gradient[row][trained] == pytest.approx(slope, rel=1e-4, abs=1e-7)
            assert np.allclose(ratios, np.exp(logp - found.batch["logp_old"][row][trained]))
            assert (
                "".join(found.batch["token_text"][row][trained])
                .replace("[0]", "")
                .startswith(record["completion"])
            )
            assert found.batch["advantage"][row].mean() == pytest.approx(record["advantage"], abs=1e-6)
            compared += float(np.abs(slope).sum())
            groups, rewards = samples.beside
            assert (groups == group).sum() >= 4 and record["reward"] in rewards[groups == group]
    assert compared > 0


def test_the_page_of_a_run(stand_in_policy, specs):
    run(specs / "run", steps=3, source="maspo")
    result = CliRunner().invoke(app, ["inspect", "maspo", "run", "-o", "t.html", "--step", "2"])
    assert result.exit_code == 0, result.output
    assert "gaussian_gate" in result.output and "mask is false" not in result.output
    page = (specs / "t.html").read_text()
    assert "maspo: step 2, 4 completions of the run" in page and page.count('class="t ') >= 4
    assert sum(file.stat().st_size for file in (specs / "run/tokens").iterdir()) < 3 * 8000
    # Another objective's advantages and updates are not these.
    result = CliRunner().invoke(app, ["inspect", "dapo", "run"])
    assert result.exit_code == 2 and "its own is `run/spec.obj`" in result.stderr
    assert CliRunner().invoke(app, ["inspect", "run/spec.obj", "run"]).exit_code == 0
    # What was not kept is said.
    (specs / "run/tokens/3.npz").unlink()
    assert CliRunner().invoke(app, ["inspect", "maspo", "run"]).exit_code == 0
    assert "kept no log-probs of this step" in (specs / "tokens.html").read_text()
    (specs / "run/tokens/3.npz").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        read_samples(maspo_dsl.load("maspo"), specs / "run", 3)
    # Samples that are not of the step's tokens have none.
    lines = (specs / "run/samples.jsonl").read_text().splitlines()
    (specs / "run/samples.jsonl").write_text("\n".join(lines[:6]) + "\n")
    with pytest.raises(InputError, match="is not of the samples"):
        read_samples(maspo_dsl.load("maspo"), specs / "run", 2)


def test_more_than_is_small_is_not_kept(stand_in_policy, specs, monkeypatch):
    monkeypatch.setattr(kept_tokens, "MOST_TOKENS", 3)
    run(specs / "run", steps=1, source="maspo")
    assert not (specs / "run/tokens").exists()
    assert read_samples(maspo_dsl.load("maspo"), specs / "run", None).tokens is None


def test_what_the_loss_reads_and_the_run_did_not_keep_is_named(stand_in_policy, specs):
    run(specs / "run", steps=1, source="maspo")
    file = specs / "run/tokens/1.npz"
    with np.load(file) as kept:
        rest = {name: kept[name] for name in kept.files if not name.endswith("logp_old")}
    np.savez(file, **rest)
    samples = read_samples(maspo_dsl.load("maspo"), specs / "run", None)
    assert samples.tokens is None and "`logp_old`" in samples.why


def test_a_record_of_another_kind_is_no_traceback(specs):
    (specs / "run").mkdir()
    for text in ("[1]\n", '{"step": 1}\n', '{"step": "x", "prompt": 1, "completion": 2}\n'):
        (specs / "run/samples.jsonl").write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            read_samples(maspo_dsl.load("maspo"), specs / "run", None)
    row = {"step": 1, "prompt": "p", "completion": "c", "reward": None, "truncated": False}
    (specs / "run/samples.jsonl").write_text(json.dumps(row) + "\n")
    (specs / "run/run.json").write_text("[]")
    assert read_samples(maspo_dsl.load("maspo"), specs / "run", None).tokens is None
