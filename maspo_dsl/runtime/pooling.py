"""Metrics of a window, or of several, from those of its micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from torch import Tensor

from maspo_dsl.emit.template.metrics import LossOutput, metric_value, pooled_parts
from maspo_dsl.runtime.ranks import of_all_ranks


def pool(outputs: Iterable[LossOutput | Mapping[str, Tensor]], *, ranks: bool = False) -> dict[str, Tensor]:
    """The metrics of several calls as of one, 0-d float64 by name.

    A mean is of all their tokens, whatever each of them had; `ratio_max` is the largest, `ess` is of all weights.
    `outputs` are what the loss returned, or their `metric_parts`, which hold no batch. With `ranks` those of all
    processes are taken in; then every process must call this.
    """
    parts = [each.metric_parts if isinstance(each, LossOutput) else each for each in outputs]
    together = pooled_parts(parts)
    if ranks:
        together = parts_of_all_ranks(together)
    return {name: metric_value(each) for name, each in together.items()}


def parts_of_all_ranks(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What all processes' metrics are made of together, whichever of them each has."""
    everyone = cast(
        "list[dict[str, Tensor]]", of_all_ranks({name: each.cpu() for name, each in parts.items()})
    )
    return pooled_parts(everyone)
