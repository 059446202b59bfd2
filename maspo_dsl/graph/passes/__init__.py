"""Graph to graph: separate passes, each keeping value and gradient; one subject a file."""

from __future__ import annotations

from collections.abc import Callable

from maspo_dsl.graph.nodes import Graph
from maspo_dsl.graph.passes.constants import bind_neutral, fold_constants
from maspo_dsl.graph.passes.logs import rewrite_logs
from maspo_dsl.graph.passes.neutral import remove_neutral
from maspo_dsl.graph.passes.reduction import fold_reduction
from maspo_dsl.graph.passes.selects import guard_hazards, merge_selects
from maspo_dsl.graph.passes.sharing import remove_dead, share_common

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    bind_neutral,
    fold_constants,
    remove_neutral,
    fold_constants,
    rewrite_logs,
    share_common,
    merge_selects,
    guard_hazards,
    fold_reduction,
    remove_neutral,
    fold_constants,
    share_common,
    remove_dead,
)


def simplify(graph: Graph) -> Graph:
    """The graph after every pass."""
    for transform in PASSES:
        graph = transform(graph)
    return graph
