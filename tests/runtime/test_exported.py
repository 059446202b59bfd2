"""Programs of value and gradient: what torch alone loads gives the package's numbers at any size."""

import json
import os
import subprocess
import sys

import pytest
import torch

import maspo_dsl
from maspo_dsl.emit.standalone import NotInAFileError
from maspo_dsl.runtime.exported import DESCRIPTION, description, exported, write_exported, write_package
from maspo_dsl.runtime.loss import loss_module

SIZES = ((6, 9), (1, 5), (4, 1), (1, 1), (17, 130))
KNOWN = maspo_dsl.load("grpo", {"kl": 0.25})
LIVE = maspo_dsl.parse(
    "objective live extends grpo\ninput expected : token live\ninput trust : sequence\ninput heat : scalar\n"
    "weight trust = trust\npenalty critic = heat * (expected - A) ^ 2\n"
)


def drawn(objective: maspo_dsl.Objective, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    """A batch and denominators as a program's description says, in float32."""
    torch.manual_seed(100 * rows + tokens)
    about, inputs = description(objective), loss_module(objective).inputs
    batch = {}
    for name, shape in about["batch"].items():
        value = torch.randn({"[N, T]": (rows, tokens), "[N]": (rows,), "0-d": ()}[shape])
        words = inputs[name].split()
        whole = {"index", "integer"} & set(words)
        batch[name] = (
            value > -0.8
            if "condition" in words
            else value.long()
            if whole
            else value - 1.5 * ("log-prob" in words)
        )
    return batch | {name: torch.tensor(7.0, dtype=torch.float64) for name in about["denominators"]}


def by_the_package(objective: maspo_dsl.Objective, given: dict[str, torch.Tensor]):
    """The loss and its gradients."""
    keys = description(objective)["denominators"]
    live = description(objective)["gradients"]
    batch = {
        name: each.clone().requires_grad_() if name in live else each
        for name, each in given.items()
        if name not in keys
    }
    loss = loss_module(objective)(batch, denominators={name: given[name] for name in keys}).loss
    found = torch.autograd.grad(loss, [batch[name] for name in live], allow_unused=True)
    return loss.detach(), {
        name: torch.zeros_like(batch[name]) if each is None else each
        for name, each in zip(live, found, strict=True)
    }


def agree(run, objective: maspo_dsl.Objective) -> None:
    largest = 0.0
    for size in SIZES:
        given = drawn(objective, *size)
        loss, gradients = run(**dict(reversed(given.items())))
        wanted, others = by_the_package(objective, given)
        torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-7)
        assert gradients.keys() == others.keys()
        for name, value in others.items():
            torch.testing.assert_close(gradients[name], value, rtol=1e-5, atol=1e-7)
            largest = max(largest, float(value.abs().max()))
    assert largest > 1e-3


SHIPPED = [
    pytest.param(name, marks=() if name == "maspo" else pytest.mark.slow) for name in maspo_dsl.shipped()
]


@pytest.mark.parametrize("name", SHIPPED)
def test_an_exported_program_has_any_size(name):
    objective = maspo_dsl.load(name)
    agree(exported(objective).module(), objective)


def test_inputs_of_ones_own_and_their_gradients():
    assert set(description(LIVE)["gradients"]) == {"expected", "logp"}
    agree(exported(LIVE).module(), LIVE)


ALONE = """
import sys
sys.modules["maspo_dsl"] = None
import torch
given, kind, path = torch.load(sys.argv[1]), sys.argv[2], sys.argv[3]
run = torch.export.load(path).module() if kind == "export" else torch._inductor.aoti_load_package(path)
torch.save([run(**each) for each in given], sys.argv[1])
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An exported file, the only one in its folder."""
    path = tmp_path_factory.mktemp("exported") / "loss.pt2"
    write_exported(KNOWN, path)
    assert [each.name for each in path.parent.iterdir()] == ["loss.pt2"]
    return path


def alone(kind, path, folder) -> None:
    """What a process gives that has torch and neither the package nor a compiler."""
    given = [drawn(KNOWN, *size) for size in SIZES]
    torch.save(given, folder / "batches.pt")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder / "batches.pt"), kind, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = iter(torch.load(folder / "batches.pt"))
    agree(lambda **_: next(found), KNOWN)


def test_an_exported_file_loads_with_torch_alone(written, tmp_path):
    alone("export", written, tmp_path)


@pytest.mark.slow
def test_a_compiled_file_loads_without_a_compiler(tmp_path):
    write_package(KNOWN, tmp_path / "loss.pt2")
    alone("aoti", tmp_path / "loss.pt2", tmp_path)
    found = torch._inductor.aoti_load_package(str(tmp_path / "loss.pt2")).get_metadata()
    assert json.loads(found["hash"]) == KNOWN.hash


def test_a_program_says_what_it_is(written):
    about = {DESCRIPTION: ""}
    torch.export.load(written, extra_files=about)
    found = json.loads(about[DESCRIPTION])
    assert (found["objective"], found["hash"]) == ("grpo", KNOWN.hash)
    assert found["parameters"]["kl"] == 0.25 and maspo_dsl.parse(found["spec"]).hash == KNOWN.hash
    tokens = dict.fromkeys(("logp", "logp_old", "logp_ref", "mask"), "[N, T]")
    assert found["batch"] == {"advantage": "[N]", **tokens}
    assert found["denominators"] == ["sequences", "tokens"] and found["gradients"] == ["logp"]


def test_what_a_program_is_not_given_it_says():
    run = exported(maspo_dsl.load("dapo")).module()
    given = drawn(maspo_dsl.load("dapo"), 3, 4)
    with pytest.raises(Exception, match="tokens"):
        run(**{name: value for name, value in given.items() if name != "tokens"})
    with pytest.raises(Exception, match=r"shape|size|expected"):
        run(**{**given, "logp_old": given["logp_old"][:, :2]})


def test_names_that_clash_are_refused():
    spec = maspo_dsl.parse("objective clash extends dapo\ninput tokens : sequence\nweight own = tokens\n")
    with pytest.raises(NotInAFileError, match="tokens would name a tensor and a denominator"):
        exported(spec)


def test_a_user_may_export_the_whole_loss():
    """What counts and pads has no branch on how many tokens there are."""

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loss = loss_module(maspo_dsl.load("group_ppo"))

        def forward(self, logp, logp_old, mask, advantage):
            batch = {"logp": logp, "logp_old": logp_old, "mask": mask, "advantage": advantage}
            return self.loss(batch).loss

    def batch(rows, tokens):
        given = drawn(maspo_dsl.load("group_ppo"), rows, tokens)
        return tuple(given[name] for name in ("logp", "logp_old", "mask", "advantage"))

    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens", min=1)
    both = {0: rows, 1: tokens}
    run = torch.export.export(
        Whole(), batch(5, 7), dynamic_shapes=(both, both, both, {0: rows}), strict=False
    ).module()
    for size in ((3, 4), (40, 90)):
        torch.testing.assert_close(run(*batch(*size)), Whole()(*batch(*size)))
