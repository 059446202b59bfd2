"""The loss from hidden states, which forms the logits of a few tokens at a time, is the loss from log-probs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maspo_dsl.analysis.drawing import Arrays
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.runtime.teachers import INDEX, LOG_PROBS
from maspo_dsl.semantics.distributions import Distribution
from maspo_dsl.verification.batches import cut, packed, padded, places, rows_of, with_garbage
from maspo_dsl.verification.evaluation import (
    Evaluation,
    PropertyError,
    as_torch,
    check_equal,
    check_nontrivial,
)
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject

SEED = 11
VOCABULARY, WIDTH = 11, 13
TEMPERATURE = 0.7
# How many tokens are known of a teacher who is not known whole.
_TOP = 3
# A quantile of the window may be the number of one token; a little apart, no rounding decides where that token stands.
_APART = 1 + 1e-6
# Stands for the token where there is none, as it does in labels.
_NO_TOKEN = -100


@dataclass(frozen=True)
class Head:
    """A linear head, `weight` [V, H] and `bias` [V]."""

    weight: Tensor
    bias: Tensor

    def log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probs [..., V] after `hidden` [..., H], by logits."""
        return torch.log_softmax((hidden @ self.weight.t() + self.bias) / TEMPERATURE, -1)

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
    """A batch without log-probs, and the states [N, T, H] or [M, H] and tokens from which they come.

    `teachers` are states and heads of the policies whose whole distributions are read, `keys` the tensors of their
    log-probs; `distributions` says what is read. `tops` are tokens [..., K] of teachers of whom no more is known.
    """

    batch: dict[str, Tensor]
    hidden: Tensor
    tokens: Tensor
    teachers: dict[str, tuple[Tensor, Head]]
    keys: dict[str, str]
    distributions: Mapping[str, Distribution]
    tops: dict[str, Tensor]


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
    leaves = _leaves(loss, part, known, head)
    hidden, weight, bias, *_ = leaves.values()
    batch = _with_log_probs(part, hidden, Head(weight, bias))
    out = loss({**batch, **_own(loss, leaves)}, denominators=denominators)
    return _evaluation(out.loss, leaves)


def _leaves(loss: ObjectiveLoss, part: StateBatch, hidden: Tensor, head: Head) -> dict[str, Tensor]:
    """States, weight, bias and the spec's own live inputs, each a leaf."""
    values = {"hidden": hidden, "weight": head.weight, "bias": head.bias}
    values |= {name: part.batch[name] for name in loss.objective.graph.own_live}
    return {name: value.detach().clone().requires_grad_() for name, value in values.items()}


def _own(loss: ObjectiveLoss, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: leaves[name] for name in loss.objective.graph.own_live}


def _with_log_probs(part: StateBatch, hidden: Tensor, head: Head) -> dict[str, Tensor]:
    """The batch with log-probs, and with what is read of whole distributions where it lacks that."""
    logs = {"policy": head.log_probs(hidden)}
    mask = part.batch["mask"][..., None]
    for name, (states, teacher) in part.teachers.items():
        logs[name] = teacher.log_probs(states.where(mask, 0.0))
    chosen = part.tokens.clamp(min=0)[..., None]
    sampled = {name: each.gather(-1, chosen)[..., 0] for name, each in logs.items()}
    logp = sampled.pop("policy")
    found = {part.keys[name]: each for name, each in sampled.items()}
    for name, each in part.distributions.items():
        top = next((part.tops[policy] for policy in each.policies if policy in part.tops), None)
        found[name] = _of_distributions(each, logs if top is None else _lumped(part, logs["policy"], top))
    entropy = -(logs["policy"].exp() * logs["policy"]).sum(-1)
    return {"entropy": entropy, **found, **part.batch, "logp": logp}


def _lumped(part: StateBatch, own: Tensor, top: Tensor) -> dict[str, Tensor]:
    """Log-probs of some tokens, and of all others as one, of the policy and of teachers of whom no more is known."""
    known = {"policy": own.gather(-1, top)}
    known |= {name: part.batch[f"{LOG_PROBS}{name}"].nan_to_num(-9.0) for name in part.tops}
    tails = {name: torch.log1p(-each.exp().sum(-1, keepdim=True)) for name, each in known.items()}
    return {name: torch.cat([each, tails[name]], -1) for name, each in known.items()}


def _of_distributions(asked: Distribution, logs: Mapping[str, Tensor]) -> Tensor:
    """What is asked of whole distributions [..., V], as their definitions say it."""
    first, last = logs[asked.policies[0]], logs[asked.policies[-1]]
    p, q, weight = first.exp(), last.exp(), asked.weight
    match asked.word:
        case "entropy":
            return -(p * first).sum(-1)
        case "collision":
            return (p * p).sum(-1)
        case "kl":
            return (p * (first - last)).sum(-1)
        case "jsd":
            mixed = (weight * p + (1 - weight) * q).log()
            return (weight * p * (first - mixed) + (1 - weight) * q * (last - mixed)).sum(-1)
    raise PropertyError(f"`{asked.word}` is not known here")


