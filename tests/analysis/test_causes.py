"""Why tokens are coupled, in the words of the spec."""

import pytest

import maspo_dsl
from maspo_dsl.analysis.causes import Cause, causes
from maspo_dsl.analysis.coupling import coupling

from ..graph.family import NAMED, objective


def because(found: maspo_dsl.Objective) -> list[Cause]:
    return causes(found.resolved, coupling(found.graph))


@pytest.mark.parametrize(
    ("name", "part", "calls"),
    [
        ("gspo", "ratio", ("geomean(sequence)",)),
        ("vespo", "ratio", ("prod(sequence)",)),
        ("grpo_opsm", "mute stale", ("mean(k1(old, policy), sequence)",)),
        ("bapo", "ratio", ("balance(low, c)", "balance(c, high_start)")),
    ],
)
def test_of_shipped_objectives(name, part, calls):
    assert because(objective(name)) == [Cause(part, calls)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("exclude rare where policy < 0.1", [Cause("exclude rare", ())]),
        (
            "reduce = loss / max(sum(detach(policy), sequence), 1) |> sum(window)",
            [Cause("reduce", ("sum(detach(policy), sequence)",))],
        ),
        (
            "mute m where entropy(policy) < quantile(entropy(policy), 0.2, window)\n"
            "weight w = 1 / (1 + mean(detach(policy), sequence))",
            [Cause("mute m", ("quantile(entropy(policy), 0.2, window)",))],
        ),
        (
            "penalty kl = 0.1 * mean(k3(policy, reference), window)\n"
            "bonus h = 0.1 * entropy(policy) * mean(detach(policy), group)",
            [Cause("bonus h", ("mean(detach(policy), group)",))],
        ),
    ],
)
def test_of_several_parts_those_that_reach_as_far_as_the_whole(lines, expected):
    assert because(maspo_dsl.parse(f"objective example extends group_ppo\n{lines}\n")) == expected


@pytest.mark.parametrize("name", NAMED)
def test_there_is_a_cause_wherever_tokens_are_coupled(name):
    found = coupling(objective(name).graph)
    assert bool(because(objective(name))) == (found.reach.word != "token")
