"""The gradient weight as a function of the ratio: the formulas of the papers, and the oracle on one token."""

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.analysis.response import Points, gradient_weight, grid
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.semantics.quantities import Quantity
from maspo_dsl.semantics.types import Axis, Kind

from ..batches import inputs
from ..graph.family import NAMED, objective

RATIOS = [1e-3, 0.3, 0.7, 0.95, 1.0, 1.1, 1.25, 1.7, 4.0, 60.0]
POINTS = grid(RATIOS, [2.0, -2.0, 0.3, -0.3], [0.8, 0.1, 1e-4], [0.1, 2.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def inside(r, a, low, high):
    """PPO's gate: closed to what has moved too far the way that its advantage pushes."""
    return np.where(((a > 0) & (r > high)) | ((a < 0) & (r < low)), 0.0, 1.0)


def maspo(r, a, old):
    sigma = np.clip(1 / old**0.3, 1, 10) * np.clip(np.where(a > 0, 1 + 0.03 * a, 1 / (1 - 0.03 * a)), 0.1, 10)
    gate = np.exp(-((r - 1) ** 2) / (2 * sigma**2))
    return r * np.where(((a > 0) & (r > 1)) | ((a < 0) & (r < 1)), gate, 1.0)


# c / A of the papers, as a function of r, A and old; worked out on paper, not with this package.
FORMULAS = {
    "group_ppo": lambda r, a, old: r * inside(r, a, 0.8, 1.2),
    "dr_grpo": lambda r, a, old: r * inside(r, a, 0.8, 1.2),
    "ppo_dual_clip": lambda r, a, old: r * inside(r, a, 0.8, 1.28) * np.where((a < 0) & (r > 3), 0, 1),
    "cispo": lambda r, a, old: np.minimum(r, 5),
    "gpg": lambda r, a, old: np.ones_like(r),
    "dro": lambda r, a, old: np.ones_like(r),
    "maspo": lambda r, a, old: maspo(r, a, old),
    "maspo@hard": lambda r, a, old: r * inside(r, a, 0.8, 1.28),
    "sapo": lambda r, a, old: (
        4 * r * sigmoid(np.where(a > 0, 1, 1.05) * (r - 1)) * sigmoid(-np.where(a > 0, 1, 1.05) * (r - 1))
    ),
    "gspo": lambda r, a, old: r * inside(r, a, 1 - 3e-4, 1 + 4e-4),
    "gmpo": lambda r, a, old: r * inside(r, a, np.exp(-0.4), np.exp(0.4)),
    "vespo": lambda r, a, old: np.where(
        a > 0, np.exp(3) * r**2 * np.exp(-3 * r), np.exp(2) * r**3 * np.exp(-2 * r)
    ),
    "dppo_tv": lambda r, a, old: (
        np.minimum(r, 20)
        * np.where(((a > 0) & (old * (r - 1) > 0.15)) | ((a < 0) & (old * (1 - r) > 0.15)), 0, 1)
    ),
    "dgpo": lambda r, a, old: (
        r * np.where((a < 0) & (r < 0.8), r / 0.8, 1) * np.where((a > 0) & (r > 1.2), (1.2 / r) ** 0.5, 1)
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_weights_are_those_of_the_papers(name):
    found = gradient_weight(objective(name).graph, POINTS)
    with np.errstate(under="ignore"):
        expected = POINTS.advantage * FORMULAS[name](POINTS.ratio, POINTS.advantage, POINTS.old)
    possible = POINTS.ratio * POINTS.old <= 1
    assert possible.sum() > 100
    np.testing.assert_array_equal(np.isnan(found), ~possible)
    np.testing.assert_allclose(found[possible], expected[possible], rtol=1e-9, atol=1e-12)


WITH_A_RATIO = [name for name in NAMED if "policy_loss" in objective(name).graph.outputs]


@pytest.mark.parametrize("name", WITH_A_RATIO)
def test_a_point_is_a_window_of_one_token(name):
    """Against the oracle itself, one window a point."""
    graph = objective(name).graph
    for index, weight in enumerate(gradient_weight(graph, SINGLE)):
        batch = window_of_one(SINGLE, index)
        alone = Interpretation(graph, batch)
        slope = -alone.gradient("policy_loss")[0, 0]
        if not alone.output("trained").all():
            assert weight == slope == 0
            continue
        assert slope * reduction(name) == pytest.approx(weight, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "line",
    [
        "weight w = 1 + abs(A - next(per_token(A)))",
        "weight w = discounted_sum(per_token(A), 0.5) * position",
        "weight w = rank(A, group) + kth(A, group, 1) + kth(A, group, 2)",
        "weight w = quantile(entropy(policy), 0.3, window, of = A > 0, empty = 7)",
        "weight w = max(entropy(policy), sequence) + min(old, group) + count(A, window)",
        "mute m where top(entropy(policy), 0.2, micro)",
        "mute m where pick(old < 0.3, 0.2, micro)",
        "exclude e where A < 0",
    ],
)
def test_every_reduction_of_one_value(line):
    graph = maspo_dsl.parse(f"objective example extends group_ppo\n{line}\n").graph
    weights = gradient_weight(graph, SINGLE)
    for index, weight in enumerate(weights):
        slope = -Interpretation(graph, window_of_one(SINGLE, index)).gradient("policy_loss")[0, 0]
        assert slope == pytest.approx(weight, rel=1e-12)
    assert len(set(weights.tolist())) > 2 or "mute" in line


SOME = [
    (0.5, 1.0, 0.4, 0.1),
    (0.5, -1.0, 0.4, 2.0),
    (1.0, 3.0, 1e-3, 1.0),
    (2.5, 0.7, 0.2, 0.5),
    (2.5, -4.0, 1e-5, 3.0),
]


SINGLE = Points(*(np.array(value) for value in zip(*SOME, strict=True)))


def typical(row: Quantity) -> np.ndarray:
    """1 for what a spec declares itself."""
    return np.ones((1, 1) if row.axis is Axis.TOKEN else 1, bool if row.kind is Kind.BOOL else float)


def window_of_one(points: Points, index: int) -> dict[str, np.ndarray]:
    old = np.log(points.old[index : index + 1, None])
    batch = dict.fromkeys(("logp_old", "logp_rollout", "logp_ref"), old)
    one = points.advantage[index : index + 1]
    return {
        **{name: typical(row) for name, row in inputs().items()},
        **batch,
        "logp": old + np.log(points.ratio[index]),
        "entropy": points.entropy[index : index + 1, None],
        "mask": np.array([[True]]),
        "group": np.array([0]),
        "advantage": one,
        "reward": one,
        "truncated": np.array([False]),
        "reward_greedy": np.zeros(1),
        "value": np.zeros((1, 1)),
    }


def reduction(name: str) -> float:
    """What a lone token's weight in the loss is divided by: 1, but for a constant length."""
    return {"dr_grpo": 4096.0, "luffy": 8192.0}.get(name, 1.0)
