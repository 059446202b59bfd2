"""A user's own gate and estimator, in the user's own file, go through every command without a line of Python."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

OWN = """# A heavy-tailed gate, and an estimator around the median of a group.
objective tempered extends group_ppo
"A Cauchy gate, and a group's completions against the midpoint of its range"

param width = 0.3 in (0, inf)  "distance from 1 at which the weight is halved"
param floor = 0.05 in [0, 1)   "least weight"

def cauchy(r, width, floor) = r * detach(max(1 / (1 + ((r - 1) / width)^2), floor))  "r times a detached Cauchy"
def midrange(x, scope)      = x - (max(x, scope) + min(x, scope)) / 2   "x minus the middle of its range"

advantage = reward |> midrange(group)
ratio     = policy / old |> cauchy(width, floor) as gate when moving_away(it)
reduce    = loss |> mean(window)

variant bilateral { swap gate |> cauchy(width, floor) }
sweep width = 0.1, 0.3, 1

allow unbounded-side "the floor keeps a twentieth of the ratio, however far it is"
"""


@pytest.fixture
def own(write):
    return write("own/tempered.obj", OWN)


def test_check_and_fmt(cli, own):
    assert cli("check", own, "--strict").exit_code == 0
    assert cli("check", "own").stdout == "own/tempered.obj: fine\n"
    cli("fmt", own)
    assert "heavy-tailed" in own.read_text() and "def cauchy(r, width, floor)" in own.read_text()
    assert cli("fmt", "--check", own).exit_code == 0
    assert cli("check", own, "--strict").exit_code == 0


@pytest.mark.parametrize(
    "stage, words",
    [
        ("tree", ("Def midrange", "Stage cauchy alias=gate")),
        ("resolved", ("def cauchy(r, width, floor)", "param width = 0.7", "variant bilateral")),
        ("graph", ("cauchy", "reduce_min", "param width (0.7)")),
        ("torch", ("cauchy", "class Loss")),
    ],
)
def test_show(cli, own, stage, words):
    overrides = [] if stage == "tree" else ["params.width=0.7"]
    result = cli("show", own, "--stage", stage, *overrides)
    assert result.exit_code == 0
    assert all(word in result.stdout for word in words)


def test_explain(cli, own):
    text = cli("explain", own).stdout
    assert "sg[max(1 / (1 + ((r − 1) / width)²), floor)]" in text
    assert "A     = midrange_group(R)" in text
    assert "midrange(x, scope) = x − (max_scope(x) + min_scope(x)) / 2" in text
    assert "x minus the middle of its range" in text
    document = json.loads(cli("explain", own, "params.width=1", "--json").stdout)
    assert {"name": "gate", "effect": "`ratio` goes on without this stage"} in document["drops"]
    assert {t["name"] for t in document["tensors"]} == {"mask", "logp", "logp_old", "reward", "group"}
    assert document["conventions"] and document["variants"][0]["name"] == "bilateral"


def test_list_is_of_what_ships(cli, own):
    before = cli("list").stdout
    assert "cauchy" not in before and "tempered" not in before


def test_compile(cli, own, tmp_path):
    result = cli("compile", own, "-o", "own_loss.py")
    assert result.exit_code == 0 and "tempered@" in result.stderr
    spec = importlib.util.spec_from_file_location("own_loss", tmp_path / "own_loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reward = torch.tensor([1.0, 0.0, 4.0], dtype=torch.float64)
    logp = torch.tensor([[-1.0], [-2.0], [-0.5]], dtype=torch.float64, requires_grad=True)
    old = logp.detach() - torch.tensor([[0.3], [0.0], [0.5]], dtype=torch.float64)
    batch = {"logp": logp, "logp_old": old, "reward": reward}
    batch |= {"group": torch.zeros(3, dtype=torch.long), "mask": torch.ones(3, 1, dtype=torch.bool)}
    out = module.Loss()(batch)
    out.loss.backward()
    advantage = reward - 2.0
    r = (logp.detach() - old).exp()[:, 0]
    gate = (1 / (1 + ((r - 1) / 0.3) ** 2)).clamp(min=0.05)
    away = ((advantage > 0) & (r > 1)) | ((advantage < 0) & (r < 1))
    coefficient = -advantage * r * torch.where(away, gate, 1.0) / 3
    torch.testing.assert_close(out.loss.detach(), coefficient.sum())
    torch.testing.assert_close(logp.grad[:, 0], coefficient)


def test_train(cli, own, tmp_path, brief):
    result = cli("train", own, "run=run", "params.width=0.5", *brief, "trainer.max_steps=2")
    assert result.exit_code == 0, result.stderr
    assert "objective tempered@" in result.stdout and "done after step 2" in result.stdout
    kept = (tmp_path / "run" / "spec.obj").read_text()
    assert "def midrange(x, scope)" in kept and "param width = 0.5" in kept
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2] and rows[-1]["updates"] == 4
