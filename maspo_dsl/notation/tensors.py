"""The tensors that a batch must bring for an objective, and the part that needs each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.graph.needs import reads
from maspo_dsl.objective import Objective


@dataclass(frozen=True)
class Tensor:
    """A tensor of the batch: its shape, what it holds, and what needs it."""

    name: str
    shape: str
    meaning: str
    needed_by: tuple[str, ...]


def tensors(objective: Objective) -> Iterator[Tensor]:
    """Every tensor that the simplified objective reads, `mask` first."""
    yield _tensor(objective, "mask", ("every objective",))
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
            yield _tensor(objective, name, reasons)


def _tensor(objective: Objective, name: str, needed_by: tuple[str, ...]) -> Tensor:
    row = objective.resolved.tensors[name]
    return Tensor(name, row.shape, row.meaning, needed_by)
