"""A batch with hidden states instead of log-probs, checked and flat."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from maspo_dsl.emit.template.head import (
    brought_with_gradient,
    head_problems,
    hidden_problems,
    shapes_given,
)
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
    problems = hidden_problems(hidden, tokens, batch, on_policy=on_policy)
    problems += brought_with_gradient(tuple(sorted(live)), batch)
    if problems:
        raise BatchError(f"{objective}: {'; '.join(problems)}{shapes_given(hidden, tokens, batch)}")
    return HiddenBatch(
        hidden.reshape(-1, hidden.shape[-1]),
        tokens.reshape(-1),
        dict(batch),
        None if denominators is None else dict(denominators),
        on_policy,
    )


def check_head(
    objective: str, given: HiddenBatch, weight: Tensor, bias: Tensor | None, temperature: float
) -> None:
    """A head that does not fit the states, or tokens that it has no row for. Raises BatchError."""
    problems = head_problems(
        given.hidden, weight, given.tokens, given.batch["mask"].reshape(-1), bias, temperature
    )
    if problems:
        raise BatchError(f"{objective}: {'; '.join(problems)}")
