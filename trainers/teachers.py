"""The teachers of an objective: which a run names, and what of their distributions training can bring."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from maspo_dsl.runtime.model_head import at_head, linear_head
from maspo_dsl.runtime.teachers import ENTROPY, TRAINED, States

from .config_error import ConfigError

if TYPE_CHECKING:
    from maspo_dsl import Objective

REFERENCE = "reference"
BEFORE_THE_LOSS = ("advantage", "keep", "prompt", "step", "memory", "window")
"""What is computed of log-probs that are already there, without a pass through the heads."""


def log_probs_of_teachers(objective: Objective) -> dict[str, str]:
    """The tensor with the log-probs of each teacher that an objective declares and reads, by name."""
    declared = objective.resolved.flat.teachers
    rows = {tensor: row for tensor, row in objective.resolved.tensors.items() if row.policy}
    return {row.name: tensor for tensor, row in rows.items() if row.name in declared}


def distributions_in_updates(objective: Objective, named: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What an update computes of whole distributions, with the policies beside the trained one that it is of.

    `named` are the teachers that the run names; what is read before the loss is left out.
    """
    early = objective.reads(*BEFORE_THE_LOSS)
    known = {TRAINED, REFERENCE, *named}
    return {
        tensor: tuple(name for name in each.policies if name != TRAINED)
        for tensor, each in objective.resolved.distributions.items()
        if tensor != ENTROPY.tensor and tensor in objective.inputs - early and known.issuperset(each.policies)
    }


def read_wholly(
    objective: Objective, models: Mapping[str, nn.Module], named: Collection[str]
) -> dict[str, nn.Module]:
    """The frozen models whose whole distributions an update reads, of those that there are, by name."""
    found = distributions_in_updates(objective, named).values()
    return {name: models[name] for policies in found for name in policies}


def check_named(objective: Objective, named: Collection[str]) -> None:
    """Raise ConfigError for a teacher that the objective does not have."""
    known = log_probs_of_teachers(objective)
    if unknown := sorted(set(named) - set(known)):
        raise ConfigError(
            f"objective `{objective.name}` has no teacher {', '.join(f'`{name}`' for name in unknown)}; "
            f"it has {', '.join(known) or 'none'}"
        )


def how_to_name(objective: Objective, named: Collection[str], missing: Sequence[str]) -> str:
    """What to say of missing tensors that a teacher would bring, and of distributions that are read too early."""
    of_distributions = {t: each.policies for t, each in objective.resolved.distributions.items()}
    of = {name for tensor in missing for name in of_distributions.get(tensor, ())}
    tensors = log_probs_of_teachers(objective)
    wanted = [
        f"teacher.{name}=MODEL"
        for name, tensor in tensors.items()
        if name not in named and (tensor in missing or name in of)
    ]
    hint = f". A teacher's model is named by {' and '.join(wanted)}" if wanted else ""
    if not wanted and of:
        hint = ". Whole distributions are known within an update alone, of policy, reference and teachers"
    return hint


def check_heads(models: Mapping[str, nn.Module]) -> None:
    """Whole distributions come from heads that are linear. Raises ConfigError that names a model without one."""
    for name, model in models.items():
        if linear_head(model) is None:
            raise ConfigError(
                f"whole distributions are computed through linear heads, and that of {name} is another"
            )


@torch.no_grad()
def states_of(model: nn.Module, tokens: Tensor, attention: Tensor, length: int) -> States:
    """What a frozen model's last `length` tokens are predicted from, [N, T, H], with the head's weight and bias."""
    head = linear_head(model.to(tokens.device))
    assert head is not None
    return at_head(model, head, tokens, attention, length, lambda *states: states)
