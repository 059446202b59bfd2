"""The rows of a rollout as data: joined, chosen, and cut into windows and micro-batches of whole groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from maspo_dsl.runtime.ranks import stacked

from .prompts import Prompt

# A micro-batch: the loss's batch without `logp`, and `tokens` and `attention` to compute it from.
MicroBatch: TypeAlias = "dict[str, Tensor]"
# What one optimizer update is computed from.
Window: TypeAlias = "list[MicroBatch]"


@dataclass(frozen=True)
class Note:
    """What is told of a completion besides what trains: its prompt's answer, and the named rewards that apply to it."""

    answer: object = None
    rewards: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """N prompts with their completions: P prompt columns, padded on the left, then T completion columns.

    `tokens` and `attention` are [N, P+T]; the tensors of `batch` are [N] or [N, T], among them `mask`,
    `group` and `reward`.
    """

    tokens: Tensor
    attention: Tensor
    batch: dict[str, Tensor]
    prompts: list[Prompt]
    texts: list[str]
    notes: list[Note] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.texts)

    @property
    def length(self) -> int:
        """T, the number of completion columns."""
        return self.batch["mask"].shape[1]


def choose(rows: Rows, kept: Tensor) -> Rows:
    """The rows at which `kept`, [N] bool, is true."""
    indices = kept.nonzero()[:, 0].tolist()
    return Rows(
        rows.tokens[kept],
        rows.attention[kept],
        {name: value[kept] for name, value in rows.batch.items()},
        [rows.prompts[i] for i in indices],
        [rows.texts[i] for i in indices],
        [rows.notes[i] for i in indices] if rows.notes else [],
    )


def join(parts: Sequence[Rows]) -> Rows:
    """Rows of several rollouts under each other, padded to the widest prompt and the longest completion."""
    before = max(part.tokens.shape[1] - part.length for part in parts)
    after = max(part.length for part in parts)
    return Rows(
        torch.cat([_widened(part.tokens, part.length, before, after) for part in parts]),
        torch.cat([_widened(part.attention, part.length, before, after) for part in parts]),
        {name: stacked([part.batch[name] for part in parts], after) for name in parts[0].batch},
        [prompt for part in parts for prompt in part.prompts],
        [text for part in parts for text in part.texts],
        [note for part in parts for note in part.notes],
    )


def cut(group: Tensor, windows: int, micro_batches: int, generator: torch.Generator) -> list[list[Tensor]]:
    """Row indices of each micro-batch of each window, of groups in shuffled order.

    A group, [N] int ids, is never divided between windows, so that what the objective computes in a group is
    whole; between micro-batches only where a window has fewer groups than `micro_batches`. Shares differ by
    at most one group. With fewer groups than `windows` there are fewer windows.
    """
    ids = torch.unique(group.cpu())
    order = ids[torch.randperm(len(ids), generator=generator)]
    cuts = []
    for share in torch.tensor_split(order, max(1, min(windows, len(order)))):
        if len(share) >= micro_batches:
            parts = [_rows_of(group, ids) for ids in torch.tensor_split(share, micro_batches)]
        else:
            parts = list(torch.tensor_split(_rows_of(group, share), micro_batches))
        cuts.append([part for part in parts if len(part)])
    return [parts for parts in cuts if parts]


def micro_batch(rows: Rows, indices: Tensor) -> MicroBatch:
    """Some rows as a micro-batch, without the columns that are padding in all of them."""
    mask = rows.batch["mask"][indices]
    used = mask.any(dim=0).nonzero()
    length = int(used.max()) + 1 if len(used) else 1
    batch = {name: value[indices] for name, value in rows.batch.items()}
    part = {name: value[:, :length] if value.ndim == 2 else value for name, value in batch.items()}
    width = rows.tokens.shape[1] - rows.length + length
    part["tokens"] = rows.tokens[indices, :width]
    part["attention"] = rows.attention[indices, :width]
    return part


def _rows_of(group: Tensor, ids: Tensor) -> Tensor:
    """Indices of the rows of some groups, group after group."""
    return torch.cat([(group == int(each)).nonzero()[:, 0] for each in ids])


def _widened(value: Tensor, length: int, before: int, after: int) -> Tensor:
    """Prompt and completion columns padded to `before` + `after` columns."""
    return pad(value, (before - (value.shape[1] - length), after - length))
