"""Objectives as policy losses of SkyRL: `register("maspo")` before `sync_registries`, and
`trainer.algorithm.policy_loss_type=maspo/maspo`.

SkyRL adds up a loss over tokens, micro-batches and ranks and has divided advantages by the tokens of the mini-batch
beforehand (`apply_loss_reduction_to_advantages_minibatch`). What that number was a loss is not told, so it must be one
that is multiplied as its advantages are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from torch import Tensor

from maspo_dsl.hosts.shared import Carried, Host, HostError, carried
from maspo_dsl.objective import SpecLike

PREFIX = "maspo/"
SKYRL = Host(
    "SkyRL",
    "skyrl",
    tensors={
        "logp": "log_probs",
        "logp_old": "old_log_probs",
        "logp_rollout": "rollout_logprobs",
        "advantage": "advantages",
        "mask": "loss_mask",
    },
    seen="a9564572eb8e91076be43c1bd5e4615e3de17265",
    how={
        "logp_ref": "its own KL term is added outside of the loss",
        "entropy": "its own entropy term is added outside of it",
    },
    divides_by=frozenset({"tokens"}),
    scales_advantages=True,
)


def register(*sources: SpecLike, params: Mapping[str, float] | None = None) -> dict[str, str]:
    """Make objectives known to SkyRL: {name of the objective: its name in SkyRL}. Raises SpecError and HostError."""
    registry = import_module("skyrl.backends.skyrl_train.utils.ppo_utils").PolicyLossRegistry
    names = {}
    for source in sources:
        ours = carried(SKYRL, source, params)
        name = ours.loss.objective.name
        names[name] = f"{PREFIX}{name}"
        registry.register(names[name], partial(policy_loss, ours))
    return names


def policy_loss(
    ours: Carried,
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    config: Any,
    loss_mask: Tensor | None = None,
    rollout_logprobs: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """SkyRL's signature of a policy loss; tensors are [N, T]. Raises HostError: advantages were divided otherwise."""
    name = ours.loss.objective.name
    if config.loss_reduction != "token_mean":
        raise HostError(
            f"{name} in SkyRL: a mean over tokens is loss_reduction=token_mean, not {config.loss_reduction}"
        )
    if getattr(getattr(config, "off_policy_correction", None), "tis_ratio_type", None):
        raise HostError(
            f"{name} in SkyRL: off_policy_correction is the spec's to say: `weight correction = old / rollout`"
        )
    mask = (log_probs == log_probs) if loss_mask is None else loss_mask > 0
    batch = {"logp": log_probs, "logp_old": old_log_probs, "advantage": advantages, "mask": mask}
    batch |= {} if rollout_logprobs is None else {"logp_rollout": rollout_logprobs}
    out = ours(batch, {})
    return out.loss, {"clip_ratio": float(out.metrics.get("gated_pos", 0.0))}
