"""What could be left out of a spec is shown; what is needed rarely, for few tokens, or for other values is not."""

import pytest

from .test_lints import found

IDLE = [
    # lines, the place that is shown, a part of the message
    ("ratio = policy / old |> clip(0.8, 1.2) |> clip(0.5, 2)", (2, 43), "`clip(0.5, 2)` has no effect"),
    ("ratio = policy / old |> clip(0.8, 1.2) |> clip(0.8, 1.2)", (2, 43), "`clip(0.8, 1.2)`"),
    ("after clip |> min(3) as dual when A > 0", (2, 15), "`min(3) as dual when A > 0`"),
    ("after clip |> min(3) as dual when policy > 2", (2, 15), "`min(3) as dual when policy > 2`"),
    ("mute m where policy > 1.5", (2, 1), "the condition of `mute m` never holds"),
    ("exclude e where policy < 1.5", (2, 1), "the condition of `exclude e` always holds"),
    ("keep k where length >= 1", (2, 1), "the condition of `keep k` always holds"),
    ("keep k where mean(correct, group) > 1", (2, 1), "the condition of `keep k` never holds"),
    ("mute a where policy < 0.1\nmute b where policy < 0.01", (3, 1), "`mute b`"),
    ("reward c = 3", (2, 1), "`reward c`"),
    ("reward c = 1 + 0 * length", (2, 1), "`reward c`"),
    ("weight w = 1 + 0 * old", (2, 1), "`weight w`"),
    ("weight w = 1 if A > 0 else 1", (2, 1), "`weight w`"),
    ("ratio = policy / old |> min(1e9)", (2, 25), "`min(1e9)`"),
    (
        "let tilt = 1 + 0 * A neutral 1\nweight w = tilt * (old / rollout)",
        (2, 1),
        "`tilt` has no effect: with its",
    ),
    ("step = 1 + 0 * mean(A * A, window)", (2, 1), "`step` has no effect: without it everything is the same"),
    ("advantage = reward |> center(group) |> center(group)", (2, 40), "`center(group)`"),
    ("advantage = reward |> center(group) |> scale(group) |> scale(group)", (2, 56), "`scale(group)`"),
    ("penalty kl = 0.1 * k3(policy, detach(policy))", (2, 1), "`penalty kl`"),
]

NEEDED = [
    "mute m where old / rollout > 50",
    "mute m where length > 20480",
    "mute m where length > 200000",
    "mute m where A != 0 and policy < 1e-12",
    "mute m where 5.1 < policy / old < 5.102",
    "mute m where 0.31 < old < 0.3101",
    "input staleness : sequence\nmute m where staleness > 300",
    "keep k where count(reward, group) >= 32",
    "keep k where reward != 0.25",
    "reduce = loss / max(length, 1) |> sum(sequence) |> mean(window)",
    "param loose = 0.5 in (0, 1)\nafter clip |> clip(1 - loose, 1 + loose)",
    "let tilt = 1 + 0.1 * A neutral 1\nweight w = tilt",
    "prompt = abs(mean(correct, group) - 0.5)",
    "step = min(1, 1 / mean(A * A, window))",
    "mute k where mean(abs(log(policy / old)), sequence) > 3 and length > 1000",
    "mute m where count(reward, group) < 30",
    "keep k where count(reward, rollout_batch) < 5000",
    'param off = 0 in [0, inf)\nweight w = clamp(1 / old ^ off, 1, 10)\nallow on-policy-weight "when on"',
]

# What decides whether `w` matters: it does, or nothing that is tried gets there.
REACHED = [
    "count(reward, group) >= 16",
    "count(reward, group) > 100",
    "count(reward, rollout_batch) >= 5000",
    "length > 4000",
    "length > 200000",
    "position >= 4000",
    "mean(length, group) > 3000",
    "min(length, group) > 2000 and count(reward, group) >= 4",
    "count(reward, group) >= 20 and mean(reward, group) < 0.1",
    "mean(1 if correct else 0, group) == 1 and count(reward, group) >= 8",
    "reward > 50",
    "reward == -3",
    "flag == 7",
    "flag == 0.7",
    "flag == 3 and step_id == 4",
    "sum(1 if step_id == 3 else 0, sequence) > 50",
    "sure > 0.999",
    "phase > 100",
    "turn == 5000",
]
GIVEN = """
input flag    : sequence
input step_id : token
input turn    : sequence integer
input sure    : sequence in [0, 1]
input phase   : scalar
"""


@pytest.mark.parametrize("condition", REACHED)
def test_a_condition_that_holds_rarely_makes_no_parameter_dead(condition):
    lines = f"{GIVEN}param w = 0.5 in (0, 1]\nadvantage = center(reward, group) * (w if {condition} else 1)"
    if "step_id" in condition or "position" in condition:
        lines = f"{GIVEN}param w = 0.5 in (0, 1]\nweight some = w if {condition} else 1"
    assert not {warning.code for warning in found(lines)} & {"dead-parameter", "dead-part"}


def test_a_parameter_that_another_one_switches_on_is_not_dead():
    lines = "param cap = 1 in (0, inf)\nparam top = 5 in [1, inf)\nratio = min(policy / old, cap) |> min(top)"
    assert not {warning.code for warning in found(lines)} & {"dead-parameter"}


def test_a_parameter_on_a_side_that_no_policy_takes_is_dead():
    lines = "param w = 0.5 in (0, 1]\nweight some = w if policy > 1.5 else 1"
    assert "dead-parameter" in {warning.code for warning in found(lines)}


@pytest.mark.parametrize(("lines", "place", "words"), IDLE)
def test_what_could_be_left_out_is_shown(lines, place, words):
    (warning,) = [w for w in found(lines) if w.code == "dead-part"]
    assert (warning.line, warning.column) == place
    assert words in warning.message


@pytest.mark.parametrize("lines", NEEDED)
def test_what_is_needed_is_not(lines):
    assert "dead-part" not in {warning.code for warning in found(lines)}


def test_without_a_gradient_no_single_place_is_at_fault():
    parts = [w.span.text for w in found("mute m where policy <= 1.5") if w.code == "dead-part"]
    assert parts == ["mute m where policy <= 1.5"]


@pytest.mark.parametrize("width", [0.01, 0.002])
@pytest.mark.parametrize("at", [0.1, 0.41, 0.7, 0.93, 1.05, 1.137, 1.5, 2.6, 5.1])
def test_a_narrow_band_in_which_the_gradient_turns_is_found(at, width):
    line = f"ratio = (-(policy / old) if {at} < policy / old < {at + width:.4f} else policy / old) |> clip(0.01, 90)"
    (warning,) = found(line)
    edge = at if at > 1 else at + width
    assert warning.code == "turning-gradient"
    assert f"for A > 0 the gradient turns at ratio {float(f'{edge:.3g}'):g}:" in warning.message
