"""Policies that are not trained, by their states and heads: what of them a loss needs, and whether they fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from maspo_dsl.emit.template.names import BatchError
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.runtime.linear_head import LinearHead
from maspo_dsl.runtime.logits import Asked
from maspo_dsl.runtime.top_tokens import TopTokens
from maspo_dsl.semantics.distributions import Distribution
from maspo_dsl.semantics.objective import ResolvedObjective

States: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Hidden states [N, T, H] or [M, H], and the weight [V, H] and bias [V] of the head behind them."""
TRAINED = "policy"
LOG_PROBS, INDEX = "topk_logp_", "topk_index_"
"""What the tensors of a batch are called that hold a teacher's top tokens, [N, T, K]."""


@dataclass(frozen=True)
class OtherPolicy:
    """A policy that is not trained, by its states [M, H] and its head."""

    hidden: Tensor
    head: LinearHead

    def like(self, head: LinearHead) -> OtherPolicy:
        """The same in the dtype of another head's logits, but on a device whose products sum in a wider one."""
        weight, bias = self.head.weight, self.head.bias
        if weight.is_cuda and weight.dtype.itemsize < head.dtype.itemsize:
            return self
        bias = None if bias is None else bias.to(head.dtype)
        return replace(self, head=replace(self.head, weight=weight.to(head.dtype), bias=bias))


@dataclass(frozen=True)
class OfTeachers:
    """What a loss needs of whole distributions.

    `asked` are functions of them, `log_probs` the tensors of a teacher's log-probs with its place, from 1. `tops` are
    asked of teachers of whom a few tokens [M, K] are known.
    """

    teachers: tuple[OtherPolicy, ...] = ()
    asked: tuple[Asked, ...] = ()
    log_probs: Mapping[str, int] = field(default_factory=dict)
    tops: tuple[TopTokens, ...] = ()

    @property
    def values(self) -> tuple[Asked, ...]:
        """Everything that is asked, in whatever way."""
        return (*self.asked, *(top.asked for top in self.tops))

    @property
    def frozen(self) -> frozenset[str]:
        """The tensors that are computed and carry no gradient."""
        return frozenset(self.log_probs) | {each.tensor for each in self.asked if 0 not in each.places}


NO_TEACHERS = OfTeachers()


ENTROPY = Distribution("entropy", (TRAINED,))


def of_teachers(
    objective: ResolvedObjective,
    reads: Mapping[str, str],
    batch: Mapping[str, Tensor],
    given: Mapping[str, States],
    policy: LinearHead,
    *,
    entropy: bool = False,
) -> OfTeachers:
    """What is to be computed of what a loss reads, by the term that needs it, and a batch does not bring.

    `entropy` asks for the policy's, whether or not it is read. Raises BatchError for a distribution whose policies are
    not given.
    """
    read = {name: each for name, each in objective.distributions.items() if name in reads}
    asked_for = {ENTROPY.tensor: ENTROPY} if entropy else {}
    wanted = {name: each for name, each in {**asked_for, **read}.items() if name not in batch}
    of_tops = {
        tensor: name
        for tensor, each in wanted.items()
        if (name := known_by_top(each, batch)) is not None and name not in given
    }
    tops = [_top(wanted[tensor], name, batch) for tensor, name in of_tops.items()]
    wanted = {tensor: each for tensor, each in wanted.items() if tensor not in of_tops}
    _check_given(objective, wanted, reads, given)
    log_probs = {row.tensor: row.name for row in objective.tensors.values() if row.policy and not row.live}
    wanted_log_probs = {
        str(tensor): name
        for tensor, name in log_probs.items()
        if name in given and tensor in reads and tensor not in batch
    }
    others = [name for each in wanted.values() for name in each.policies if name != TRAINED]
    names = list(dict.fromkeys([*others, *wanted_log_probs.values()]))
    places = {TRAINED: 0, **{name: place for place, name in enumerate(names, 1)}}
    asked = [
        Asked(tensor, each.word, tuple(places[name] for name in each.policies), each.weight)
        for tensor, each in wanted.items()
    ]
    return OfTeachers(
        tuple(_teacher(given[name], policy) for name in names),
        tuple(asked),
        {tensor: places[name] for tensor, name in wanted_log_probs.items()},
        tuple(tops),
    )


def known_by_top(asked: Distribution, batch: Collection[str]) -> str | None:
    """The teacher that something is asked of, if the batch has its top tokens and they are enough for that."""
    others = [name for name in asked.policies if name != TRAINED]
    enough = asked.row.lumps and asked.live and len(others) == 1
    return others[0] if enough and f"{LOG_PROBS}{others[0]}" in batch else None


def _top(asked: Distribution, name: str, batch: Mapping[str, Tensor]) -> TopTokens:
    places = tuple(int(policy != TRAINED) for policy in asked.policies)
    index, log_probs = batch[f"{INDEX}{name}"], batch[f"{LOG_PROBS}{name}"]
    return TopTokens(
        Asked(asked.tensor, asked.word, places, asked.weight),
        name,
        index.reshape(-1, index.shape[-1]).long(),
        log_probs.reshape(-1, log_probs.shape[-1]),
    )


def _teacher(states: States, policy: LinearHead) -> OtherPolicy:
    hidden, weight, bias = states
    return OtherPolicy(hidden.reshape(-1, hidden.shape[-1]), replace(policy, weight=weight, bias=bias))


