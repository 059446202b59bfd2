"""A batch with hidden states instead of log-probs, checked and flat."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from maspo_dsl.emit.template.names import BatchError
from maspo_dsl.runtime.teachers import NO_TEACHERS, OfTeachers

Tensors: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class HiddenBatch:
    """A batch whose log-probs are to be computed: `hidden` [M, H] and `tokens` [M], flat; the rest as it came.

    `on_policy`: the old policy is the present one, and its log-probs are those that are computed, detached. `others`
    are the other policies whose whole distributions are needed, and what for.
    """

    hidden: Tensor
    tokens: Tensor
    batch: Tensors
    denominators: Tensors | None
    on_policy: bool
    others: OfTeachers = NO_TEACHERS


def hidden_batch(
    objective: str,
    hidden: Tensor,
    tokens: Tensor,
    batch: Mapping[str, Tensor],
    denominators: Mapping[str, Tensor] | None,
    *,
    live: Collection[str],
    on_policy: bool,
) -> HiddenBatch:
    """The batch, if states, tokens and mask fit each other. Raises BatchError with all shapes otherwise.

    `live` are the tensors of whole distributions that the objective has gradient to.
    """
    problems = _problems(hidden, tokens, batch)
    if "logp" in batch:
        problems.append("`logp` must not be in the batch: it is computed from `hidden`")
    if on_policy and "logp_old" in batch:
        problems.append(
            "`logp_old` must not be in the batch: with on_policy it is what is computed, detached"
        )
    problems += [
        f"`{name}` must not be in the batch: the objective has gradient to it, so it is computed from `hidden`"
        for name in sorted(live)
        if name in batch
    ]
    if problems:
        shapes = ", ".join(
            f"{name} {list(value.shape)}"
            for name, value in {"hidden": hidden, "tokens": tokens, **batch}.items()
            if isinstance(value, Tensor)
        )
        raise BatchError(f"{objective}: {'; '.join(problems)}. Given were {shapes}")
    return HiddenBatch(
        hidden.reshape(-1, hidden.shape[-1]),
        tokens.reshape(-1),
        dict(batch),
        None if denominators is None else dict(denominators),
        on_policy,
    )


def _problems(hidden: Tensor, tokens: Tensor, batch: Mapping[str, Tensor]) -> list[str]:
    mask = batch.get("mask")
    if mask is None:
        return ["the batch lacks `mask` [N, T], needed by every objective"]
    problems = []
    axes = "[M]" if "sequence" in batch else "[N, T]"
    if tokens.shape != mask.shape:
        problems.append(f"`tokens` must have the shape of `mask`, {axes}")
    if hidden.shape[:-1] != mask.shape:
        problems.append(f"`hidden` must be {axes[:-1]}, H] with the axes of `mask`")
    if tokens.dtype not in (torch.int32, torch.int64):
        problems.append(f"`tokens` must be whole numbers (int64), not {tokens.dtype}")
    return problems


def check_head(
    objective: str, given: HiddenBatch, weight: Tensor, bias: Tensor | None, temperature: float
) -> None:
    """A head that does not fit the states, or tokens that it has no row for. Raises BatchError."""
    problems = []
    if hasattr(weight, "full_tensor"):
        problems.append(
            "`weight` is sharded (a DTensor): call from_hidden inside the forward of the module that shards it, "
            "where it is whole, or pass weight.full_tensor(grad_placements=[Partial()])"
        )
    if weight.dim() != 2 or given.hidden.shape[1] != weight.shape[1]:
        problems.append(f"`weight` must be [V, {given.hidden.shape[1]}], and is {list(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        problems.append(f"`bias` must be [{weight.shape[0]}], and is {list(bias.shape)}")
    if not temperature > 0:
        problems.append(f"`temperature` must be above 0, not {temperature}")
    if given.tokens.device.type == "cpu":  # where looking is free
        trained = given.tokens[given.batch["mask"].reshape(-1) != 0]
        if len(trained) and not 0 <= int(trained.min()) <= int(trained.max()) < len(weight):
            problems.append(f"trained `tokens` must be 0 to {len(weight) - 1}")
    if problems:
        raise BatchError(f"{objective}: {'; '.join(problems)}")
