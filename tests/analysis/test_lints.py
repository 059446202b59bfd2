"""Every warning, by a mistake that people make; `allow` silences it and nothing else."""

import itertools
import math

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import maspo_dsl
from maspo_dsl.analysis.diagnosis import diagnose
from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.vocabulary import WARNINGS

from ..batches import given_advantage, ragged
from ..graph.family import NAMED, assert_same, evaluated, objective, real
from ..graph.generated import specs

LIVE = "def live(r, width) = r * exp(-(r - 1) ^ 2 / (2 * width ^ 2))"
"""MASPO's gate as its paper writes it, with its gradient."""

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
        ("penalty kl = k1(policy, reference) / 10", (2, 14), "`kl` is k1"),
        ("penalty kl = 0.1 * mean(k1(policy, reference), sequence)", (2, 14), "`kl` is k1"),
        ("penalty kl = 0.1 * mean(k1(policy, reference), window)", (2, 14), "`kl` is k1"),
        ("penalty kl = 0.1 * clamp(k1(policy, reference), -10, 10)", (2, 14), "`kl` is k1"),
        ("penalty kl = 0.1 * (k1(policy, reference) + 1) / 2", (2, 14), "`kl` is k1"),
    ],
    "cap-below-one": [
        ("ratio = policy / old |> min(0.2)", (2, 25), "capped at 0.2"),
        ("ratio = policy / old |> clip(1 - eps_low, eps_high)", (2, 25), "capped at 0.2"),
        ("param cap = 0.9\nratio = policy / old |> min(cap) when A > 0", (3, 25), "capped at 0.9"),
    ],
    "dead-part": [
        ("param kl = 0\npenalty kl = kl * k3(policy, reference)", (3, 1), "weight 0"),
        ("bonus entropy = 0 * entropy(policy)", (2, 1), "weight 0"),
        ("penalty kl = 0.1 * k3(policy, policy)", (2, 14), "`policy` over `policy` is 1"),
        ("weight w = old / old", (2, 12), "`old` over `old` is 1"),
        ("param kl = 0\nparam soft = 2\npenalty kl = kl * soft * k2(policy, old)", (4, 1), "weight 0"),
        ("reward shaped = 0 * length", (2, 1), "weight 0"),
    ],
    "dead-parameter": [
        (
            "param width = 0.2 in (0, 1)\nratio = policy / detach(policy) |> clip(1 - width, 1 + width)",
            (2, 7),
            "`width`",
        ),
        (
            "param bias = 0.5\nadvantage = reward + bias |> center(group)",
            (2, 7),
            "1 and 0.25 in place of 0.5",
        ),
        ("param far = 25 in (20, inf)\nmute far where abs(log(policy / old)) > far", (2, 7), "`far`"),
        ("param aim = 0.1\npenalty kl = 0.1 * (k3(policy, reference) - aim)", (2, 7), "every gradient"),
        ("param w = 2 in (0, inf)\nreward even = -w * mean(length, group)", (2, 7), "`w` changes nothing"),
        ("param q = 1 in (0, 1]\nmute m where A > 0 and A < -q", (2, 7), "with 0.5 and"),
        (
            # What holds for a candidate holds for all before it.
            "param fine = 0.1 in (0, 1)\nlet low = least c in 0.5 .. 0.9 by fine "
            "where sum(max(policy / old, c), micro) <= 1.5 * sum(old ^ 0, micro) else 0.9\n"
            'ratio = policy / old |> clip(low, 1.2)\nallow micro-scope "as it is"',
            (2, 7),
            "`fine` changes nothing",
        ),
    ],
    "turning-gradient": [
        (
            f"{LIVE}\nratio = policy / old |> live(1)",
            (3, 25),
            "for A > 0 and A < 0 the gradient turns at ratio 1.62:",
        ),
        (
            f"{LIVE}\nratio = policy / old |> live(0.5) when moving_away(it)",
            (3, 25),
            "for A > 0 the gradient turns at ratio 1.21:",
        ),
        ("ratio = policy / old |> gamma_gate(2, 1)", (2, 25), "turns at ratio 2: above it"),
    ],
    "unbounded-side": [
        (
            "ratio = policy / old",
            (2, 9),
            "for A > 0 the gradient weight grows without bound as the ratio rises",
        ),
        ("ratio = policy / old |> max(0.2)", (2, 9), "for A > 0"),
        ("ratio = max(1 + log(policy / old), 0) |> score", (2, 42), "at ratio 1000 it is 7.91 A"),
        (
            "ratio = (old / policy if A > 0 else 1) |> score",
            (2, 10),
            "as the ratio falls: at ratio 0.001 it is 1000 A",
        ),
    ],
    "on-policy-weight": [
        ("ratio = 2 * (policy / old) |> min(5)", (2, 9), "is 2 A, not A"),
        ("ratio = policy / old |> clip(1 + eps_low, 1 + eps_high)", (2, 25), "is 0 A with A = -1, not A"),
        ("weight w = old ^ 0.5", (2, 1), "A with old = 1e-09, not A"),
        ("weight w = old / rollout |> min(0.5)", (2, 1), "is 0.5 A, not A"),
        ("mute stale where A > 0 and policy / old < 1.1", (2, 1), "is 0 A with A = 1, not A"),
        ("ratio = policy / old |> sigmoid_gate(1) |> score", (2, 44), "is 2 A, not A"),
    ],
    "not-neutral": [
        (
            "let low = 1 - eps_low neutral 1.2\nratio = policy / old |> clip(low, 1.2)",
            (2, 31),
            "is always 1.2, but `low` itself is always 0.8",
        ),
        (
            "let mass = clamp(1 / old ^ 0.3, 1, 10) neutral 0\nafter clip |> gaussian_gate(mass)",
            (2, 48),
            "within 1 and 10",
        ),
        (
            "let tilt = min(old / rollout, 2) neutral 0.5\nweight w = tilt",
            (2, 42),
            "at ratio 1 is 0.5 A; with it, it is A",
        ),
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
    assert [warning.code for warning in objective.warnings] == [code]


@pytest.mark.parametrize(
    "lines",
    [
        # no cap below 1
        "ratio = policy / old |> min(5)",
        "ratio = policy / old |> clip(0.2, 1.2)",
        # a KL term with a gradient, or none in the loss
        "penalty kl = 0.1 * k2(policy, reference)",
        "penalty kl = 0.1 * k1(policy, reference) ^ 2",
        "penalty kl = 0.1 * k1(policy, reference) * k1(policy, reference)",
        "penalty kl = 0.1 * k1(policy, reference) * (policy / old)",
        "penalty kl = 0.1 * k1(policy, reference) * (1 - policy)",
        "penalty kl = 0.1 * k1(policy, reference) * detach(policy)",
        "penalty kl = 0.1 / (30 + k1(policy, reference))",
        "penalty kl = 0.1 * max(k1(policy, reference), 0)",
        "penalty kl = 0.1 * min(k1(policy, reference), 1 - old)",
        "reward kl = -0.1 * mean(k1(old, reference), sequence)",
        # a scope that is whole
        "advantage = reward |> whiten(rollout_batch)",
        # parameters that matter where few tokens are, or for one slot, or are 0 or 1 or read by a range alone
        "param cap = 3 in (1, inf)\nafter clip |> min(cap) as dual when A < 0",
        "param limit = 4096 in [1, inf)\nexclude long where length > limit",
        "param rare = 1e-6 in (0, 1)\nmute rare where policy < rare",
        "param huge = 1e6\nmute huge where abs(A) > huge",
        "param tiny = 1e-9 in [0, inf)\nadvantage = reward |> center(group) |> scale(group, eps = tiny)",
        "param least_share = 0 in [0, 1]\nkeep mixed where mean(correct, group) > least_share",
        "param ess_base = 1 in (0, 1]\nstep = min(1, ess(old / rollout, window) / ess_base)",
        "param hard = 0.5\nprompt = abs(mean(correct, group) - hard)",
        "param first = 0.5 in (0, 1)\nlet low = least c in first .. 0.9 by 0.2 where mean(old, window) < c else 0.9\n"
        "ratio = policy / old |> clip(low, 1.2)",
        "param first = 0.5 in (0, 0.9)\n"
        "let low = least c in first .. 0.9 by 0.1 where mean(old, window) < c else (first if old > 2 else 0.9)\n"
        "ratio = policy / old |> clip(low, 1.2)",
        # a search that ends midway, or may for all that is seen of it
        "param fine = 0.1 in (0, 1)\nlet high = least c in 1 .. 2 by fine "
        "where sum(min(policy / old, c), micro) >= 0.9 * sum(old ^ 0, micro) else 2\n"
        'ratio = policy / old |> clip(0.8, high)\nallow micro-scope "as it is"',
        "param fine = 0.1 in (0, 1)\nlet high = least c in 1 .. 2 by fine "
        "where sum(min(reference / rollout, c), micro) > 1.97 * sum(old ^ 0, micro) else 2\n"
        'ratio = policy / old |> clip(0.8, high)\nallow micro-scope "as it is"',
        "param fine = 0.1 in (0, 1)\nratio = policy / old |> min(least c in 1 .. 2 by fine where old < c / 2 else 3)",
        "param base = 3 in (1, inf)\nparam cap = 2 * base in (1, inf)\n"
        "ratio = policy / old |> min(cap) |> min(base + 100) as loose",
        "param longest = 64 in [1, inf)\nparam cache = longest / 4 in (0, inf)\n"
        "reward overlong = overlong(length, longest, cache)",
        "param cache = 3 in (0, 8]\nreward overlong = overlong(length, 20480, cache)\n"
        "param limit = 20480 in [16384, inf)\nexclude long where length > limit",
        "param longest = 4096 in [1024, inf)\nreward overlong = overlong(length, longest, 512)",
        # gates that hold a token back without turning it round
        "after clip |> gaussian_gate(1)",
        "ratio = policy / old |> sigmoid_gate(1)",
        "ratio = policy / old |> gamma_gate(2, 3) |> score",
        # bounded on every side
        "ratio = policy / old |> min(1e4) |> score",
        "ratio = min(old / policy, 3) |> score",
        "ratio = 1 |> score",
        "ratio = policy / old |> min(20) |> score\nmute unsure where policy < 0.1",
        "ratio = 1 + 100 * max(policy - old, 0) |> score",
        # on policy the advantage is the weight, but for what is muted on purpose
        "weight w = old / rollout |> min(2)",
        "mute sure where entropy(policy) < 0.5",
        "exclude bad where A < 0 and old < 0.1",
        "mute stale where A < 0 and policy / old < 0.9",
        # neutral values at the end of a range, and elsewhere within it
        "let width = clamp(1 / old ^ 0.3, 1, 10) neutral 1\nafter clip |> gaussian_gate(width)",
        "let width = clamp(1 / old ^ 0.3, 1, 10) neutral 0.5 / old ^ 0.3\nafter clip |> gaussian_gate(width)",
        "let mismatch = min(old / rollout, 2) neutral 1\nweight w = mismatch",
        "let floor = exp(-entropy(policy)) neutral 0\nmute m where policy < floor",
        "let middle = mean(reward, group) neutral 0\nadvantage = reward - middle",
        "let sure = entropy(policy) < 0.5 neutral 1 > 2\nmute m where sure",
    ],
)
def test_what_is_no_mistake(lines):
    assert found(lines) == []


@pytest.mark.parametrize("width", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(("guard", "signs"), [("", "A > 0 and A < 0"), (" when moving_away(it)", "A > 0")])
def test_a_live_gaussian_gate_turns_where_arithmetic_says(width, guard, signs):
    """d/dr of r exp(-(r-1)^2 / 2 sigma^2) is 0 where r (r - 1) = sigma^2; below 1 that is nowhere."""
    (warning,) = found(f"{LIVE}\nratio = policy / old |> live({width}){guard}")
    turns = (1 + math.sqrt(1 + 4 * width**2)) / 2
    assert warning.code == "turning-gradient"
    assert warning.message.startswith(
        f"for {signs} the gradient turns at ratio {float(f'{turns:.3g}'):g}: above"
    )


def test_a_turning_point_that_depends_on_the_token_says_on_what():
    """A width that grows as the old probability falls: it turns first where that is high."""
    (warning,) = found(f"{LIVE}\nratio = policy / old |> live(0.5 / old ^ 0.5) when moving_away(it)")
    # r (r - 1) = 0.25 / old; at 0.9 that is beyond 1 / old, where no ratio can be
    assert "at ratio 1.37 with old = 0.5" in warning.message


def test_of_several_stages_the_one_at_fault_is_shown():
    text = f"{LIVE}\nratio = policy / old |> clip(0.8, 1.28) |> live(0.2) as soft |> min(3) as cap when A < 0"
    turning, dead = found(text)
    assert (turning.code, turning.span.text) == ("turning-gradient", "live(0.2) as soft")
    assert (dead.code, dead.span.text) == ("dead-part", "min(3) as cap when A < 0")


def test_a_spec_of_its_own_has_what_group_ppo_acknowledges():
    lines = maspo_dsl.load("group_ppo").source_text.splitlines()
    text = "\n".join(line for line in lines if not line.startswith("allow "))
    (warning,) = diagnose(Source("example.obj", text + "\n"))
    assert (warning.code, warning.span.text) == ("unbounded-side", "policy / old")
    assert warning.message == (
        "for A < 0 the gradient weight grows without bound as the ratio rises: at ratio 1000 it is 1000 A"
    )


def test_an_inherited_allow_covers_what_the_base_has():
    """PPO's clip leaves one side open, which `group_ppo` acknowledges; whoever drops it opens another."""
    assert found("reduce = loss |> mean(window)") == []
    (warning,) = found("drop clip")
    assert warning.message.startswith("for A > 0") and warning.file.endswith("group_ppo.obj")
    assert found('drop clip\nallow unbounded-side "as VCPO does"') == []


def test_variants_are_asked_about_by_name():
    text = (
        "objective example extends group_ppo\nvariant soft { swap clip |> gamma_gate(2, 1) }\n"
        "variant open { drop clip }\nvariant fine { param eps_low = 0.1 }\n"
    )
    source = Source("example.obj", text)
    assert diagnose(source) == diagnose(source, variant="fine") == []
    assert [warning.code for warning in diagnose(source, variant="soft")] == ["turning-gradient"]
    assert [warning.code for warning in diagnose(source, variant="open")] == ["unbounded-side"]


def test_values_set_from_outside_leave_no_allow_unused():
    text = "objective example extends group_ppo\nparam kl = 0\npenalty kl = kl * k3(policy, old)\n"
    objective = maspo_dsl.parse(f'{text}allow dead-part "off"\n')
    assert objective.warnings == maspo_dsl.load(objective, {"kl": 0.1}).warnings == ()


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=specs(), seed=st.integers(0, 999))
def test_what_is_called_dead_moves_nothing(text, seed):
    """Of random objectives, on batches and at values that the warning has not seen."""
    try:
        live = maspo_dsl.parse(text)
    except maspo_dsl.SpecError:
        assume(False)
    dead = [w.message.split("`")[1] for w in live.warnings if w.code == "dead-parameter"]
    scales = ((0.4, 1.0), (2.0, 1.0), (1.0, 30.0))
    given_ones = [given_advantage(seed, columns=6, extreme=False, spread=s, scale=a) for s, a in scales]
    batches = [real(arrays) for arrays in (*given_ones, ragged(seed, columns=6, extreme=False))]
    for name, value in itertools.product(dead, (0.01, 0.3, 0.9, 1.1, 2.5, 7.0)):
        try:
            changed = maspo_dsl.load(live, {name: value})
        except maspo_dsl.SpecError:
            continue
        for arrays in batches:
            before, after = evaluated(live.graph, arrays), evaluated(changed.graph, arrays)
            before.pop("loss"), after.pop("loss")
            assert_same(after, before, rtol=1e-6)


def test_a_neutral_is_not_at_fault_for_what_is_off_policy_with_it():
    lines = (
        "let tilt = min(old / rollout, 2) neutral 1\nweight w = tilt\nratio = 2 * (policy / old) |> min(5)"
    )
    assert [warning.code for warning in found(lines)] == ["on-policy-weight"]


def test_a_spec_with_errors_is_not_asked():
    assert {d.severity for d in found("ratio = policy / old\nreduce = lss |> mean(window)")} == {"error"}


def test_what_tells_cells_apart_is_drawn_wherever_a_part_is_tried():
    """No value of either part is read but by the scope of a reduction: a prompt's memory, and turns."""
    rate = "memory rate = 0.7 * rate + 0.3 * mean(correct, group) start 0.5 per prompt"
    assert not found(f"{rate}\nprompt = rate * (1 - rate)")
    turns = "input turn_id : token integer\nscope turn by sequence, turn_id"
    far = "param far = 0 in [-1, 0]\nkeep some where max(max(position, turn), sequence) > far"
    assert {warning.code for warning in found(f"{turns}\n{far}")} <= {"dead-part", "dead-parameter"}


def test_allow_is_inherited_without_complaint():
    child = maspo_dsl.parse("objective example extends kl_cov\nreduce = loss |> mean(window)\n")
    assert child.warnings == ()
    silent = maspo_dsl.parse("objective example extends bnpo\nparam eps_low = 0.1\n")
    assert silent.warnings == ()


@pytest.mark.parametrize("name", [name for name in NAMED if name.split("@")[0] in maspo_dsl.shipped()])
def test_shipped_specs_and_their_variants_check_clean(name):
    assert objective(name).warnings == ()


SWEPT = [name for name in maspo_dsl.shipped() if objective(name).resolved.flat.sweeps]


@pytest.mark.parametrize("name", SWEPT)
def test_shipped_sweeps_check_clean(name):
    for parameter, sweep in objective(name).resolved.flat.sweeps.items():
        for value in sweep.values:
            assert maspo_dsl.load(name, {parameter: float(value.span.text)}).warnings == ()
