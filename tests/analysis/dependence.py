"""Whose log-prob and entropy the gradient of each token depends on, measured: change one, see which gradients move."""

from collections.abc import Iterator

import numpy as np

from maspo_dsl.analysis.coupling import Reach
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph

from ..batches import Arrays, others

GROUP = np.array([4, 9, 4, 9, 4])
LENGTHS = np.array([3, 2, 1, 3, 2])
"""A group of three completions and one of two, with ids in no order; thirteen places, eleven of them trained."""


def small(seed: int) -> Arrays:
    """A batch of five completions far enough off policy that bounds, masks and covariances are all in play."""
    random = np.random.default_rng(seed)
    shape = (5, 3)
    old = -random.exponential(3.0, size=shape) - 1e-2
    mask = np.arange(3) < LENGTHS[:, None]
    entropy = random.exponential(1.0, size=shape)
    return {
        **others(seed, shape),
        "logp": np.minimum(old + 0.5 * random.standard_normal(shape), -1e-3),
        "logp_old": old,
        "logp_ref": old + 0.3 * random.standard_normal(shape),
        "logp_rollout": old + 0.05 * random.standard_normal(shape),
        "entropy": entropy,
        "mask": mask,
        "group": GROUP,
        "reward": random.standard_normal(5),
        "advantage": 2.0 * random.standard_normal(5),
    }


def measured(graph: Graph, batch: Arrays) -> Reach:
    """The widest dependence that changing one log-prob or entropy at a time brings to light."""
    before = _gradients(graph, batch)
    widest = Reach.NONE
    for changed, row, column in _changes(batch):
        for now, then in zip(_gradients(graph, changed), before, strict=True):
            scale = np.maximum(np.abs(now), np.abs(then))
            moved = np.abs(now - then) > 1e-7 * scale + 1e-12 * np.abs(then).max()
            widest = max(widest, _reach(moved, row, column))
        if widest is Reach.BATCH:
            break
    return widest


def _changes(batch: Arrays) -> Iterator[tuple[Arrays, int, int]]:
    for name in ("logp", "entropy"):
        for row, column in zip(*np.nonzero(batch["mask"]), strict=True):
            for size in (0.01, -0.6, 4.0):
                tensor = batch[name].copy()
                tensor[row, column] += size
                tensor = np.minimum(tensor, -1e-6) if name == "logp" else np.maximum(tensor, 1e-6)
                yield {**batch, name: tensor}, row, column


def _gradients(graph: Graph, batch: Arrays) -> list[np.ndarray]:
    interpretation = Interpretation(graph, batch)
    return [interpretation.gradient("loss", tensor) for tensor in ("logp", "entropy")]


def _reach(moved: np.ndarray, row: int, column: int) -> Reach:
    """How far from a token the gradients are that moved with it."""
    rows = set(np.nonzero(moved)[0].tolist())
    if not rows:
        return Reach.NONE
    if rows - set(np.nonzero(GROUP[row] == GROUP)[0].tolist()):
        return Reach.BATCH
    if rows != {row}:
        return Reach.GROUP
    elsewhere = moved.copy()
    elsewhere[row, column] = False
    return Reach.SEQUENCE if elsewhere.any() else Reach.TOKEN
