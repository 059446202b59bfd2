"""Specs made at random of everything that the grammar can say: each pass, the emitted source and the printed text."""

import io
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import maspo_dsl
from maspo_dsl.graph.build import build
from maspo_dsl.graph.passes import PASSES
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source

from ..batches import Arrays, as_torch
from .family import assert_same, batch, evaluated
from .generated import rich_specs

SETTINGS = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))


def arrays_of(seed: int) -> Arrays:
    """A batch with the tensors that generated specs declare."""
    random, arrays = np.random.default_rng(seed), batch(seed % 5)
    rows, shape = len(arrays["mask"]), arrays["mask"].shape
    more = {"weighting": random.normal(size=rows), "truncated": random.random(rows) < 0.3}
    return {**arrays, **more, "noise": random.normal(size=shape)}


def loaded(text: str) -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(text))


@SETTINGS
@given(text=rich_specs(), seed=st.integers(0, 20))
def test_every_pass_keeps_value_and_gradient(text, seed):
    graph = build(loaded(text).resolved.parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = evaluated(graph, arrays_of(seed))
        for transform in PASSES:
            graph = transform(graph)
            assert_same(evaluated(graph, arrays_of(seed)), expected, 1e-8)


@SETTINGS
@given(text=rich_specs(), seed=st.integers(0, 20))
def test_the_emitted_source_is_the_interpreter(text, seed):
    objective, arrays = loaded(text), arrays_of(seed)
    loss = maspo_dsl.compile(objective, backend="eager")
    tensors = as_torch(arrays)
    out = loss(tensors)
    out.loss.backward()
    got: dict[str, object] = {
        "loss": out.loss.detach(),
        "gradient": tensors["logp"].grad,
        "advantage": loss.advantage(tensors),
    }
    tensors["logp"].requires_grad_(False)
    expected = evaluated(objective.graph, arrays)
    for name in ("keep", "step", "prompt"):
        if name in expected:
            got[name] = loss.step([tensors]) if name == "step" else getattr(loss, name)(tensors)
    if "prompt" in got:  # of a row without a trained token nobody asks
        trained = arrays["mask"].any(1)
        got["prompt"], expected["prompt"] = np.asarray(got["prompt"])[trained], expected["prompt"][trained]
    assert_same({name: np.asarray(value) for name, value in got.items()}, expected, 1e-8)


@SETTINGS
@given(rich_specs())
def test_a_spec_and_its_flat_text_print_as_themselves(text):
    tree = parse_objective(Source("generated.obj", text))
    canonical = format_objective(tree)
    assert parse_objective(Source("again.obj", canonical)) == tree
    assert format_objective(parse_objective(Source("again.obj", canonical))) == canonical
    objective = loaded(text)
    assert loaded(canonical).hash == objective.hash
    flat = objective.resolved.text
    again = maspo_dsl.parse(flat)
    assert (again.hash, again.resolved.text) == (objective.hash, flat)
