"""How an objective weighs the gradient of a token, as a function of how far the policy has moved on it.

Every policy term obeys dL/dlogp = -c. The gradient weight is c over the weight that `reduce` gives the token, so it is
A for a plain policy gradient and A * ratio for an importance-weighted one, whatever the reduction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.analysis.single_token import Numbers, SingleTokenInterpreter
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.semantics.quantities import TENSORS
from maspo_dsl.semantics.types import Kind


@dataclass(frozen=True)
class Points:
    """Tokens to ask about, all arrays of shape `[K]`.

    `ratio` is policy / old, where the sampler's own policy and the reference are the old one; `old` the old
    probability of the token; `entropy` that of the policy, in nats.
    """

    ratio: Numbers
    advantage: Numbers
    old: Numbers
    entropy: Numbers

    def __len__(self) -> int:
        return len(self.ratio)

    @property
    def possible(self) -> NDArray[np.bool_]:
        """Where the policy's own probability is no more than 1."""
        return self.ratio * self.old <= 1 + 1e-12


def grid(
    ratios: Sequence[float], advantages: Sequence[float], olds: Sequence[float], entropies: Sequence[float]
) -> Points:
    """Every combination: for each advantage, old probability and entropy in turn, a curve over all ratios."""
    axes = [np.asarray(values, dtype=float) for values in (advantages, olds, entropies, ratios)]
    advantage, old, entropy, ratio = (np.ravel(axis) for axis in np.meshgrid(*axes, indexing="ij"))
    return Points(ratio, advantage, old, entropy)


def gradient_weight(
    graph: Graph,
    points: Points,
    *,
    params: Mapping[str, float] | None = None,
    own: Mapping[str, NDArray[Any]] | None = None,
) -> Numbers:
    """Gradient weight of each point, `[K]`: of the policy term alone, each token alone in its window.

    0 for a token that is excluded, NaN for one that cannot be. `params` replaces values of parameters; `own` are
    values of the spec's own inputs, 1 where they are not given.
    """
    tokens = SingleTokenInterpreter(graph, {**_tensors(graph, points), **(own or {})}, params=params)
    adjoints = tokens.adjoints("policy_loss")
    reduction = adjoints.get(graph.outputs["policy_term"], np.zeros(len(points)))
    slope = tokens.of_tensor(adjoints, "logp")
    with np.errstate(all="ignore"):
        weight = np.where(reduction == 0, 0.0, -slope / reduction)
    return np.where(points.possible, weight, np.nan)


def _tensors(graph: Graph, points: Points) -> dict[str, NDArray[Any]]:
    """What a batch would hold: the points, for teachers the old policy, for other tensors what their row says."""
    old = np.log(points.old)
    typical = {
        name: old
        if row.policy
        else np.full(len(points), row.typical, bool if row.kind is Kind.BOOL else float)
        for name, row in TENSORS.items()
    }
    teachers = [node for node in graph.nodes if node.op == "input" and ("policy", True) in node.attributes]
    return {
        **dict.fromkeys((str(node.attribute("name")) for node in teachers), old),
        **typical,
        "logp": old + np.log(points.ratio),
        "entropy": points.entropy,
        "advantage": points.advantage,
        "reward": points.advantage,
        "correct": points.advantage > 0,
    }
