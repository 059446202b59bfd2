"""How the tokens of an objective may be visited, and which of them together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maspo_dsl.analysis.coupling import Reach, coupling
from maspo_dsl.analysis.silence import silent_without_advantage
from maspo_dsl.graph.nodes import Graph


@dataclass(frozen=True)
class Schedule:
    """What a loss says of how its tokens may be visited.

    `reach` bounds whose policy the coefficient of a token depends on, `reach_given` if the denominators of the window
    are given. `silent`: a token without advantage has no part in the loss. `entropy`: the loss has gradient to it.
    """

    reach: Reach
    reach_given: Reach
    silent: bool
    entropy: bool


def schedule(graph: Graph) -> Schedule:
    """The schedule of a graph's loss."""
    nodes = [graph.nodes[place] for place in graph.reachable(["loss"])]
    found, given = coupling(graph), coupling(graph, denominators=True)
    return Schedule(
        # The value of a statistic has no part in a gradient where it only scales, but it must be known.
        reach=max(found.reach, Reach.BATCH) if found.statistics else found.reach,
        reach_given=given.reach,
        silent=silent_without_advantage(graph),
        entropy=any(
            node.op == "input" and node.live and node.attribute("name") == "entropy" for node in nodes
        ),
    )


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
