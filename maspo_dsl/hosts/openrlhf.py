"""Objectives as policy losses of OpenRLHF, for `actor_loss_fn` of its ActorPPOTrainer.

OpenRLHF gives a loss the tokens and sequences of the whole step, over all ranks and divided by the number of its
micro-batches, as DeepSpeed divides what each returns; and the data-parallel size that gradients are divided by
(openrlhf.utils.loss_utils, `aggregate_loss` of openrlhf.models.loss).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maspo_dsl.hosts.shared import Host, HostError, carried
from maspo_dsl.objective import SpecLike

OPENRLHF = Host(
    "OpenRLHF",
    "openrlhf",
    tensors={
        "logp": "log_probs",
        "logp_old": "old_log_probs",
        "logp_rollout": "rollout_log_probs",
        "advantage": "advantages",
        "mask": "action_mask",
    },
    seen="3c3be6234e0cb353e76bb8019947db9dfe99fca7",
    how={
        "logp_ref": "its own KL term is added outside of the loss",
        "entropy": "its own entropy term is added outside of it",
    },
    counts=frozenset({"tokens", "sequences"}),
    divides_by=frozenset({"tokens", "sequences"}),
)
# Of a count per micro-batch, which may be below 1, the least that stands for a count; exact in every dtype.
_MULTIPLE = 2**20


class ObjectivePolicyLoss(nn.Module):
    """A PolicyLoss of OpenRLHF. Raises SpecError and HostError."""

    def __init__(self, objective: SpecLike, params: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.carried = carried(OPENRLHF, objective, params)

    def forward(
        self,
        log_probs: Tensor,
        old_log_probs: Tensor,
        advantages: Tensor,
        action_mask: Tensor | None = None,
        rollout_log_probs: Tensor | None = None,
        dp_size: int = 1,
        batch_num_tokens: float | None = None,
        global_batch_size: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """The loss of a micro-batch, 0-d, the share of gated tokens, the mean of log(old / policy), and None."""
        mask = torch.ones_like(log_probs, dtype=torch.bool) if action_mask is None else action_mask.bool()
        batch = {"logp": log_probs, "logp_old": old_log_probs, "advantage": advantages, "mask": mask}
        batch |= {} if rollout_log_probs is None else {"logp_rollout": rollout_log_probs}
        counts = {"tokens": batch_num_tokens, "sequences": global_batch_size}
        given = {name: count * _MULTIPLE for name, count in counts.items() if count is not None}
        if len(given) < len(counts) and (given or dp_size > 1):
            raise HostError(
                f"{self.carried.loss.objective.name} in OpenRLHF: batch_num_tokens and global_batch_size are of the "
                "whole step, and one of them is missing"
            )
        out = self.carried(batch, given or None)
        sides = [out.metric_parts[name] for name in ("gated_pos", "gated_neg") if name in out.metric_parts]
        gated = torch.stack(sides).sum(0) if sides else log_probs.new_zeros(2)
        apart = torch.where(mask, old_log_probs - log_probs.detach(), 0.0).sum() / mask.sum().clamp(min=1)
        scale = dp_size * (_MULTIPLE if given else 1)
        return out.loss * scale, gated[0] / gated[1].clamp(min=1), apart, None
