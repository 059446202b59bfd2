"""The tensors that a batch must bring for an objective, and the part that needs each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.graph.needs import reads
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.vocabulary import QUANTITIES

_TOKEN_TENSORS = frozenset({"logp", "logp_old", "logp_ref", "logp_rollout", "entropy", "value", "mask"})
_MEANINGS = {
    "logp": "log-prob of the sampled token under the policy, with gradient",
    "logp_old": "log-prob under the policy at rollout time, recomputed",
    "logp_ref": "log-prob under the frozen reference policy",
    "logp_rollout": "the sampler's own log-prob",
    "entropy": "of the policy's distribution, in nats",
    "group": "whole numbers: which completions share a prompt",
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the batch: its shape, what it holds, and what needs it."""

    name: str
    shape: str
    meaning: str
    needed_by: tuple[str, ...]


def tensors(objective: Objective) -> Iterator[Tensor]:
    """Every tensor that the simplified objective reads, `mask` first."""
    yield Tensor("mask", "[N, T] bool", "trained tokens", ("every objective",))
    needs: dict[str, list[str]] = {}
    for purpose, wanted in reads(objective.graph).items():
        if purpose == "statistics":
            continue
        for tensor, term in wanted.items():
            needs.setdefault(tensor, []).append(term.strip("`"))
    estimated = {"advantage", "advantage_rows"} & set(needs)
    for name, by in needs.items():
        if name not in ("advantage", "advantage_rows"):
            # the estimator alone needs it, and a batch may bring the advantage itself
            only_estimator = estimated and set(by) == {"advantage"}
            reasons = (
                ("advantage, unless the batch brings `advantage`",)
                if only_estimator
                else tuple(dict.fromkeys(by))
            )
            yield Tensor(name, _shape(objective, name), _meaning(objective, name), reasons)


def _shape(objective: Objective, name: str) -> str:
    declared = objective.resolved.flat.inputs.get(name)
    by_token = declared.axis.text == "token" if declared else name in _TOKEN_TENSORS
    kind = {"group": " int", "correct": " bool", "truncated": " bool"}.get(name, "")
    return ("[N, T]" if by_token else "[N]") + kind


def _meaning(objective: Objective, name: str) -> str:
    declared = objective.resolved.flat.inputs.get(name)
    if declared is not None:
        return declared.doc or "declared by the spec"
    if name in _MEANINGS:
        return _MEANINGS[name]
    return QUANTITIES[name].doc if name in QUANTITIES else ""
