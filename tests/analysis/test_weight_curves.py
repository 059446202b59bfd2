"""Curves of the gradient weight: what papers' formulas give at each place, and what a spec's own text gives."""

import math

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.analysis.weight_curves import ADVANTAGE, MOVED, OLD, RATIO, weight_curves


def curves(spec):
    objective = spec if isinstance(spec, maspo_dsl.Objective) else maspo_dsl.load(spec)
    return weight_curves(objective.resolved, objective.graph)


def clipped(ratio, old, advantage):
    """PPO's clip with DAPO's bounds: A r, and nothing beyond the bound that the advantage moves towards."""
    off = ratio > 1.28 if advantage > 0 else ratio < 0.8
    return 0.0 if off else advantage * ratio


def gated(ratio, old, advantage):
    """MASPO's Gaussian of width sigma / old^0.3, clamped, times what the advantage adds; no gradient through it."""
    width = min(max(old**-0.3, 1.0), 10.0)
    risk = 1 + 0.03 * advantage if advantage > 0 else 1 / (1 - 0.03 * advantage)
    outward = (ratio > 1) == (advantage > 0) and ratio != 1
    gate = math.exp(-((ratio - 1) ** 2) / (2 * (width * risk) ** 2)) if outward else 1.0
    return advantage * ratio * gate


@pytest.mark.parametrize(("name", "weight"), [("dapo", clipped), ("maspo", gated)])
def test_every_point_is_what_the_formula_gives(name, weight):
    found = curves(name)
    assert {curve.along for curve in found.curves} == {RATIO, OLD, ADVANTAGE}
    nonzero = 0
    for curve in found.curves:
        for place, value in zip(curve.places, curve.weights, strict=True):
            at = {**curve.at, curve.along: place}
            ratio, old, advantage = at["ratio"], at["old"], at["A"]
            if ratio * old > 1 + 1e-9:
                assert math.isnan(value)
            elif ratio * old < 1 - 1e-9:
                assert value == pytest.approx(weight(ratio, old, advantage), abs=1e-9)
                nonzero += value != 0
    assert nonzero > 500


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("dapo", set()),
        ("dcpo", {"old"}),
        ("maspo", {"old", "A"}),
        ("entropy_advantage", {"A", "entropy"}),
        ("gspo", set()),
    ],
)
def test_what_changes_a_weight_is_said(name, matters):
    assert curves(name).matters == matters


def test_the_policy_has_moved_as_the_advantage_says():
    found = curves("gpg")
    for coordinate in (OLD, ADVANTAGE):
        assert {(curve.at["ratio"], np.sign(curve.weights[0])) for curve in found.along(coordinate)} == {
            (MOVED, 1.0),
            (1 / MOVED, -1.0),
        }


def test_inputs_of_a_spec_are_what_they_may_be():
    """An input in (0, 0.5) is its middle, a number without an interval is 1, a condition holds."""
    text = (
        "objective mine extends group_ppo\n"
        'input trust : token in (0, 0.5) "how far"\ninput plain : token "any number"\n'
        'input told : token condition "a flag"\n'
        "weight w = trust * plain if told else 0\n"
    )
    found = curves(maspo_dsl.parse(text))
    first = found.along(RATIO, A=1.0, old=0.01)[0]
    assert first.weights[first.places.index(1.0)] == pytest.approx(0.25)
    assert set(found.notes) == {"trust is 0.25", "plain is 1", "told holds"}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("tests/verify/specs/regression.obj", "regression has no policy term"),
        ("tests/verify/specs/members.obj", "gets no gradient from members"),
    ],
)
def test_no_curve_has_a_reason(spec, why, request):
    found = curves(request.config.rootpath / spec)
    assert why in found.why
    assert not found.curves


@pytest.mark.parametrize("name", maspo_dsl.shipped())
def test_every_shipped_objective_has_curves(name):
    found = curves(name)
    if not maspo_dsl.load(name).resolved.parts.has_policy_term:
        assert "no policy term" in found.why and not found.curves
        return
    assert not found.why
    values = [weight for curve in found.curves for weight in curve.weights if not math.isnan(weight)]
    assert np.isfinite(values).all()
    assert any(weight > 0 for weight in values) or name == "nsr"
