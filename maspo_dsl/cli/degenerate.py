"""Advantages of degenerate groups, computed by the float64 interpreter of the graph, so that they are true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from maspo_dsl.objective import Objective
from maspo_dsl.semantics.binding import number_text

_KNOWN = frozenset({"reward", "group", "mask", "present"})


def degenerate_advantages(objective: Objective) -> Iterator[tuple[str, str]]:
    """What zero-variance groups, lone answers, missing rewards and empty answers get, each in a sentence.

    Nothing for an estimator that reads more than rewards, groups and the mask.
    """
    if not set(objective.graph.inputs(["advantage"])) <= _KNOWN:
        return
    equal = _advantages(objective, [1.0, 1.0, 1.0, 0.0, 1.0], [0, 0, 0, 1, 1])
    yield "equal rewards", f"a group whose answers all got the same reward: {_worth(equal[:3])}"
    alone = _advantages(objective, [1.0, 0.0, 1.0], [0, 1, 1])
    yield "lone answers", f"an answer alone in its group: {_worth(alone[:1])}"


def _advantages(objective: Objective, reward: Sequence[float], group: Sequence[int]) -> list[float]:
    from maspo_dsl.graph.interpret import Interpretation

    batch: dict[str, Any] = {
        "reward": list(reward),
        "group": list(group),
        "mask": [[True, True] for _ in reward],
    }
    values = Interpretation(objective.graph, batch).output("advantage")
    return [float(row.flat[0]) for row in values] if values.ndim > 1 else [float(value) for value in values]


def _worth(values: Sequence[float]) -> str:
    found = sorted({round(value, 6) for value in values})
    if found == [0.0]:
        return "A is exactly 0" if set(values) == {0.0} else "A is 0 but for rounding"
    return f"A = {', '.join(number_text(value) for value in found)} for rewards of 1"
