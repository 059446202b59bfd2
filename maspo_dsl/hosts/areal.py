"""Objectives as losses of AReaL: `loss_fn("maspo")` for the place of `partial(grpo_loss_fn, …)` in its PPOActor.

AReaL takes the mean over the trained tokens of a packed micro-batch, weighs it by their number over that of the whole
step, and multiplies by the data-parallel size, whose gradients it averages (`_compute_logprobs_and_loss`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from maspo_dsl.hosts.shared import Host, HostError, carried
from maspo_dsl.objective import SpecLike

AREAL = Host(
    "AReaL",
    "areal",
    tensors={
        "logp": "logprobs, the argument",
        "entropy": "entropy, the argument",
        "logp_old": "prox_logp",
        "logp_rollout": "logprobs",
        "advantage": "advantages",
        "mask": "loss_mask",
    },
    seen="4aef98d8d818af55b43621aaadba047ae10f4e77",
    divides_by=frozenset({"tokens"}),
)


def loss_fn(objective: SpecLike, params: Mapping[str, float] | None = None) -> Callable[..., Tensor]:
    """AReaL's signature of a loss, (logprobs, entropy, input_data). Raises SpecError and HostError."""
    ours = carried(AREAL, objective, params)
    name, read = ours.loss.objective.name, ours.loss.objective.reads("loss", given=["advantage"])

    def loss(logprobs: Tensor, entropy: Tensor, input_data: Mapping[str, Any], **_: Any) -> Tensor:
        rollout, old = input_data["logprobs"], input_data.get("prox_logp")
        if old is None and {"logp_old", "logp_rollout"} <= read:
            raise HostError(
                f"{name} in AReaL: it tells `old` from `rollout`, and actor.recompute_logprob brings prox_logp"
            )
        mask = input_data["loss_mask"].bool()
        lengths = input_data["cu_seqlens"].diff()
        batch = {
            "logp": logprobs,
            "entropy": entropy,
            "logp_old": rollout if old is None else old,
            "logp_rollout": rollout,
            "advantage": input_data["advantages"],
            "mask": mask,
            "sequence": torch.arange(len(lengths), device=mask.device).repeat_interleave(lengths),
        }
        return ours(batch, {"tokens": mask.count_nonzero()}).loss

    return loss
