"""`maspo-dsl inspect`: the page of a batch, and one line for a batch that cannot be used."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ..analysis.test_inspection import BATCH


@pytest.fixture
def batch(tmp_path):
    np.savez(tmp_path / "batch.npz", **BATCH)
    return tmp_path / "batch.npz"


def test_a_page_says_why(cli, batch, tmp_path):
    result = cli("inspect", "maspo", batch, "-o", "page.html")
    assert result.exit_code == 0
    page = (tmp_path / "page.html").read_text()
    for words in ("all equal", "group_ppo.obj:11", "gaussian_gate", "its mask is false", ">gate</th>"):
        assert words in page
    assert page.count('class="t ') == 11  # one for each trained token
    assert "src=" not in page and "http" not in page.replace("doctype html", "")


def test_what_a_batch_holds_is_text(cli, tmp_path):
    words = np.full((4, 3), "<script>")
    np.savez(tmp_path / "b.npz", **BATCH, token_text=words)
    assert cli("inspect", "maspo", "b.npz").exit_code == 0
    page = (tmp_path / "tokens.html").read_text()
    assert "&lt;script&gt;" in page
    assert page.count("<script>") == 1


def test_tensors_of_torch_are_read(cli, tmp_path, batch):
    tensors = {name: torch.tensor(value) for name, value in BATCH.items()}
    for name in ("logp", "logp_old"):
        tensors[name] = tensors[name].bfloat16()
    save_file(tensors, tmp_path / "batch.safetensors")
    assert cli("inspect", "dapo", "batch.safetensors").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grpo", "batch.npz"], "lacks `logp_ref`"),
        (["maspo", "nothing.npz"], "there is no file `nothing.npz`"),
        (["maspo", "batch.csv"], "expected one of .safetensors, .npz"),
        (["maspo", "broken.npz"], "`broken.npz` cannot be read"),
        (["maspo", "broken.safetensors"], "`broken.safetensors` cannot be read"),
        (["maspo", "empty.npz"], "lacks `mask`"),
        (["maspo", "short.npz"], "`reward` of `short.npz` has shape (3,); expected (4,)"),
        (["maspo", "flat.npz"], "expected [N, T]"),
        (["maspo", "."], "is no run"),
        (["nothing", "batch.npz"], "nothing"),
    ],
)
def test_what_cannot_be_read_is_a_line(cli, batch, write, tmp_path, arguments, message):
    for name in ("broken.npz", "broken.safetensors"):
        write(name, "no tensors")
    np.savez(tmp_path / "empty.npz")
    np.savez(tmp_path / "short.npz", **{**BATCH, "reward": np.ones(3)})
    np.savez(tmp_path / "flat.npz", **{**BATCH, "mask": np.ones(3)})
    result = cli("inspect", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_run_shows_the_samples_of_a_step(cli, write, tmp_path):
    rows = [
        {"step": step, "prompt": "1+1=", "completion": f"<b>{step}", "reward": reward, "truncated": False}
        for step, reward in ((1, 1.0), (2, None))
    ]
    write("run/samples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert cli("inspect", "maspo", "run").exit_code == 0
    assert "&lt;b&gt;2" in (tmp_path / "tokens.html").read_text()
    assert cli("inspect", "maspo", "run", "--step", 1).exit_code == 0
    assert "&lt;b&gt;1" in (tmp_path / "tokens.html").read_text()
    assert "of these it did: 1, 2" in cli("inspect", "maspo", "run", "--step", 7).stderr
