"""Which tokens are in one chunk: those whose coefficients depend on each other."""

from __future__ import annotations

import torch
from torch import Tensor

from maspo_dsl.analysis.coupling import Reach


def blocks(reach: Reach, rows: Tensor, sequences: Tensor, size: int) -> list[Tensor]:
    """Tokens `rows` [K], places in `sequences` [M], in blocks of at most `size` tokens.

    A block has whole sequences where the reach is SEQUENCE; then one that is longer is a block of its own.
    """
    if not len(rows):
        return []
    if reach is not Reach.SEQUENCE:
        return list(torch.split(rows, size))
    owner = sequences[rows]
    order = torch.argsort(owner, stable=True)
    lengths = torch.unique_consecutive(owner[order], return_counts=True)[1].tolist()
    return list(torch.split(rows[order], _packed(lengths, size)))


def _packed(lengths: list[int], size: int) -> list[int]:
    """Sums of neighbouring lengths, each as large as fits into `size`, or one length alone."""
    sums = [0]
    for length in lengths:
        if sums[-1] and sums[-1] + length > size:
            sums.append(0)
        sums[-1] += length
    return sums
