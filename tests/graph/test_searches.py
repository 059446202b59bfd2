"""`least` against the same search written out as choices, which know nothing of candidates."""

import io

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.graph.build import build
from maspo_dsl.graph.interpret import Interpretation

from ..batches import Arrays, as_torch, given_advantage, packed
from .family import assert_same, evaluated, real

VALUES = (0.5, 1.0, 1.5, 2.0)
RANGE = "0.5 .. 2 by 0.5"
CONDITIONS = {
    "a token": "policy / old < {c}",
    "a completion": "mean(max(policy / old, {c}), sequence) < {c} + 0.2",
    "a group": "mean(mean(policy ^ {c}, sequence), group) < 0.4",
    "tokens of a group": "sum(min(policy / old, {c}), group) > 9",
    "everything": "sum(max(A * clip(policy / old, 0.8, {c}), 0), micro) > 0.9 * sum(max(-A * policy / old, 0), micro)",
    "the window": "mean(detach(min(policy / old, {c})), window) > 0.9",
    "a wider window": "mean(mean(detach(min(policy / old, {c})), sequence), window) > 0.9 or A > {c}",
    "the largest": "max(min(policy / old, {c}), sequence) < {c} and max(policy * {c}, micro) > 0.4",
    "the smallest": "min(abs(policy / old - {c}), sequence) > 0.05 or min(policy * {c}, micro) > 0.1",
    "a quantile of tokens": "quantile(policy, 0.3, sequence, of = old < {c} / 4, empty = {c} / 3) > 0.2",
    "a quantile of all": "quantile(abs(policy / old - {c}), 0.3, micro) < 0.2",
    "a quantile of a group": "quantile(abs(policy / old - {c}), 0.5, group) < 0.3",
    "a place": "kth(mean(abs(policy / old - {c}), sequence), group, 2) < 0.4",
    "an order": "rank(mean(abs(policy / old - {c}), sequence), group) < 1 + {c}",
    "the next token": "next(abs(policy / old - {c})) > 0.4",
    "the rest of the completion": "discounted_sum(policy / old, {c} / 2) < 2 * {c}",
    "some tokens": "top(abs(policy / old - {c}), 0.2, micro)",
    "drawn tokens": "pick(policy / old < {c}, 0.3, micro, seed = 3)",
    "a count": "sum(policy / old < {c}, sequence) > 0.5 * length",
    "the candidate": "{c} > 1.2",
    "no candidate": "policy / old < 1.1",
    "lengths": "length * {c} < 6 and position < length * {c} / 2",
    "nothing": "policy < 0 * {c}",
    "another search": "(least d in 1 .. 3 by 1 where policy / old < d * {c} else {c}) < 2",
    "a search of its own": "policy / old < {c} and (least d in 1 .. 3 by 1 where mean(old, micro) < d / 9 else 1) > 1",
}


def spec(search: str, part: str = "weight found = 0.1 + {}") -> maspo_dsl.Objective:
    lines = ["objective example extends group_ppo", part.format(f"({search})")]
    return maspo_dsl.load(io.StringIO("\n".join(lines) + "\n"))


def least(condition: str, otherwise: str = "0.25") -> str:
    return f"least c in {RANGE} where {condition.format(c='c')} else {otherwise}"


def written_out(condition: str, otherwise: str = "0.25") -> str:
    text = otherwise
    for value in reversed(VALUES):
        text = f"({value} if {condition.format(c=value)} else {text})"
    return text


def arrays(seed: int = 3) -> Arrays:
    return real(given_advantage(seed, columns=6, extreme=False, spread=0.4))


