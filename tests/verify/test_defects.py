"""Mistakes planted in the emitted code, a pass or the compiled gradient: each is found, on the line about it."""

import pytest

import maspo_dsl
from maspo_dsl.graph import passes
from maspo_dsl.graph.nodes import rewrite
from maspo_dsl.objective import Objective
from maspo_dsl.runtime.compiled import CompiledLoss
from maspo_dsl.verification.subject import Subject
from maspo_dsl.verification.verify import CHECKS

BY_NAME = {check.name: check for check in CHECKS}


def failing(name: str, *lines: str, backend: str = "eager") -> dict[str, str]:
    """Which of these lines of an objective fail, and what they say."""
    subject = Subject(maspo_dsl.load(name), backend)
    found = [BY_NAME[line].line(subject) for line in lines]
    return {line.name: line.detail for line in found if line.verdict == "fail"}


# Line -> objective, text of the emitted file, what stands there instead.
PLANTED = {
    "emitted, float64": ("dapo", 'torch.clamp(d["tokens"], min=1)', 'torch.clamp(d["sequences"], min=1)'),
    "emitted, float32": (
        "group_ppo",
        "else value.to(dtype)",
        "else value.to(dtype) * (1.001 if dtype == torch.float32 else 1)",
    ),
    "derivative": ("maspo", ".detach()", ""),
    "detached": ("group_ppo", "else batch[name].detach()", "else batch[name]"),
    "on policy": ("group_ppo", "-(advantage", "(advantage"),
    "rows": ("dapo", "torch.where(member, value, 0.0).sum()", "torch.where(member, value, 0.0)[1:].sum()"),
    "groups": ("group_ppo", 'x["group"] = dense(x["group"])', "pass"),
    "padding": ("group_ppo", "return chosen.sum(-1)", "return chosen.sum(-1) + 0.01 * chosen.shape[-1]"),
    "packed": ("group_ppo", 'start = None if "sequence" in x else -1', "start = -1"),
    "micro-batches": ("dapo", "sum(parts[1:], start=parts[0])", "torch.stack(list(parts)).amax(0)"),
    "ranks": ("dapo", "sum(parts[1:], start=parts[0])", "torch.stack(list(parts)).amax(0)"),
    "masked tokens": ("cispo", "return torch.where(mask, value, 0.0)", "return value * mask"),
    "far ratios": ("group_ppo", "torch.clamp(difference, min=-20, max=20)", "difference"),
    "NaN": (
        "group_ppo",
        "return torch.where(mask, value, 0.0)",
        "return torch.where(mask, value, 0.0).nan_to_num()",
    ),
    "no signal": ("rloo", 'reward - max_within(reward, present, rows_by(x, "group"))', "reward"),
    "missing completions": ("group_ppo", 'present & ~torch.isnan(x["reward"])', "present"),
    "nothing to train": ("dapo", 'return (x["logp"] * 0.0).sum()', "return torch.zeros(())"),
    "dtypes": ("group_ppo", "dtype = torch.promote_types(dtype, value.dtype)", "pass"),
}
# What only an unusual batch shows: the plain comparison of values does not.
HIDDEN = {"packed", "micro-batches", "ranks", "nothing to train", "NaN", "detached"}


@pytest.mark.parametrize("line", PLANTED)
def test_a_mistake_in_the_emitted_code(line, monkeypatch):
    name, right, wrong = PLANTED[line]
    emitted = Objective.torch_source

    def planted(self: Objective) -> str:
        source = emitted(self)
        assert right in source
        # The functions of the objective come first in the file.
        return source.replace(right, wrong, 1 if right == ".detach()" else -1)

    monkeypatch.setattr(Objective, "torch_source", planted)
    found = failing(name, line, "passes", *(["emitted, float64"] if line in HIDDEN else []))
    assert list(found) == [line], found


def drop_minus(graph):
    """A pass that is wrong: -x becomes x."""
    return rewrite(graph, lambda b, node: node.args[0] if node.op == "neg" else None)


def drop_detach(graph):
    """A pass that is wrong about the gradient alone."""
    live = {"detach": lambda node: node.args[0]}
    return rewrite(graph, lambda b, node: live[node.op](node) if node.op in live else None)


def test_a_rank_that_guesses(monkeypatch):
    """Without its check the loss would take one rank's tokens for the window's."""
    emitted = Objective.torch_source
    check = "            self.refuse_several_ranks()\n"
    assert check in maspo_dsl.load("dapo").torch_source()
    monkeypatch.setattr(Objective, "torch_source", lambda self: emitted(self).replace(check, ""))
    found = failing("dapo", "ranks", "micro-batches")
    assert list(found) == ["ranks"] and "without denominators" in found["ranks"]


@pytest.mark.parametrize(("name", "wrong"), [("group_ppo", drop_minus), ("maspo", drop_detach)])
def test_a_pass_that_is_wrong(name, wrong, monkeypatch):
    before, after = passes.PASSES[:2], passes.PASSES[2:]
    monkeypatch.setattr(passes, "PASSES", (*before, wrong, *after))
    found = failing(name, "passes", "batches")
    assert list(found) == ["passes"]
    assert f"after {wrong.__name__}" in found["passes"]


@pytest.mark.parametrize("line", ["compiled, float64", "compiled, float32"])
def test_a_compiled_gradient_that_is_wrong(line, monkeypatch):
    right = CompiledLoss.value_and_gradient

    def wrong(self, *arguments):
        value, gradients = right(self, *arguments)
        return value, {name: 1.001 * gradient for name, gradient in gradients.items()}

    monkeypatch.setattr(CompiledLoss, "value_and_gradient", wrong)
    assert list(failing("group_ppo", line, "emitted, float64", backend="aot_eager")) == [line]


def test_what_raises_is_a_verdict(monkeypatch):
    """No traceback: the line says what was raised."""
    emitted = Objective.torch_source
    monkeypatch.setattr(
        Objective, "torch_source", lambda self: emitted(self) + "\nraise OSError('no disk')\n"
    )
    assert failing("group_ppo", "rows") == {"rows": "it raises OSError: no disk"}
