"""Values of parameters: defaults, made of others too; constants of the run; what a user sets; each in its interval."""

import io

import pytest

import maspo_dsl
from maspo_dsl.semantics.domains import number_text


def spec(*lines: str) -> str:
    names = "abc"
    declared = [name for name in names if any(f"{name} = " in line for line in lines)]
    used = " * ".join(declared) or "1"
    return (
        "\n".join(["objective example extends group_ppo", *lines, f"penalty p = {used} * k2(policy, old)"])
        + "\n"
    )


def load(*lines: str, params=None, run=None) -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(spec(*lines)), params, run=run)


def origins(objective: maspo_dsl.Objective) -> dict[str, str]:
    return {name: bound.origin for name, bound in objective.resolved.parameters.items() if name in "abc"}


def refused(*lines: str, params=None, run=None) -> list[str]:
    with pytest.raises(maspo_dsl.SpecError) as caught:
        load(*lines, params=params, run=run)
    return [d.message for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("2", 2.0),
        ("-2", -2.0),
        ("1e-4", 1e-4),
        ("3 / 4 - 1", -0.25),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("(1 + 2) * 3", 9.0),
        ("b / 5", 20.0),
        ("b - b", 0.0),
    ],
)
def test_default(default, value):
    assert load(f"param a = {default}", "param b = 100").params["a"] == value


def test_defaults_follow_what_is_set():
    lines = ("param a = b / 5", "param b = c + 1", "param c = 9")
    assert load(*lines).params["a"] == 2
    changed = load(*lines, params={"c": 99})
    assert changed.params["a"] == 20
    assert origins(changed) == {"a": "default", "b": "default", "c": "set"}
    assert load(*lines, params={"b": 50}).params["a"] == 10


def test_a_default_may_name_an_inherited_parameter():
    assert load("param a = 2 * eps_low").params["a"] == 0.4
    assert load("param a = 2 * eps_low", params={"eps_low": 0.3}).params["a"] == 0.6


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("(1, 2)", [1.5, 1.0001, 1.9999], [1, 2, 0, 3]),
        ("[1, 2)", [1, 1.9999], [2, 0.9999]),
        ("(1, 2]", [2, 1.0001], [1, 2.0001]),
        ("[1, 2]", [1, 2, 1.5], [0.9999, 2.0001]),
        ("[0, inf)", [0, 1e30], [-1e-9]),
        ("(-inf, 0)", [-1e30, -1e-9], [0, 1]),
        ("(-inf, inf)", [0, 1e300, -1e300], []),
        ("[1, 1]", [1], [0.99, 1.01]),
        ("{1, 2, 4}", [1, 2, 4], [3, 0, 5]),
        ("{-1, 0.5}", [-1, 0.5], [1, 0]),
        ("(-b, b)", [0, 1.9, -1.9], [2, -2]),
        ("[b / 2, 2 * b]", [1, 4], [0.9, 4.1]),
    ],
)
def test_interval(interval, inside, outside):
    lines = (f"param a = {inside[0]} in {interval}", "param b = 2")
    for value in inside:
        assert load(*lines, params={"a": value}).params["a"] == value
    for value in outside:
        (message,) = refused(*lines, params={"a": value})
        assert message.startswith(f"`a` = {number_text(value)} is outside {interval[0]}")
        (message,) = refused(f"param a = {value} in {interval}", "param b = 2")
        assert message.startswith(f"`a` = {number_text(value)} is outside")


def test_an_interval_follows_what_is_set():
    lines = ("param a = 3 in (0, b)", "param b = 5")
    assert load(*lines, params={"b": 4}).params["a"] == 3
    assert refused(*lines, params={"b": 2}) == ["`a` = 3 is outside (0, 2)"]


def test_an_interval_holds_for_each_name_of_its_line():
    line = "param a = 1, b = 2 in [0, 3]"
    assert refused(line, params={"b": 4}) == ["`b` = 4 is outside [0, 3]"]
    assert refused("param a = 5, b = 4 in [0, 3]") == [
        "`a` = 5 is outside [0, 3]",
        "`b` = 4 is outside [0, 3]",
    ]


def test_run_constants():
    line = "param a = 100 in [1, inf) bind generation_limit"
    assert load(line).params["a"] == 100
    bound = load(line, run={"generation_limit": 8})
    assert bound.params["a"] == 8 and origins(bound) == {"a": "run"}
    both = load(line, params={"a": 5}, run={"generation_limit": 8})
    assert both.params["a"] == 5 and origins(both) == {"a": "set"}
    assert load(line, run={"group_size": 3}).params["a"] == 100
    assert refused(line, run={"generation_limit": 0}) == [
        "`a` = 0 (the run's generation_limit) is outside [1, inf)"
    ]


def test_what_depends_on_a_run_constant_follows_it():
    dapo = maspo_dsl.load("dapo", run={"generation_limit": 10})
    assert (dapo.params["max_length"], dapo.params["cache"]) == (10, 2)
    assert maspo_dsl.load("dapo", {"cache": 3}, run={"generation_limit": 10}).params["cache"] == 3


def test_values_are_numbers_and_finite():
    for value, word in (("3", "number"), (None, "number"), (True, "number"), ([1], "number")):
        (message,) = refused("param a = 1", params={"a": value})
        assert word in message
    for value in (float("nan"), float("inf"), -float("inf")):
        (message,) = refused("param a = 1", params={"a": value})
        assert "finite" in message


def test_a_vanished_parameter_cannot_be_set():
    assert refused(params={"eps_lo": 0.1}) == ["example has no parameter `eps_lo`"]
    with pytest.raises(maspo_dsl.SpecError, match="does not read its inherited parameter `eps_low`"):
        maspo_dsl.load(io.StringIO("objective example extends group_ppo\ndrop clip\n"), {"eps_low": 0.1})


def test_parameters_that_only_feed_others_can_be_set():
    """`a` is read by the default of `b` alone; it is a parameter all the same."""
    text = "objective example extends group_ppo\nparam a = 2, b = a * 2\npenalty p = b * k2(policy, old)\n"
    assert maspo_dsl.load(io.StringIO(text)).params["a"] == 2
    assert maspo_dsl.load(io.StringIO(text), {"a": 3}).params["b"] == 6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20480.0, "20480"),
        (0.3, "0.3"),
        (3e-4, "0.0003"),
        (1e-8, "1e-08"),
        (-2.0, "-2"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_shortly(value, text):
    assert number_text(value) == text
