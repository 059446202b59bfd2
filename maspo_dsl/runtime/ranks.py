"""Agreement between the processes of a run; with one process, every function returns what it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.distributed
from torch import Tensor
from torch.nn.functional import pad


def world_size() -> int:
    """The number of processes."""
    return torch.distributed.get_world_size() if _several() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return torch.distributed.get_rank() if _several() else 0


def sum_over_ranks(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor summed over all processes, which must have the same names."""
    if not _several():
        return dict(values)
    summed = {name: values[name].detach().clone() for name in sorted(values)}
    for value in summed.values():
        torch.distributed.all_reduce(value)
    return {name: summed[name] for name in values}


def least_over_ranks(value: int, device: torch.device) -> int:
    """The smallest of the processes' values."""
    if not _several():
        return value
    least = torch.tensor(value, device=device)
    torch.distributed.all_reduce(least, op=torch.distributed.ReduceOp.MIN)
    return int(least)


def of_all_ranks(value: object) -> list[object]:
    """The processes' values, in the order of their ranks."""
    if not _several():
        return [value]
    gathered: list[object] = [None] * world_size()
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def rows_of_all_ranks(batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], slice]:
    """The rows of all processes under each other, on this device, and where this process's rows stand."""
    size = len(next(iter(batch.values())))
    if not _several():
        return dict(batch), slice(0, size)
    gathered = cast("list[dict[str, Tensor]]", of_all_ranks({k: value.cpu() for k, value in batch.items()}))
    columns = max(part["mask"].shape[1] for part in gathered)
    joined = {
        name: stacked([part[name] for part in gathered], columns).to(value.device)
        for name, value in batch.items()
    }
    start = sum(len(part["mask"]) for part in gathered[: rank()])
    return joined, slice(start, start + size)


def stacked(values: Sequence[Tensor], length: int) -> Tensor:
    """Tensors [N], or [N, T] of any T filled up on the right to `length` columns, under each other."""
    return torch.cat([pad(v, (0, length - v.shape[1])) if v.ndim == 2 else v for v in values])


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
