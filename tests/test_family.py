"""What every objective must keep: the shipped ones, and those of `specs/`, which say what no shipped one does.

Sequence ratios, batch-searched bounds, quantiles, detached weights, rules that mute or exclude: together they test
the compiler far from the three objectives of its name.
"""

import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.analysis.spec_lints import spec_findings
from maspo_dsl.graph.interpret import Interpretation

from .batches import as_torch, given_advantage, packed, padded, rows_of, split, with_garbage

UNSHIPPED = {path.stem: path for path in sorted((Path(__file__).parent / "specs").glob("*.obj"))}
SPECS = {**{name: name for name in maspo_dsl.shipped()}, **UNSHIPPED}

IN_MICRO = {"bapo", "bapo_paper", "bnpo", "clip_cov", "dcpo", "dgpo", "kl_cov"}
"""Objectives that say `micro`: of all, they alone may change with the cut of a window."""


@cache
def compiled(name: str) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(SPECS[name], backend="eager")


def batch_for(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Without log-ratios of 200: their sums over a sequence, exponentiated, leave no digits to compare."""
    return with_garbage(given_advantage(seed, extreme=False, spread=0.4))


def run(name: str, batch, denominators=None) -> tuple[float, np.ndarray]:
    tensors = as_torch(batch)
    out = compiled(name)(tensors, denominators=denominators)
    out.loss.backward()
    return out.loss.item(), tensors["logp"].grad.numpy()


@pytest.mark.parametrize("name", SPECS)
def test_emitted_source_equals_the_interpreter(name):
    """torch against the float64 interpreter of the same graph, which shares no arithmetic with it."""
    objective, batch = maspo_dsl.load(SPECS[name]), batch_for(name)
    oracle = Interpretation(objective.graph, batch, params=objective.params)
    loss, gradient = run(name, batch)
    expected = oracle.gradient("loss")
    assert np.abs(expected).max() > 1e-5
    assert loss == pytest.approx(float(oracle.output("loss")), rel=1e-9)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", SPECS)
def test_gradient_is_finite_at_the_extremes(name):
    batch = as_torch(given_advantage(1), torch.float32)
    out = compiled(name)(batch)
    out.loss.backward()
    assert torch.isfinite(out.loss) and torch.isfinite(batch["logp"].grad).all()
    assert not batch["logp"].grad[~batch["mask"]].any()
    assert all(torch.isfinite(value) for value in out.metrics.values()), out.metrics


@pytest.mark.parametrize("name", [name for name in SPECS if name not in IN_MICRO])
def test_any_partition_gives_the_same_gradient(name):
    for seed in range(3):
        batch = batch_for(name, seed)
        loss, gradient = run(name, batch)
        parts = split(batch, parts=3, seed=seed)
        denominators = compiled(name).window([as_torch(rows_of(batch, rows)) for rows in parts])
        total, together = 0.0, np.zeros_like(gradient)
        for rows in parts:
            part_loss, together[rows] = run(name, rows_of(batch, rows), denominators)
            total += part_loss
        assert total == pytest.approx(loss, rel=1e-9)
        np.testing.assert_allclose(together, gradient, rtol=1e-9, atol=1e-14)


def test_a_micro_scope_is_found_in_those_and_no_others():
    """What is found is a warning, unless the spec allows it."""
    findings = {name: spec_findings(maspo_dsl.load(name).resolved) for name in maspo_dsl.shipped()}
    assert {
        name for name, found in findings.items() if "micro-scope" in {finding.code for finding in found}
    } == IN_MICRO
    text = re.sub("^allow .*\n", "", maspo_dsl.load("bnpo").source_text, flags=re.MULTILINE)
    (warning,) = maspo_dsl.load(io.StringIO(text)).warnings
    assert warning.code == "micro-scope"


@pytest.mark.parametrize("name", SPECS)
def test_packed_and_padded_are_the_same(name):
    batch = batch_for(name, 5)
    flat = packed(batch)
    loss, gradient = run(name, batch)
    assert run(name, padded(batch, 4))[0] == pytest.approx(loss, rel=1e-12)
    flat_loss, flat_gradient = run(name, flat)
    assert flat_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(flat_gradient[flat["mask"]], gradient[batch["mask"]], rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("name", SPECS)
def test_empty_window(name):
    batch = batch_for(name)
    batch["mask"] = np.zeros_like(batch["mask"])
    loss, gradient = run(name, batch)
    assert loss == 0 and not gradient.any()