def refuse_difference(
    found: maspo_dsl.Objective, expected: maspo_dsl.Objective, loss: maspo_dsl.ObjectiveLoss
) -> None:
    """The graph, and the emitted code on padded and packed batches."""
    for batch in (arrays(3), arrays(4)):
        truth = evaluated(expected.graph, batch)
        assert np.isfinite(truth["loss"]) and np.abs(truth["gradient"]).max() > 1e-3
        got = evaluated(found.graph, batch)
        assert_same({name: got[name] for name in truth}, truth)
        for form in (batch, packed(batch)):
            tensors = as_torch(form)
            value = loss(tensors).loss
            value.backward()
            np.testing.assert_allclose(value.item(), truth["loss"], rtol=1e-10)
            slope = tensors["logp"].grad.numpy()
            wanted = (
                truth["gradient"] if slope.ndim == 2 else packed({**batch, "logp": truth["gradient"]})["logp"]
            )
            np.testing.assert_allclose(slope, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_search_is_its_choices(name):
    condition = CONDITIONS[name]
    found, expected = spec(least(condition)), spec(written_out(condition))
    refuse_difference(found, expected, maspo_dsl.compile(found, backend="eager"))


TOGETHER = [
    "a token",
    "everything",
    "the candidate",
    "no candidate",
    "nothing",
    "another search",
    "a search of its own",
]


def test_what_is_computed_for_all_candidates_together():
    assert [
        n for n, text in CONDITIONS.items() if "least(holds" in spec(least(text)).torch_source()
    ] == TOGETHER


def test_searches_compile():
    """The compiled graph of those that are one call each; the others are choices."""

    def all_of(form) -> maspo_dsl.Objective:
        parts = [f"weight w{n} = 0.5 + ({form(CONDITIONS[name])})" for n, name in enumerate(TOGETHER)]
        return maspo_dsl.load(io.StringIO("objective example extends group_ppo\n" + "\n".join(parts) + "\n"))

    loss = maspo_dsl.compile(all_of(least), backend="aot_eager")
    refuse_difference(loss.objective, all_of(written_out), loss)
    assert loss.compilations


def test_what_is_taken_else_has_its_gradient():
    """And none where a candidate is taken, though a root has none there."""
    part = "penalty gap = 0.1 * {}"
    condition, otherwise = "old - policy < {c} / 10 - 0.1", "sqrt(old - policy)"
    found = spec(least(condition, otherwise), part)
    refuse_difference(
        found, spec(written_out(condition, otherwise), part), maspo_dsl.compile(found, backend="eager")
    )


@pytest.mark.parametrize(
    ("grid", "condition", "taken"),
    [
        ("2 .. 1 by 1", "c > 0", 7),
        ("1 .. 0.9 by 0.2", "c > 0", 7),
        ("1 .. 1 by 0.2", "c > 0", 1),
        ("0.6 .. 0.9 by 0.05", "c > 0.85", 0.9),
        ("0.6 .. 0.9 by 0.07", "c > 0.79", 0.81),
        ("0.6 .. 0.9 by 0.07", "c > 0.82", 0.88),
        ("0.6 .. 0.9 by 0.07", "c > 0.89", 7),
        ("-3 .. 3 by 1", "c * c <= 4", -2),
        ("1 .. 3 by 1", "2 > 1", 1),
        ("1 .. 3 by 1", "2 < 1", 7),
    ],
)
def test_the_range(grid, condition, taken):
    """The first of LOW, LOW + STEP, … up to HIGH: numbers by hand."""
    objective = spec(f"least c in {grid} where {condition} else 7", "advantage = 0 * reward + {}")
    batch = {"reward": np.zeros(2), "group": np.zeros(2, dtype=int), "mask": np.ones((2, 3), dtype=bool)}
    for graph in (build(objective.resolved.parts), objective.graph):
        np.testing.assert_allclose(Interpretation(graph, batch).output("advantage"), [taken] * 2, rtol=1e-15)
    got = maspo_dsl.compile(objective, backend="eager").advantage(as_torch(batch))
    np.testing.assert_allclose(got, [taken] * 2, rtol=1e-6)


def test_many_candidates_are_no_longer_code():
    """The condition is written once, and computed once for all candidates."""
    few, many = (
        spec(
            f"least c in 0.5 .. 2 by {step} where mean(min(policy / old, c), micro) > 0.9 else 1"
        ).torch_source()
        for step in (0.5, 0.02)
    )
    assert len(few.splitlines()) == len(many.splitlines())
    assert many.count("holds(c):") == 2  # in the loss, and in the terms for metrics