def _by_chunks(
    loss: ObjectiveLoss, head: Head, part: StateBatch, denominators: Mapping[str, Tensor] | None
) -> Evaluation:
    """By `from_hidden`."""
    leaves = _leaves(loss, part, part.hidden, head)
    hidden, weight, bias, *_ = leaves.values()
    out = loss.from_hidden(
        hidden,
        weight,
        part.tokens,
        {**part.batch, **_own(loss, leaves)},
        bias=bias,
        temperature=TEMPERATURE,
        denominators=denominators,
        teachers={
            name: (states, teacher.weight, teacher.bias) for name, (states, teacher) in part.teachers.items()
        },
    )
    return _evaluation(out.loss, leaves)


def _evaluation(loss: Tensor, leaves: Mapping[str, Tensor]) -> Evaluation:
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    named = zip(leaves, gradients, strict=True)
    return Evaluation(loss.item(), {name: gradient.numpy() for name, gradient in named})


# ---- batches


def _head(stream: int = 5, width: int = WIDTH) -> Head:
    random = np.random.default_rng([SEED, stream])
    weight = torch.as_tensor(random.standard_normal((VOCABULARY, width)))
    return Head(weight, torch.as_tensor(random.standard_normal(VOCABULARY)))


def _windows(subject: Subject, head: Head) -> Iterator[Window]:
    """The batches in three forms, with junk at masked tokens, in states too; chunks are of several sizes."""
    for number, (name, batch) in enumerate(subject.batches(SEED)):
        dirty = with_garbage(batch, number)
        if number == 0:
            wide = _state_batch(subject, head, padded(dirty, 1, 2))
            yield Window(f"padded, {name}", [wide], None, chunk=5)
        elif number == 1:
            order = places(batch, number, in_order=subject.ordered)
            flat = _state_batch(subject, head, packed(dirty, order), other=True)
            yield Window(f"packed, {name}", [flat], None, chunk=16)
        else:
            yield _cut(subject, head, dirty, name)


def _cut(subject: Subject, head: Head, batch: Arrays, name: str) -> Window:
    """The batch in micro-batches, one of them without a trained token."""
    pieces = cut(batch, 2, SEED, together=subject.together)
    nothing = {**rows_of(batch, [0]), "mask": np.zeros_like(batch["mask"][:1])}
    parts = [
        _state_batch(subject, head, one) for one in [*(rows_of(batch, piece) for piece in pieces), nothing]
    ]
    whole = [_with_log_probs(part, part.hidden, head) for part in parts]
    denominators = {key: value * _APART for key, value in subject.eager.window(whole).items()}
    return Window(f"micro-batches, {name}", parts, denominators, chunk=3)


def _state_batch(subject: Subject, head: Head, batch: Arrays, *, other: bool = False) -> StateBatch:
    """States after which a head gives the log-probs of a batch, and what is left of it.

    Told to do it the `other` way, it brings entropies that carry no gradient, and leaves log-probs of teachers to be
    computed.
    """
    distributions = subject.objective.resolved.distributions
    random = np.random.default_rng([SEED, 6])
    tensors = {name: value.detach() for name, value in as_torch(batch).items()}
    shape = batch["mask"].shape
    tokens = torch.as_tensor(random.integers(0, VOCABULARY, shape))
    # Some tokens leave many words open, some few: entropies lie anywhere between 0 and log V.
    spread = random.exponential(4.0, (*shape, 1))
    others = torch.as_tensor(spread * random.standard_normal((*shape, VOCABULARY)))
    hidden = head.states(tensors.pop("logp"), tokens, others)
    read = dict.fromkeys(name for each in distributions.values() for name in each.policies)
    teachers = {
        name: (_states_of_teacher(number, tensors["mask"]), _head(20 + number, 5 + number))
        for number, name in enumerate(read)
        if name != "policy"
    }
    tops: dict[str, Tensor] = {}
    for name in _enough_by_top(distributions) if other else ():
        states, teacher = teachers.pop(name)
        logs = teacher.log_probs(states)
        tops[name] = logs.nan_to_num(-9.0).topk(_TOP, -1).indices
        tensors |= {f"{LOG_PROBS}{name}": logs.gather(-1, tops[name]), f"{INDEX}{name}": tops[name]}
    keys = {row.name: tensor for tensor, row in subject.tensors.items() if row.policy}
    for name in ("entropy", *distributions, *(keys[name] for name in teachers if other)):
        tensors.pop(name, None)
    if other and "entropy" not in subject.eager.schedule.distributions:
        logs = head.log_probs(hidden)
        tensors["entropy"] = -(logs.exp() * logs).sum(-1)
    return StateBatch(
        tensors, hidden, tokens.where(tensors["mask"], _NO_TOKEN), teachers, keys, distributions, tops
    )


def _enough_by_top(distributions: Mapping[str, Distribution]) -> set[str]:
    """Teachers of whom nothing is read but divergences from the policy."""
    pairs = [each for each in distributions.values() if each.row.lumps and each.live]
    rest = {name for each in distributions.values() if each not in pairs for name in each.policies}
    return {name for each in pairs for name in each.policies} - rest - {"policy"}


def _states_of_teacher(number: int, mask: Tensor) -> Tensor:
    """States of a teacher, [..., H] of a width of its own, NaN at masked tokens."""
    random = np.random.default_rng([SEED, 30 + number])
    states = torch.as_tensor(random.standard_normal((*mask.shape, 5 + number)))
    return states.where(mask[..., None], torch.nan)
