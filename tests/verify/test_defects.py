"""Mistakes of others, made on purpose in the emitted code, a pass or the compiled gradient: a property finds each.

A parity test in which a shared factor cancels, or that compares 0 with 0, passes whatever is done (TRL #6814).
"""

import re

import pytest

import maspo_dsl
from maspo_dsl.graph import passes
from maspo_dsl.graph.nodes import rewrite
from maspo_dsl.objective import Objective
from maspo_dsl.runtime.compiled import CompiledLoss
from maspo_dsl.verification.subject import Subject

from .catalogue import BY_NAME, SPECS, line


def failing(name: str, *properties: str, backend: str = "eager") -> dict[str, str]:
    """Which of these properties an objective has not, and what is said of them."""
    subject = Subject(maspo_dsl.load(SPECS[name]), backend)
    found = [line(subject, prop) for prop in properties]
    return {one.name: one.detail for one in found if one.verdict == "fail"}


RETURNED = r'return \{"loss": loss\b'
SEQUENCES = r'd\["inverse_sequences"\]'
# Mistake -> property that finds it, objective, pattern in the emitted file, what stands there instead.
PLANTED = {
    "sequences for tokens": (
        "emitted, float64",
        "dapo",
        r'torch\.clamp\(d\["tokens"\], min=1\)',
        'torch.clamp(d["sequences"], min=1)',
    ),
    "a factor of 99": ("emitted, float64", "maspo", RETURNED, 'return {"loss": loss / 99'),
    "swapped bounds": ("emitted, float64", "dapo", r'p\["eps_high"\]', 'p["eps_low"]'),
    "a dual clip of good tokens (tianshou #433)": (
        "emitted, float64",
        "ppo_dual_clip",
        r"dual = torch\.where\(.*\)",
        'dual = torch.sign(advantage) * torch.clamp(clip, max=p["cap"])',
    ),
    "an offset for a cap (SkyRL #1928)": (
        "emitted, float64",
        "cispo",
        r'max=p\["cap"\]',
        'max=p["cap"] - 1',
    ),
    "all completions for the others (Relax #174)": ("emitted, float64", "rloo", r"count - 1\b", "count"),
    "a term that is dropped": ("emitted, float64", "grpo", r'kl = p\["kl"\] \* k3', "kl = 0 * k3"),
    "excluded, not muted (slime #657)": (
        "emitted, float64",
        "dppo_tv",
        r'd\["inverse_tokens"\]',
        "1 / (mask & ~diverged).sum()",
    ),
    "an option that is not read (slime #397)": ("emitted, float64", "maspo", r'p\["alpha"\]', "0.3"),
    "float32 off by a thousandth": (
        "emitted, float32",
        "group_ppo",
        r"else value\.to\(dtype\)",
        "else value.to(dtype) * (1.001 if dtype == torch.float32 else 1)",
    ),
    "a live gate": ("derivative", "maspo", r"(?s)\.detach\(\)(.*)", r"\1"),
    "a live weight (verl #4105)": ("derivative", "weighed_by_policy", r"(mine = .*)\.detach\(\)", r"\1"),
    "a gradient of nothing (mlx-lm-lora #55)": (
        "derivative",
        "grpo",
        RETURNED,
        'return {"loss": loss - (loss - loss.detach())',
    ),
    "gradient to the old policy": (
        "detached",
        "group_ppo",
        r"else batch\[name\]\.detach\(\)",
        "else batch[name]",
    ),
    "sign": ("on policy", "group_ppo", r"-\(advantage", "(advantage"),
    "a gate that is not normalised": ("on policy", "sapo", r"4 / chosen", "4"),
    "the first row left out": (
        "rows",
        "dapo",
        r"torch\.where\(member, value, 0\.0\)\.sum\(\)",
        "torch.where(member, value, 0.0)[1:].sum()",
    ),
    "ids taken for places": ("groups", "group_ppo", r'x\["group"\] = dense\(x\["group"\]\)', "pass"),
    "groups of a fixed size (NeMo #3882)": (
        "groups",
        "grpo",
        r'dense\(x\["group"\]\)',
        'torch.arange(len(x["group"])) // 4',
    ),
    "the width of the tensor (verl #3741)": (
        "padding",
        "grpo",
        r'torch\.clamp\(sum_within\(one, mask, tokens_by\(x, "sequence"\)\), min=1\)',
        "mask.shape[-1]",
    ),
    "a little of the width": (
        "padding",
        "group_ppo",
        r"return chosen\.sum\(-1\)",
        "return chosen.sum(-1) + 0.01 * chosen.shape[-1]",
    ),
    "packed tokens taken for columns": (
        "packed",
        "group_ppo",
        r'return x\.get\("sequence"\) if isinstance\(x, dict\) else None',
        "return None",
    ),
    "packed rows are one (tunix #1662)": (
        "packed",
        "gspo",
        r'index_add\(0, x\["sequence"\],',
        'index_add(0, 0 * x["sequence"],',
    ),
    "the largest part's denominators": (
        "micro-batches",
        "dapo",
        r"sum\(parts\[1:\], start=parts\[0\]\)",
        "torch.stack(list(parts)).amax(0)",
    ),
    "the micro-batch's own tokens (verl #5625)": (
        "micro-batches",
        "dapo",
        r'd\["inverse_tokens"\]',
        "1 / mask.sum()",
    ),
    "the micro-batch's own sequences (ms-swift #10116)": (
        "micro-batches",
        "grpo",
        SEQUENCES,
        '1 / x["present"].sum().double()',
    ),
    "one rank's denominators": (
        "ranks",
        "dapo",
        r"sum\(parts\[1:\], start=parts\[0\]\)",
        "torch.stack(list(parts)).amax(0)",
    ),
    "a mask by product (Soup #342)": (
        "masked tokens",
        "cispo",
        r"return torch\.where\(mask, value, 0\.0\)",
        "return value * mask",
    ),
    "no mask": (
        "padding",
        "grpo",
        r"(def total\(.*\n.*\n    return) torch\.where\(member, value, 0\.0\)\.sum\(\)",
        r"\1 value.sum()",
    ),
    "masked tokens in the mean (reasoning-from-scratch #243)": (
        "padding",
        "gspo",
        r"sum_within\((.*), mask, tokens_by",
        r"sum_within(\1, mask | True, tokens_by",
    ),
    "a metric of masked tokens": (
        "masked tokens",
        "grpo",
        "chosen = trained if among",
        "chosen = trained | True if among",
    ),
    "no bound of log-ratios (OpenRLHF #1293, TRL #6637)": (
        "far ratios",
        "group_ppo",
        r"torch\.clamp\(difference, min=-20, max=20\)",
        "difference",
    ),
    "NaN laundered (slime #2198)": ("NaN", "sapo", RETURNED, 'return {"loss": torch.nan_to_num(loss)'),
    "NaN masked away": (
        "NaN",
        "group_ppo",
        r"return torch\.where\(mask, value, 0\.0\)",
        "return torch.where(mask, value, 0.0).nan_to_num()",
    ),
    "NaN that is not counted": (
        "NaN",
        "grpo",
        r'x\["mask"\] & ~torch\.isfinite\(value\)',
        'x["mask"] & torch.isinf(value)',
    ),
    "no exact zero (verl #4597)": (
        "no signal",
        "rloo",
        r'reward - max_within\(reward, present, rows_by\(x, "group"\)\)',
        "reward",
    ),
    "a singleton's own reward (verl #7793)": (
        "no signal",
        "rloo",
        r"difference - mean\b",
        "torch.where(count > 1, difference - mean, reward)",
    ),
    "a missing reward of 0 (ms-swift #8123)": (
        "missing completions",
        "group_ppo",
        r'present & ~torch\.isnan\(x\["reward"\]\)',
        "present",
    ),
    "a rejected sibling (verl #6375)": (
        "missing completions",
        "rloo",
        r"present = mask\.any\(-1\)",
        "present = mask.any(-1) | True",
    ),
    "rows, trained or not (verl #3915)": ("missing completions", "grpo", SEQUENCES, "1 / mask.shape[0]"),
    "a loss without a gradient": (
        "nothing to train",
        "dapo",
        r"return nothing_of\(x, self\.inputs\)",
        "return torch.zeros(())",
    ),
    "divided by nothing (TRL #7077)": (
        "nothing to train",
        "dapo",
        RETURNED,
        'return {"loss": loss * mask.sum() / mask.sum()',
    ),
    "a metric of nothing": (
        "nothing to train",
        "grpo",
        r'share = count / d\["tokens"\]\.clamp\(min=1\)',
        'share = count / d["tokens"]',
    ),
    "the first tensor's dtype": (
        "dtypes",
        "group_ppo",
        r"dtype = torch\.promote_types\(dtype, value\.dtype\)",
        "pass",
    ),
    "bfloat16 throughout (xtuner #1108)": (
        "dtypes",
        "maspo",
        r"dtype = torch\.float32",
        "dtype = torch.bfloat16",
    ),
}
# What the plain comparison of values does not see: only an unusual batch shows it.
UNSEEN = ("packed", "micro-batches", "ranks", "nothing to train", "NaN", "detached")


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_in_the_emitted_code(mistake, monkeypatch):
    prop, name, right, wrong = PLANTED[mistake]
    emitted = Objective.torch_source

    def planted(self: Objective) -> str:
        source = emitted(self)
        changed = re.sub(right, wrong, source)
        assert changed != source, "there is nothing to change"
        return changed

    monkeypatch.setattr(Objective, "torch_source", planted)
    found = failing(name, prop, "passes", *(["emitted, float64"] if prop in UNSEEN else []))
    assert list(found) == [prop], found


def test_every_property_finds_a_mistake():
    found = {prop for prop, *_ in PLANTED.values()}
    elsewhere = {
        "batches",
        "passes",
        "long completions",
        "compiled, float64",
        "compiled, float32",
        "from hidden",
    }
    assert found | elsewhere == set(BY_NAME) and not found & elsewhere


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
    check = "            self.check_one_rank()\n"
    assert check in maspo_dsl.load("dapo").torch_source()
    monkeypatch.setattr(
        Objective, "torch_source", lambda self: emitted(self).replace(check, "            pass\n")
    )
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
