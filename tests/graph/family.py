"""Every objective there is to test the compiler with: the shipped ones, those of `tests/specs`, and their variants."""

from functools import cache

import numpy as np

import maspo_dsl
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph

from .. import loading
from ..batches import SPECS, Arrays, ragged

BASES = {name: name for name in maspo_dsl.shipped()} | {path.stem: str(path) for path in SPECS.glob("*.obj")}
NAMED = loading.with_variants(dict(sorted(BASES.items())))


def objective(name: str) -> maspo_dsl.Objective:
    return loading.objective(NAMED[name])


@cache
def batch(seed: int = 0) -> Arrays:
    return real(ragged(seed, columns=6, extreme=False, spread=0.4))


def real(arrays: Arrays) -> Arrays:
    """The batch with log-probs below 0, as those of tokens are."""
    names = ("logp", "logp_old", "logp_ref", "logp_rollout")
    return {name: np.minimum(value, -1e-3) if name in names else value for name, value in arrays.items()}


def evaluated(graph: Graph, arrays: Arrays) -> dict[str, np.ndarray]:
    """Value, gradient and the rest by the interpreter."""
    interpretation = Interpretation(graph, arrays)
    result = {"loss": interpretation.output("loss"), "gradient": interpretation.gradient("loss")}
    for name in ("advantage", "keep", "step", "prompt"):
        if name in graph.outputs:
            result[name] = interpretation.output(name)
    return result


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float = 1e-10) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        wanted = np.asarray(value, dtype=float)
        scale = max(np.abs(wanted).max(), 1e-3)
        np.testing.assert_allclose(
            np.asarray(got[name], dtype=float), wanted, rtol=rtol, atol=rtol * scale, err_msg=name
        )
