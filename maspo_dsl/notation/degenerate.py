"""Advantages of degenerate groups, computed by the float64 interpreter of the graph, so that they are true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from maspo_dsl.objective import Objective
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.part_words import Role

if TYPE_CHECKING:
    from maspo_dsl.graph.nodes import Graph

_KNOWN = frozenset({"reward", "group", "mask", "present"})


def degenerate_advantages(objective: Objective) -> Iterator[tuple[str, str]]:
    """What a group of equal rewards and a lone completion get, each in a sentence.

    Nothing where it depends on more than their own rewards: on lengths, other groups, other tensors. What the spec
    adds to the task's reward is part of a completion's reward here, and named: it may differ where the task's does not.
    """
    if not objective.resolved.parts.of(Role.ADVANTAGE):
        return
    graph = _of_rewards(objective)
    if not set(graph.inputs(["advantage"])) <= _KNOWN:
        return
    rewards = objective.resolved.parts.of(Role.REWARD_TERM)
    added = " and ".join(f"`{name}`" for _, name in rewards)
    included = f", {added} included" if added else ""
    equal = [_advantages(graph, [1, 1, 1, *rest], [0, 0, 0, 1, 1], cut)[:3] for rest, cut in _SURROUNDINGS]
    if _agree(equal):
        yield (
            "equal rewards",
            f"a group whose completions all got the same reward{included}: {_value_text(equal[0])}",
        )
    alone = [_advantages(graph, [1, *rest], [0, 1, 1], cut)[:1] for rest, cut in _SURROUNDINGS]
    if _agree(alone):
        yield "lone completions", f"a completion alone in its group: {_value_text(alone[0], included)}"


def _of_rewards(objective: Objective) -> Graph:
    """The graph in which the reward that the batch brings is the whole reward."""
    parts = objective.resolved.parts
    if not (rewards := parts.of(Role.REWARD_TERM)):
        return objective.graph
    from maspo_dsl.graph.build import build
    from maspo_dsl.graph.passes import simplify

    return simplify(build(parts.without(rewards)))


# The rewards of another group, and whether the last tokens of every other completion are masked.
_SURROUNDINGS = (((0, 1), False), ((0, 1), True), ((3, 8), False))


def _advantages(graph: Graph, reward: list[int], group: list[int], cut: bool) -> list[float]:
    from maspo_dsl.graph.interpret import Interpretation

    mask = [[True, not (cut and row % 2 == 0)] for row in range(len(reward))]
    batch: dict[str, Any] = {"reward": [float(value) for value in reward], "group": group, "mask": mask}
    values = Interpretation(graph, batch).output("advantage")
    return [float(row.flat[0]) for row in values] if values.ndim > 1 else [float(value) for value in values]


def _agree(found: Sequence[Sequence[float]]) -> bool:
    return all(abs(a - b) < 1e-9 for other in found[1:] for a, b in zip(found[0], other, strict=True))


def _value_text(values: Sequence[float], included: str = "") -> str:
    found = sorted({round(value, 6) for value in values})
    if found == [0.0]:
        return "A is exactly 0" if set(values) == {0.0} else "A is 0 but for rounding"
    return f"A = {', '.join(number_text(value) for value in found)} for rewards of 1{included}"
