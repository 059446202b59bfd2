"""Every warning, by a mistake that people make; `allow` silences it and nothing else."""

import pytest

import maspo_dsl
from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.resolve import diagnose
from maspo_dsl.semantics.vocabulary import WARNINGS

from ..graph.family import NAMED

MISTAKES = {
    # code: lines, place of the warning, a part of its message
    "micro-scope": [
        ("reduce = loss |> mean(micro)", (2, 18), "size of the micro-batch"),
        ("weight w = old / mean(old, micro)", (2, 18), "size of the micro-batch"),
        ("mute m where entropy(policy) < quantile(entropy(policy), 0.2, micro)", (2, 32), "micro-batch"),
    ],
    "k1-in-loss": [
        ("penalty kl = 0.1 * k1(policy, reference)", (2, 14), "`kl` is k1"),
        ("penalty kl = 0.1 * log(policy / reference)", (2, 14), "`kl` is k1"),
        ("bonus kl = k1(policy, reference)", (2, 12), "`kl` is k1"),
        ("let spread = k1(policy, old)\npenalty kl = eps_low * spread", (3, 14), "`kl` is k1"),
    ],
    "cap-below-one": [
        ("ratio = policy / old |> min(0.2)", (2, 25), "capped at 0.2"),
        ("ratio = policy / old |> clip(1 - eps_low, eps_high)", (2, 25), "capped at 0.2"),
        ("param cap = 0.9\nratio = policy / old |> min(cap) when A > 0", (3, 25), "capped at 0.9"),
    ],
    "dead-part": [
        ("param kl = 0\npenalty kl = kl * k3(policy, reference)", (3, 1), "weight 0"),
        ("bonus entropy = 0 * entropy(policy)", (2, 1), "weight 0"),
        ("reward shaped = 0 * length", (2, 1), "weight 0"),
    ],
    "unused-allow": [('allow micro-scope "as in the code"', (2, 1), "nothing to allow")],
}
CASES = [(code, *case) for code, cases in MISTAKES.items() for case in cases]


def found(lines: str) -> list[Diagnostic]:
    return diagnose(Source("example.obj", f"objective example extends group_ppo\n{lines}\n"))


@pytest.mark.parametrize(("code", "lines", "place", "words"), CASES)
def test_warning(code, lines, place, words):
    (warning,) = found(lines)
    assert (warning.code, warning.severity) == (code, "warning")
    assert words in warning.message and warning.hint
    assert (warning.line, warning.column) == place


def test_every_warning_is_here():
    assert set(MISTAKES) == set(WARNINGS)


@pytest.mark.parametrize(
    ("code", "lines", "place", "words"), [case for case in CASES if case[0] != "unused-allow"]
)
def test_allow_silences_it(code, lines, place, words):
    assert found(f'{lines}\nallow {code} "we know"') == []
    other = "cap-below-one" if code != "cap-below-one" else "k1-in-loss"
    assert [w.code for w in found(f'{lines}\nallow {other} "we know"')] == [code, "unused-allow"]


@pytest.mark.parametrize(("code", "lines", "place", "words"), CASES)
def test_a_warning_stops_nothing(code, lines, place, words):
    objective = maspo_dsl.parse(f"objective example extends group_ppo\n{lines}\n")
    assert [warning.code for warning in objective.resolved.warnings] == [code]


@pytest.mark.parametrize(
    "lines",
    [
        "ratio = policy / old |> min(5)",
        "ratio = policy / old |> clip(0.2, 1.2)",
        "ratio = policy / old |> max(0.2)",
        "penalty kl = 0.1 * k2(policy, reference)",
        "penalty kl = 0.1 * k1(policy, reference) ^ 2",
        "reward kl = -0.1 * mean(k1(old, reference), sequence)",
        "weight w = old / rollout |> min(0.5)",
        "advantage = reward |> whiten(rollout_batch)",
    ],
)
def test_what_is_no_mistake(lines):
    assert found(lines) == []


def test_allow_is_inherited_without_complaint():
    assert maspo_dsl.load("bapo").resolved.warnings == ()
    child = maspo_dsl.parse("objective example extends bapo\nreduce = loss |> mean(window)\ndrop dual\n")
    assert child.resolved.warnings == ()
    silent = maspo_dsl.parse("objective example extends bnpo\nparam eps_low = 0.1\n")
    assert silent.resolved.warnings == ()


@pytest.mark.parametrize("name", [name for name in NAMED if "@" not in name and name in maspo_dsl.shipped()])
def test_shipped_specs_check_clean(name):
    source = maspo_dsl.load(name).resolved.source
    assert diagnose(source) == []
