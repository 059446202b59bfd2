"""The line `from hidden`: it holds for what ships, and finds mistakes in how chunks are computed and summed."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.analysis.coupling import Reach
from maspo_dsl.runtime import linear_head
from maspo_dsl.runtime.from_hidden import _Passes
from maspo_dsl.runtime.linear_head import HeadGradients, LinearHead
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.verification import hidden
from maspo_dsl.verification.report import Line
from maspo_dsl.verification.subject import Subject
from maspo_dsl.verification.verify import CHECKS

BONUS = "bonus exploration = 0.1 * entropy(policy)"
KL = "teacher t\npenalty distil = 0.1 * kl(policy, t)"
CLIPPED_KL = "teacher t\npenalty distil = max(kl(policy, t), 2)"
OF_TEACHERS = "teacher t\npenalty distil = 0.1 * k2(policy, old) * mean(entropy(t), sequence)"
OF_POLICY = "reward drift = -0.1 * mean(detach(policy / old), sequence)"


def line(name: str, text: str = "") -> Line:
    """What is said of an objective, with more statements."""
    objective = maspo_dsl.load(io.StringIO(f"objective example extends {name}\n{text}\n") if text else name)
    (check,) = [check for check in CHECKS if check.name == "from hidden"]
    return check.line(Subject(objective, "eager"))


@pytest.mark.parametrize("text", [BONUS, OF_POLICY, KL, CLIPPED_KL, OF_TEACHERS])
def test_it_holds_where_more_is_read(text):
    """A gradient to the entropy, and an advantage that is estimated from log-probs still to be computed."""
    found = line("group_ppo", text)
    assert found.verdict == "pass", found.detail


def test_the_batches_are_those_of_the_other_lines():
    """The states give the batch's log-probs, so that ratios are what they were; junk is at masked tokens."""
    subject = Subject(maspo_dsl.load("group_ppo"), "eager")
    head = hidden._head()
    padded, packed, *cut = hidden._windows(subject, head)
    (part,) = padded.parts
    mask = part.batch["mask"]
    chosen = part.tokens.clamp(min=0)[..., None]
    logp = head.log_probs(part.hidden).gather(-1, chosen)[..., 0]
    _, batch = subject.batches(hidden.SEED)[0]
    np.testing.assert_allclose(logp[mask], batch["logp"][batch["mask"]], rtol=1e-10)
    assert not part.hidden[~mask].isfinite().all() and (part.tokens[~mask] < 0).all()
    assert packed.parts[0].batch["sequence"].shape == packed.parts[0].hidden.shape[:1]
    assert not {"logp", "entropy"} & set(part.batch) and "entropy" in packed.parts[0].batch
    assert cut and all(window.denominators is not None and len(window.parts) == 3 for window in cut)
    assert all(1 < window.chunk < part.batch["mask"].sum() for window in (padded, packed, *cut))


def test_an_objective_without_a_gradient_is_refused():
    found = line("group_ppo", "weight nothing = 1e-30")
    assert found.verdict == "fail" and "nothing is tested" in found.detail


# ---- mistakes

add, add_products, run = HeadGradients.add, HeadGradients._add_products, LinearHead.run
log_probs, moved = LinearHead.log_probs, linear_head.moved_to_front
scheduled, compiled = ObjectiveLoss.schedule.func, ObjectiveLoss._compiled


def without_temperature(self, *given):
    add_products(replace(self, head=replace(self.head, temperature=1.0)), *given)


def twice_the_bias(self, *given):
    before = self.bias.clone()
    add_products(self, *given)
    self.bias.add_(self.bias - before)


def without_the_last(self, head_pass, rows, coefficients):
    logp = coefficients["logp"]
    add(self, head_pass, rows, {"logp": logp * (torch.arange(len(logp)) < len(logp) - 1)})


def with_what_is_clipped(self, head_pass, rows, coefficients):
    logp = coefficients["logp"]
    add(self, head_pass, rows, {"logp": logp.where(logp != 0, logp.abs().mean())})


def without_distributions(self, head_pass, rows, coefficients):
    add(self, head_pass, rows, {"logp": coefficients["logp"]})


def of_another_token(self, hidden, buffer):
    return log_probs(self, hidden.roll(1, 0), buffer)


def as_if_given(self, device, computed):
    return compiled(self, device, frozenset())


def moved_alone(used, *buffers):
    return moved(used, *buffers[:1])


def without_bias(self, *given, **options):
    return run(replace(self, bias=None), *given, **options)


def unmoved(used, *buffers):
    return used.nonzero()[:, 0]


def token_by_token(self):
    return replace(scheduled(self), reach=Reach.TOKEN)


def skipping(self):
    return replace(scheduled(self), skips_zero_advantage=True)


def of_the_part_alone(self, x):
    return self.module.window([{**self.given.batch, **{name: x[name] for name in self.computed}}])


def early(self):
    return False


# What is wrong -> objective, more statements; where it is planted, what stands there instead; what is said.
MISTAKES = {
    "temperature": ("dapo", "", HeadGradients, "_add_products", without_temperature, "d loss / d hidden"),
    "bias twice": ("dapo", "", HeadGradients, "_add_products", twice_the_bias, "d loss / d bias at word"),
    "last of a chunk": ("dapo", "", HeadGradients, "add", without_the_last, "d loss / d hidden at row"),
    "clipped": ("dapo", "", HeadGradients, "add", with_what_is_clipped, "d loss / d hidden at row"),
    "rows of the buffer": ("dapo", "", linear_head, "moved_to_front", unmoved, "d loss / d hidden at row"),
    "logits without bias": ("dapo", "", LinearHead, "run", without_bias, "the loss is"),
    "denominators": ("dapo", "", _Passes, "_denominators", of_the_part_alone, "micro-batches, batch with"),
    "entropy": ("group_ppo", BONUS, HeadGradients, "add", without_distributions, "d loss / d hidden at row"),
    "divergence": ("group_ppo", KL, HeadGradients, "add", without_distributions, "d loss / d hidden at row"),
    "teacher's token": ("group_ppo", KL, LinearHead, "log_probs", of_another_token, "the loss is"),
    "teacher not yet known": ("group_ppo", OF_TEACHERS, ObjectiveLoss, "_compiled", as_if_given, "padded"),
    "rows of a teacher": (
        "dapo",
        CLIPPED_KL,
        linear_head,
        "moved_to_front",
        moved_alone,
        "d loss / d hidden",
    ),
    "advantage too early": ("group_ppo", OF_POLICY, _Passes, "_estimates_late", early, "batch with rewards"),
    "completions cut": ("gspo", "", ObjectiveLoss, "schedule", property(token_by_token), "padded"),
    "tokens left out": ("grpo", "", ObjectiveLoss, "schedule", property(skipping), "padded"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake(mistake, monkeypatch):
    name, text, *planted, said = MISTAKES[mistake]
    monkeypatch.setattr(*planted)
    found = line(name, text)
    assert found.verdict == "fail" and said in found.detail, found.detail