def _check_given(
    objective: ResolvedObjective,
    wanted: Mapping[str, Distribution],
    reads: Mapping[str, str],
    given: Mapping[str, States],
) -> None:
    """Raise BatchError that names each distribution of which a policy is missing."""
    problems = []
    for tensor, each in wanted.items():
        if missing := [name for name in each.policies if name not in (TRAINED, *given)]:
            names = " and ".join(f"`{name}`" for name in missing)
            whose = ", ".join(f"{name!r}: (hidden, weight, bias)" for name in missing)
            needed = f"`{tensor}`, needed by {reads[tensor]}, is of the whole distribution of {names}"
            top = (
                f", or bring `{LOG_PROBS}{missing[0]}` and `{INDEX}{missing[0]}`"
                if each.row.lumps and each.live
                else ""
            )
            problems.append(f"{needed}: pass teachers={{{whose}}}{top}")
    if problems:
        raise BatchError(f"{objective.name}: {'; '.join(problems)}")


def check_teachers(
    objective: ResolvedObjective, given: Mapping[str, States], mask: Tensor, vocabulary: int
) -> None:
    """Raise BatchError for a teacher that the objective has not, or whose states or head do not fit."""
    known = [row.name for row in objective.tensors.values() if row.policy and not row.live]
    problems = []
    for name, states in given.items():
        if name not in known:
            problems.append(f"no teacher is named `{name}`: {did_you_mean(name, known)}")
        elif not isinstance(states, tuple) or len(states) != 3:
            problems.append(f"teacher `{name}` is (hidden, weight, bias), bias may be None")
        else:
            problems += [f"teacher `{name}`: {problem}" for problem in _misfits(states, mask, vocabulary)]
    if problems:
        raise BatchError(f"{objective.name}: {'; '.join(problems)}")


def check_tops(
    objective: ResolvedObjective, batch: Mapping[str, Tensor], given: Collection[str], vocabulary: int
) -> None:
    """Raise BatchError for top tokens of no teacher, of one that is given whole, or that cannot be."""
    known = [row.name for row in objective.tensors.values() if row.policy and not row.live]
    problems = []
    for prefix, other in ((LOG_PROBS, INDEX), (INDEX, LOG_PROBS)):
        for name in (key.removeprefix(prefix) for key in batch if key.startswith(prefix)):
            if name not in known:
                problems.append(f"`{prefix}{name}` is of no teacher: {did_you_mean(name, known)}")
            elif f"{other}{name}" not in batch:
                problems.append(f"`{prefix}{name}` needs `{other}{name}` beside it")
            elif name in given:
                problems.append(f"`{name}` is given twice, by its head and as `{prefix}{name}`")
            elif prefix == LOG_PROBS:
                of_name = batch[f"{LOG_PROBS}{name}"], batch[f"{INDEX}{name}"]
                problems += [
                    f"top tokens of `{name}`: {one}"
                    for one in _top_misfits(*of_name, batch["mask"], vocabulary)
                ]
    if problems:
        raise BatchError(f"{objective.name}: {'; '.join(problems)}")


def _top_misfits(log_probs: Tensor, index: Tensor, mask: Tensor, vocabulary: int) -> list[str]:
    if log_probs.shape != index.shape or index.shape[:-1] != mask.shape or not index.shape[-1]:
        axes = list(mask.shape)
        return [
            f"log-probs and indices must be [*{axes}, K], and are {list(log_probs.shape)} and {list(index.shape)}"
        ]
    if index.dtype not in (torch.int32, torch.int64):
        return [f"indices must be whole numbers, not {index.dtype}"]
    if index.device.type != "cpu" or not bool(mask.any()):  # where looking is not free
        return []
    index, total = index[mask != 0].long(), log_probs[mask != 0].float().exp().sum(-1)
    problems = []
    if not 0 <= int(index.min()) <= int(index.max()) < vocabulary:
        problems.append(f"indices must be 0 to {vocabulary - 1}")
    if bool((index.sort(-1).values.diff(dim=-1) == 0).any()):
        problems.append("a token is named twice at one place")
    if not bool((total <= 1 + 1e-2).all()):
        problems.append(
            f"probabilities add up to {float(total.max()):.4g}: they are natural logs of probabilities"
        )
    return problems


def _misfits(states: States, mask: Tensor, vocabulary: int) -> list[str]:
    hidden, weight, bias = states
    if hasattr(weight, "full_tensor"):
        return ["`weight` is sharded (a DTensor): pass it where it is whole"]
    problems = []
    if hidden.shape[:-1] != mask.shape or hidden.dim() < 2:
        problems.append(f"`hidden` is {list(hidden.shape)}, and `mask` {list(mask.shape)}")
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1]:
        problems.append(f"`weight` must be [V, {hidden.shape[-1]}], and is {list(weight.shape)}")
    elif len(weight) != vocabulary:
        problems.append(
            f"its vocabulary has {len(weight)} tokens, that of the policy {vocabulary}: both must be one"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        problems.append(f"`bias` must be [{weight.shape[0]}], and is {list(bias.shape)}")
    if not all(each is None or torch.is_floating_point(each) for each in states):
        problems.append("states, weight and bias are floats")
    return problems
