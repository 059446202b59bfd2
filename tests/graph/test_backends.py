"""The emitted torch against the interpreter: every objective there is, and generated ones, extreme inputs too."""

import io

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import maspo_dsl
from maspo_dsl.graph.interpret import Interpretation

from ..batches import Arrays, as_torch, ragged, with_garbage
from .family import assert_same, batch, evaluated, objective, real
from .generated import specs

SETTINGS = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


def by_torch(loss: maspo_dsl.ObjectiveLoss, arrays: Arrays) -> dict[str, np.ndarray]:
    tensors = as_torch(arrays)
    out = loss(tensors)
    out.loss.backward()
    result = {"loss": out.loss.detach(), "gradient": tensors["logp"].grad}
    result["advantage"] = loss.advantage(as_torch(arrays))
    if loss.objective.keeps:
        result["keep"] = loss.keep(as_torch(arrays))
    return {name: value.numpy() for name, value in result.items()}


def compiled(source: maspo_dsl.Objective, backend: str = "eager") -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(source, backend=backend)


def interpreted(source: maspo_dsl.Objective, arrays: Arrays) -> dict[str, np.ndarray]:
    return {k: v for k, v in evaluated(source.graph, arrays).items() if k not in ("step", "prompt")}


@pytest.mark.parametrize("name", ["vespo"])
def test_one_joint_graph_is_eager(name):
    arrays = batch(3)
    loss = compiled(objective(name), "aot_eager")
    assert_same(by_torch(loss, arrays), interpreted(objective(name), arrays), 1e-12)
    assert loss.compilations > 0


@SETTINGS
@given(text=specs(), seed=st.integers(0, 20), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_extreme_inputs_have_finite_gradients(text, seed, dtype):
    """Log-ratios of hundreds on both sides, log-probs of -800, NaN and inf under the mask."""
    arrays = real(ragged(seed, columns=6, extreme=False, garbage=False))
    for name, column, value in (("logp", 0, -800), ("logp_old", 1, -200.5), ("logp_old", 2, -800)):
        arrays[name][6, column] = value
    arrays["logp_ref"][6, 3], arrays["logp_rollout"][6, 4] = -300, -300
    arrays["logp"][6, 5] = arrays["logp_old"][6, 5]
    arrays = with_garbage(arrays, seed)
    tensors = as_torch(arrays, dtype)
    loss = compiled(maspo_dsl.load(io.StringIO(text)))
    out = loss(tensors)
    out.loss.backward()
    assert torch.isfinite(tensors["logp"].grad).all()
    assert not tensors["logp"].grad[~tensors["mask"]].any()
    assert torch.isfinite(out.loss)


@pytest.mark.parametrize("name", ["grpo", "maspo", "gspo"])
def test_parameters_replace_those_of_the_spec(name):
    value = {"eps_low": 0.35} if name != "maspo" else {"alpha": 0.7}
    changed = maspo_dsl.load(name, params=value)
    by_name = Interpretation(objective(name).graph, batch(), params=value)
    assert_same({"loss": by_name.output("loss")}, {"loss": evaluated(changed.graph, batch())["loss"]})


def test_denominators_of_a_window():
    """Half a batch with the window's statistics gives its part of the loss."""
    arrays = batch(5)
    loss = compiled(objective("grpo"))
    halves = [{k: v[half] for k, v in arrays.items()} for half in (slice(0, 7), slice(7, None))]
    # Each half has its own groups, so the advantage comes from outside.
    advantage = loss.advantage(as_torch(arrays)).numpy()
    halves = [
        {**half, "advantage": part} for half, part in zip(halves, np.split(advantage, [7]), strict=True)
    ]
    statistics = {
        key: value.item() for key, value in loss.window([as_torch(half) for half in halves]).items()
    }
    parts = [Interpretation(objective("grpo").graph, half, denominators=statistics) for half in halves]
    total = sum(float(part.output("loss")) for part in parts)
    assert total == pytest.approx(float(evaluated(objective("grpo").graph, arrays)["loss"]), rel=1e-12)
