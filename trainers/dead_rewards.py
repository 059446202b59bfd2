"""Reward terms that no completion of this run can ever get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from maspo_dsl.graph.interpret import Interpretation

if TYPE_CHECKING:
    from maspo_dsl import Objective


def dead_rewards(objective: Objective, generation_limit: int) -> bool:
    """Whether an objective's reward terms are 0 for every length of completion that a run can sample.

    Only terms of the length alone can be known before there is a completion; for others the result is False.
    """
    graph = objective.graph
    if "shaped_reward" not in graph.outputs:
        return False
    if set(graph.inputs(["shaped_reward"])) - {"mask", "present", "reward"}:
        return False
    lengths = numpy.unique(numpy.linspace(1, generation_limit, num=min(generation_limit, 64)).astype(int))
    mask = numpy.arange(generation_limit) < lengths[:, None]
    batch = {"mask": mask, "reward": numpy.zeros(len(lengths)), "advantage": numpy.zeros(len(lengths))}
    return not Interpretation(graph, batch).output("shaped_reward").any()
