"""The reach of a gradient: never less than what is measured, and for objectives that people use, exactly that."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import maspo_dsl
from maspo_dsl.analysis.coupling import Coupling, Reach, coupling

from ..graph.family import NAMED, objective
from ..graph.generated import specs
from .dependence import measured, small

SEQUENCE = {"gspo", "gspo_token", "luspo", "gmpo", "vespo", "topr", "grpo_opsm", "aspo", "deepseek_v32"}
SEQUENCE |= {"min_prefix", "cumulative_ratio", "future_kl", "capped_prefix", "moving_prefix"}
BATCH = {
    "bapo",
    "bapo_paper",
    "stapo",
    "stapo_v1",
    "stapo_maspo",
    "stapo_goldilocks",
    "top_entropy",
    "clip_cov",
    "kl_cov",
}
BATCH |= {"fipo"}
SEQUENCE |= {"ctpo", "a2po", "oapl", "dvo", "flowrl"}
GROUP = {"gvpo", "real", "target_po"}
# Values at which small batches come to what reads the policy.
NEAR = {"fipo": {"cap": 1.1, "safe": 1.05}}


def written(*lines: str) -> Coupling:
    return coupling(maspo_dsl.parse("\n".join(["objective example extends group_ppo", *lines, ""])).graph)


@pytest.mark.parametrize("name", NAMED)
def test_named_objectives(name):
    """What papers say of their own objectives: which read more of the policy than the token itself."""
    base = name.split("@")[0]
    reaches = {Reach.BATCH: BATCH, Reach.GROUP: GROUP, Reach.SEQUENCE: SEQUENCE}
    expected = next((reach for reach, names in reaches.items() if base in names), Reach.TOKEN)
    assert coupling(objective(name).graph).reach is expected


@pytest.mark.parametrize("name", NAMED)
def test_measured_dependence_is_what_is_said(name):
    graph = maspo_dsl.load(objective(name), NEAR.get(name)).graph
    claimed = coupling(graph).reach
    found = Reach.TOKEN
    for seed in range(12):
        found = max(found, measured(graph, small(seed)))
        assert found <= claimed
        if found == claimed:
            return
    raise AssertionError(f"{name}: {claimed.word} is said, no more than {found.word} measured")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=specs(), seed=st.integers(0, 999))
def test_random_objectives_depend_on_no_more(text, seed):
    try:
        graph = maspo_dsl.parse(text).graph
    except maspo_dsl.SpecError:
        assume(False)
    assert measured(graph, small(seed)) <= coupling(graph).reach


@pytest.mark.parametrize(
    ("line", "reach"),
    [
        ("weight w = old / mean(old, window)", Reach.TOKEN),
        ("weight w = detach(policy) / mean(old, sequence)", Reach.TOKEN),
        ("weight w = 1 / (1 + mean(detach(policy), sequence))", Reach.SEQUENCE),
        ("weight w = 1 / (1 + mean(detach(policy), group))", Reach.GROUP),
        ("weight w = 1 / (1 + mean(detach(policy), window))", Reach.BATCH),
        ("weight w = 1 / (1 + max(detach(policy), group))", Reach.GROUP),
        ("mute m where entropy(policy) < quantile(entropy(policy), 0.2, window)", Reach.BATCH),
        ("mute m where old < quantile(old, 0.2, window)", Reach.TOKEN),
        ("weight w = 1 + next(detach(policy))", Reach.SEQUENCE),
        ("weight w = 1 + next(old) * position", Reach.TOKEN),
        ("penalty p = old * next(policy)", Reach.TOKEN),
        ("penalty p = old * discounted_sum(log(policy), 0.5)", Reach.TOKEN),
        ("penalty p = policy * running_sum(policy, 0.5)", Reach.SEQUENCE),
        ("penalty p = exp(running_sum(log(policy / old), 1))", Reach.SEQUENCE),
        ("penalty p = running_max(policy)", Reach.SEQUENCE),
        ("penalty p = old * max(policy, group)", Reach.GROUP),
        ("penalty p = old * logsumexp(policy, sequence)", Reach.SEQUENCE),
        ("weight w = 1 + discounted_sum(entropy(policy), 0.5)", Reach.SEQUENCE),
        ("mute m where top(entropy(policy), 0.3, micro)", Reach.BATCH),
        ("mute m where entropy(policy) < quantile(entropy(policy), 0.5, group)", Reach.GROUP),
        ("exclude e where policy < 0.1", Reach.BATCH),
        ("exclude e where old < 0.1", Reach.TOKEN),
        ("penalty kl = 0.1 * mean(k3(policy, reference), window)", Reach.TOKEN),
        ("penalty kl = 0.1 * mean(k1(policy, reference), sequence) ^ 2", Reach.SEQUENCE),
        ("penalty kl = 0.1 * mean(mean(k1(policy, reference), sequence), group) ^ 2", Reach.GROUP),
        ("penalty p = 0.1 * mean(detach(policy), sequence) / policy", Reach.SEQUENCE),
        ("penalty p = 0.1 * mean(policy, group) * mean(detach(policy), sequence)", Reach.GROUP),
        ("exclude e where mean(policy, sequence) < 0.2\nreduce = loss |> sum(window)", Reach.SEQUENCE),
        ("bonus h = 0.1 * entropy(policy)", Reach.TOKEN),
        ("bonus h = 0.1 * entropy(policy) * mean(detach(policy), sequence)", Reach.SEQUENCE),
        ("reduce = loss / 32 |> sum(sequence) |> mean(window)", Reach.TOKEN),
        ("reduce = loss |> mean(group) |> mean(window)", Reach.TOKEN),
        ("reduce = loss / max(sum(detach(policy), sequence), 1) |> sum(window)", Reach.SEQUENCE),
        ("ratio = 1 |> score\nreduce = loss |> sum(window)", Reach.TOKEN),
    ],
)
def test_what_couples(line, reach):
    """Worked out by hand; both that a thing couples and that its like without the current policy does not."""
    graph = maspo_dsl.parse(f"objective example extends group_ppo\n{line}\n").graph
    assert coupling(graph).reach is reach
    assert max(Reach.TOKEN, *(measured(graph, small(seed)) for seed in range(2))) is reach


def test_statistics_of_the_window_that_move_with_the_policy():
    assert written("reduce = loss |> mean(window)").statistics == ()
    assert written("reduce = loss |> mean(window)", "exclude e where old < 0.1").statistics == ()
    assert written("reduce = loss |> mean(window)", "exclude e where policy < 0.1").statistics == ("tokens",)
    assert written("exclude e where policy < 0.1").statistics == ("sequences",)
    both = written(
        "let tau = quantile(entropy(policy), 0.2, window)",
        "mute m where entropy(policy) < tau",
        "penalty k = 0.1 * k2(policy, old) * mean(old, window)",
    )
    assert both.statistics == ("tau",)


def test_an_estimator_that_reads_the_policy_couples():
    """Where the batch brings no advantage it is computed from it, each time that the loss is."""
    line = "advantage = reward * mean(detach(policy), sequence) |> center(group)"
    assert written(line).reach is Reach.GROUP
    batch = small(0)
    del batch["advantage"]
    graph = maspo_dsl.parse(f"objective example extends group_ppo\n{line}\n").graph
    assert measured(graph, batch) is Reach.GROUP
