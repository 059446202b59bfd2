"""Objectives as custom losses of slime: `loss = custom_loss("maspo")` in a module of one's own, and
`--loss-type custom_loss --custom-loss-function-path mine.loss`.

slime sums losses over micro-batches and ranks and divides by the completions of the step, or with
`--calculate-per-token-loss` by its tokens (`loss_function` of slime.backends.megatron_utils.loss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from maspo_dsl.analysis.homogeneity import divisors
from maspo_dsl.hosts.shared import Host, HostError, carried
from maspo_dsl.objective import SpecLike

SLIME = Host(
    "slime",
    "slime",
    tensors={
        "logp": "log_probs of the logits",
        "logp_old": "log_probs",
        "logp_rollout": "rollout_log_probs",
        "logp_ref": "ref_log_probs",
        "entropy": "entropy of the logits",
        "advantage": "advantages",
        "mask": "loss_masks",
    },
    seen="624b824a898ab0ec1fcb4d373004c7f3852bf515",
    divides_by=frozenset({"tokens", "sequences"}),
)
CustomLoss = Callable[[Any, Mapping[str, Any], Tensor, Any], tuple[Tensor, dict[str, Tensor]]]


def custom_loss(objective: SpecLike, params: Mapping[str, float] | None = None) -> CustomLoss:
    """slime's signature of a loss, (args, batch, logits, sum_of_sample_mean). Raises SpecError and HostError."""
    ours = carried(SLIME, objective, params)
    name, by = ours.loss.objective.name, next(iter(divisors(ours.loss.objective.graph)))

    def loss(
        args: Any, batch: Mapping[str, Any], logits: Tensor, sum_of_sample_mean: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if args.context_parallel_size > 1:
            raise HostError(f"{name} in slime: completions are cut over context-parallel ranks")
        if args.calculate_per_token_loss is not (by == "tokens"):
            flag = "needs" if by == "tokens" else "must not have"
            raise HostError(f"{name} in slime: a mean over {by} {flag} --calculate-per-token-loss")
        x = _packed(args, batch, logits)
        out = ours({key: value for key, value in x.items() if value is not None}, {})
        return out.loss, {"loss": out.loss.detach()}

    return loss


def _packed(args: Any, batch: Mapping[str, Any], logits: Tensor) -> dict[str, Tensor | None]:
    """A micro-batch under our names, its completions one behind the other."""
    functions = import_module("slime.backends.megatron_utils.loss")
    lengths = {key: batch[key] for key in ("unconcat_tokens", "total_lengths", "response_lengths")}
    more = functions.get_rollout_top_p_logprob_kwargs(args, batch)
    _, found = functions.get_log_probs_and_entropy(logits, args=args, with_entropy=True, **lengths, **more)
    logp = torch.cat(found["log_probs"])
    known = {ours: batch.get(theirs) for ours, theirs in SLIME.tensors.items()}
    x = {name: torch.cat(list(value)) if value else None for name, value in known.items()}
    old = x["logp_rollout"] if args.use_rollout_logprobs else x["logp_old"]
    counts = torch.tensor(batch["response_lengths"], device=logits.device)
    return {
        **x,
        "logp": logp,
        "entropy": torch.cat(found["entropy"]),
        "logp_old": logp.detach() if old is None else old,
        "mask": torch.cat(list(batch["loss_masks"])) > 0,
        "sequence": torch.arange(len(counts), device=logits.device).repeat_interleave(counts),
    }
