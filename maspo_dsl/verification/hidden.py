"""The loss from hidden states, which forms the logits of a few tokens at a time, is the loss from log-probs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maspo_dsl.analysis.drawing import Arrays
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.verification.batches import cut, packed, padded, places, rows_of, with_garbage
from maspo_dsl.verification.evaluation import Evaluation, as_torch, check_equal, check_nontrivial
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject

SEED = 11
VOCABULARY, WIDTH = 11, 13
TEMPERATURE = 0.7
# A quantile of the window may be the number of one token; a little apart, no rounding decides where that token stands.
_APART = 1 + 1e-6
# Stands for the token where there is none, as it does in labels.
_NO_TOKEN = -100


@dataclass(frozen=True)
class Head:
    """A linear head, `weight` [V, H] and `bias` [V]."""

    weight: Tensor
    bias: Tensor

    def log_probs(self, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs of `tokens` [...] after `hidden` [..., H], and entropies, by logits."""
        logp = torch.log_softmax((hidden @ self.weight.t() + self.bias) / TEMPERATURE, -1)
        return logp.gather(-1, tokens[..., None])[..., 0], -(logp.exp() * logp).sum(-1)

    def states(self, logp: Tensor, tokens: Tensor, others: Tensor) -> Tensor:
        """States [..., H] after which `tokens` [...] have the log-probs `logp`; `others` [..., V] are the other logits.

        There are some for any logits, as H is not less than V.
        """
        apart = logp - torch.log(-torch.expm1(logp))
        chosen = tokens[..., None]
        rest = others.scatter(-1, chosen, -torch.inf).logsumexp(-1)
        logits = others.scatter(-1, chosen, (rest + apart)[..., None])
        inverse: Tensor = torch.linalg.pinv(self.weight).t()
        return (TEMPERATURE * logits - self.bias) @ inverse


@dataclass(frozen=True)
class StateBatch:
    """A batch without log-probs, and the states [N, T, H] or [M, H] and tokens from which they come."""

    batch: dict[str, Tensor]
    hidden: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Window:
    """The parts of a window, with its denominators if there are several; logits of `chunk` tokens fit at a time."""

    name: str
    parts: list[StateBatch]
    denominators: Mapping[str, Tensor] | None
    chunk: int


def from_hidden(subject: Subject) -> tuple[Verdict, str]:
    """From hidden states, in chunks, loss and gradients of states, weight and bias are those through all logits."""
    head = _head()
    loss = ObjectiveLoss(subject.objective, "eager")
    learning = trained = 0
    for window in _windows(subject, head):
        loss.head_memory = window.chunk * VOCABULARY * head.weight.itemsize
        expected = [_by_logits(loss, head, part, window.denominators) for part in window.parts]
        check_nontrivial(max(expected, key=lambda one: one.largest), window.name)
        for part, wanted in zip(window.parts, expected, strict=True):
            check_equal(_by_chunks(loss, head, part, window.denominators), wanted, window.name)
            learning += int(wanted.gradients["hidden"].any(axis=-1).sum())
            trained += int(part.batch["mask"].sum())
    return "pass", f"padded, packed and in micro-batches; {learning} of {trained} tokens have a gradient"


# ---- the two ways


def _by_logits(
    loss: ObjectiveLoss, head: Head, part: StateBatch, denominators: Mapping[str, Tensor] | None
) -> Evaluation:
    """All logits at once, their log-softmax, and the loss from log-probs; states of masked tokens are 0."""
    known = part.hidden.where(part.batch["mask"][..., None], 0.0)
    leaves = [value.clone().requires_grad_() for value in (known, head.weight, head.bias)]
    hidden, weight, bias = leaves
    out = loss(_with_log_probs(part, hidden, Head(weight, bias)), denominators=denominators)
    return _evaluation(out.loss, leaves)


def _with_log_probs(part: StateBatch, hidden: Tensor, head: Head) -> dict[str, Tensor]:
    """The batch with log-probs, and with entropies if it has none."""
    logp, entropy = head.log_probs(hidden, part.tokens.clamp(min=0))
    return {"entropy": entropy, **part.batch, "logp": logp}


def _by_chunks(
    loss: ObjectiveLoss, head: Head, part: StateBatch, denominators: Mapping[str, Tensor] | None
) -> Evaluation:
    """By `from_hidden`."""
    leaves = [value.clone().requires_grad_() for value in (part.hidden, head.weight, head.bias)]
    hidden, weight, bias = leaves
    out = loss.from_hidden(
        hidden,
        weight,
        part.tokens,
        part.batch,
        bias=bias,
        temperature=TEMPERATURE,
        denominators=denominators,
    )
    return _evaluation(out.loss, leaves)


def _evaluation(loss: Tensor, leaves: list[Tensor]) -> Evaluation:
    gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    named = zip(("hidden", "weight", "bias"), gradients, strict=True)
    return Evaluation(loss.item(), {name: gradient.numpy() for name, gradient in named})


# ---- batches


def _head() -> Head:
    random = np.random.default_rng([SEED, 5])
    weight = torch.as_tensor(random.standard_normal((VOCABULARY, WIDTH)))
    return Head(weight, torch.as_tensor(random.standard_normal(VOCABULARY)))


def _windows(subject: Subject, head: Head) -> Iterator[Window]:
    """The batches in three forms, with junk at masked tokens, in states too; chunks are of several sizes."""
    for number, (name, batch) in enumerate(subject.batches(SEED)):
        dirty = with_garbage(batch, number)
        if number == 0:
            wide = _state_batch(head, padded(dirty, 1, 2))
            yield Window(f"padded, {name}", [wide], None, chunk=5)
        elif number == 1:
            order = places(batch, number, in_order=subject.ordered)
            flat = _state_batch(head, packed(dirty, order), entropy=not subject.eager.schedule.entropy)
            yield Window(f"packed, {name}", [flat], None, chunk=16)
        else:
            yield _cut(subject, head, dirty, name)


def _cut(subject: Subject, head: Head, batch: Arrays, name: str) -> Window:
    """The batch in micro-batches, one of them without a trained token."""
    pieces = cut(batch, 2, SEED, together=subject.together)
    nothing = {**rows_of(batch, [0]), "mask": np.zeros_like(batch["mask"][:1])}
    parts = [_state_batch(head, one) for one in [*(rows_of(batch, piece) for piece in pieces), nothing]]
    whole = [_with_log_probs(part, part.hidden, head) for part in parts]
    denominators = {key: value * _APART for key, value in subject.eager.window(whole).items()}
    return Window(f"micro-batches, {name}", parts, denominators, chunk=3)


def _state_batch(head: Head, batch: Arrays, *, entropy: bool = False) -> StateBatch:
    """States after which a head gives the log-probs of a batch, and what is left of it; entropies only if told."""
    random = np.random.default_rng([SEED, 6])
    tensors = {name: value.detach() for name, value in as_torch(batch).items()}
    shape = batch["mask"].shape
    tokens = torch.as_tensor(random.integers(0, VOCABULARY, shape))
    # Some tokens leave many words open, some few: entropies lie anywhere between 0 and log V.
    spread = random.exponential(4.0, (*shape, 1))
    others = torch.as_tensor(spread * random.standard_normal((*shape, VOCABULARY)))
    hidden = head.states(tensors.pop("logp"), tokens, others)
    del tensors["entropy"]
    if entropy:
        tensors["entropy"] = head.log_probs(hidden, tokens)[1]
    return StateBatch(tensors, hidden, tokens.where(tensors["mask"], _NO_TOKEN))
