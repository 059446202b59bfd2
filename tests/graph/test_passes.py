"""Each pass alone, and all of them in turn, keep value and gradient; and they do remove what they should."""

import io

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.graph.build import build
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.graph.passes import PASSES, guard_hazards, remove_dead, simplify

from .family import NAMED, assert_same, batch, evaluated, objective


def built(name: str) -> Graph:
    return build(objective(name).resolved.parts)


def spec(*lines: str, base: str = "group_ppo") -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(f"objective example extends {base}\n" + "\n".join(lines) + "\n"))


def parameters(graph: Graph) -> set[str]:
    return {str(node.attribute("name")) for node in graph.nodes if node.op == "param"}


@pytest.mark.parametrize("transform", sorted(set(PASSES), key=PASSES.index), ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", ["grpo", "dapo", "maspo", "vespo", "gmpo", "stapo", "bapo", "dgpo", "vcpo"])
def test_each_pass_alone(name, transform):
    graph = built(name)
    assert_same(evaluated(transform(graph), batch(1)), evaluated(graph, batch(1)))


@pytest.mark.parametrize("name", NAMED)
def test_simplifying_again_settles(name):
    """The hazards of an unchosen branch are guarded once more, and then there is nothing left to do."""
    once = simplify(built(name))
    twice = simplify(once)
    assert len(twice.nodes) <= len(once.nodes) + 4
    assert len(simplify(twice).nodes) == len(twice.nodes)
    assert_same(evaluated(twice, batch()), evaluated(once, batch()), rtol=1e-12)


@pytest.mark.parametrize("name", NAMED)
def test_a_simplified_graph_is_in_order_and_alive(name):
    """Arguments come first, nothing is unread, and no expression stands twice."""
    graph = simplify(built(name))
    assert all(argument < place for place, node in graph for argument in node.args)
    assert graph.reachable(graph.outputs) == tuple(range(len(graph.nodes)))
    assert remove_dead(graph).nodes == graph.nodes
    assert len(set(graph.nodes)) == len(graph.nodes)


@pytest.mark.parametrize("name", NAMED)
def test_gradient_flags(name):
    """A node is live only if something below it is."""
    graph = simplify(built(name))
    for _, node in graph:
        if node.args and node.live:
            assert any(graph.nodes[argument].live for argument in node.args), node
        assert not (node.live and node.is_bool)


def test_kl_of_zero_removes_the_reference():
    with_kl, without = maspo_dsl.load("grpo"), maspo_dsl.load("grpo", params={"kl": 0})
    assert "logp_ref" in with_kl.inputs
    assert "logp_ref" not in without.inputs
    assert "kl" not in parameters(without.graph)
    assert without.graph.nodes[without.graph.outputs["term:kl"]].op == "const"
    gone = maspo_dsl.load(io.StringIO("objective example extends grpo\ndrop kl\n"))
    assert len(without.graph.reachable(["loss"])) == len(gone.graph.reachable(["loss"]))


@pytest.mark.parametrize(
    ("edit", "gone"),
    [
        ("drop mass", {"alpha"}),
        ("drop risk", {"beta_pos", "beta_neg"}),
        ("drop mass, risk", {"alpha", "beta_pos", "beta_neg"}),
        ("param alpha = 0", {"alpha"}),
    ],
)
def test_what_is_dropped_vanishes(edit, gone):
    """From a spec whose numbers are none of 0 and 1, which would be built in."""
    text = f"objective example extends maspo\nparam sigma_base = 1.5\n{edit}\n"
    objective = maspo_dsl.load(io.StringIO(text))
    everything = {"sigma_base", "alpha", "beta_pos", "beta_neg"}
    assert parameters(objective.graph) & everything == everything - gone


def test_without_its_gate_maspo_is_a_plain_ratio():
    gateless, plain = spec("drop gate", base="maspo"), spec("drop clip", "reduce = loss |> mean(window)")
    assert not parameters(gateless.graph)
    assert gateless.hash == plain.hash
    assert len(gateless.graph.nodes) == len(plain.graph.nodes)


@pytest.mark.parametrize(
    "reduce",
    [
        "loss |> sum(sequence) |> per_token |> mean(window)",
        "loss |> mean(sequence) |> mean(group) |> per_token |> mean(window)",
        "mean(mean(loss, sequence) * old, window)",
        "mean(mean(loss, sequence) + 0 * old, window)",
        "mean(mean(loss, micro) * length, window)",
        "mean(mean(loss, micro) * old, window)",
        "mean(mean(loss, micro) + 0 * length, window)",
        "loss |> mean(sequence) |> mean(group) |> mean(window)",
    ],
)
def test_a_value_that_is_repeated_counts_as_often(reduce):
    """One weight a token cannot say that a sequence's value counts once for each of its tokens."""
    found = spec(f"reduce = {reduce}")
    assert_same(evaluated(found.graph, batch()), evaluated(build(found.resolved.parts), batch()))


@pytest.mark.parametrize(
    ("condition", "open_"),
    [("1 > 0", True), ("z > 0", False), ("z >= 0 and one == 1", True), ("not (z == 0)", False)],
)
def test_conditions_of_numbers_are_decided(condition, open_):
    """A guard that numbers decide is no `select`; what it chooses is what stands there."""
    lines = ["param z = 0, one = 1 in [0, 1]"] if "z" in condition or "one" in condition else []
    if lines and not ("z" in condition and "one" in condition):
        lines = ["param z = 0"]
    guarded = spec(*lines, f"ratio = policy / old |> min(1.3) when {condition}")
    plain = spec("ratio = policy / old |> min(1.3)" if open_ else "ratio = policy / old")
    assert not [n for n in guarded.graph.nodes if n.op == "select" and n.live]
    assert_same(evaluated(guarded.graph, batch()), evaluated(plain.graph, batch()), rtol=1e-14)


def test_rules_that_numbers_decide():
    plain = spec()
    for lines in (["mute m where 1 > 2"], ["exclude e where 1 > 2"], ["keep k where 1 < 2"]):
        graph = spec(*lines).graph
        got = evaluated(graph, batch())
        if "keep" in got:
            assert got.pop("keep").shape == (16,)
        assert_same(got, evaluated(plain.graph, batch()), rtol=1e-14)


def test_an_exponent_that_a_parameter_of_0_removes():
    """The bound of what is exponentiated is a number then, and so is its exponential: a tensor is not there to hold."""
    nothing = "weight decay = exp(-rate * length)", "param rate = 0 in [0, inf)"
    assert_same(evaluated(spec(*nothing).graph, batch()), evaluated(spec().graph, batch()), rtol=1e-14)
    assert not [node for node in spec(*nothing).graph.nodes if node.op == "bound" and not node.live]


@pytest.mark.parametrize(
    "ratio",
    [
        "policy / old * (sqrt(log(policy / old)) if policy > old else 1)",
        "policy / old * (log(log(policy / old) + 1) if log(policy / old) > -0.9 else 1)",
        "policy / old * (1 / log(policy / old) if policy != old else 1)",
        "policy / old * (log(policy / old) ^ 0.5 if policy > old else 0.5)",
    ],
)
def test_the_branch_not_chosen_spoils_no_gradient(ratio):
    """0 * inf in the backward pass would be NaN; the guard leaves value and gradient of the chosen one."""
    built_graph = build(spec(f"ratio = {ratio}").resolved.parts)
    guarded = guard_hazards(built_graph)
    arrays = batch(2)
    arrays = {**arrays, "logp": arrays["logp"].copy()}
    arrays["logp"][0, 0] = arrays["logp_old"][0, 0]
    got = evaluated(guarded, arrays)
    assert np.isfinite(got["gradient"]).all()
    expected = evaluated(built_graph, arrays)
    np.testing.assert_allclose(got["loss"], expected["loss"], rtol=1e-14)
    known = np.isfinite(expected["gradient"])
    np.testing.assert_allclose(got["gradient"][known], expected["gradient"][known], rtol=1e-12)


def test_small_probabilities_do_not_overflow_half_way():
    """1 / old ^ alpha is exp(-alpha log old): at log old = -800 the probability itself is 0."""
    arrays = {name: value.copy() for name, value in batch(3).items()}
    arrays["logp_old"] = arrays["logp_old"] - 800
    arrays["logp"] = arrays["logp"] - 800
    got = evaluated(maspo_dsl.load("maspo").graph, arrays)
    assert np.isfinite(got["loss"]) and np.isfinite(got["gradient"]).all()
