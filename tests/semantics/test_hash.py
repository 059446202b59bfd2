"""The hash is of what is computed: the text around it does not count, everything in it does."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.semantics import canonical, reductions
from maspo_dsl.semantics.shipped import library_definitions

from ..graph.family import NAMED, objective

SPEC = """\
objective example extends group_ppo
"A spec to change"
source "nobody"

param width = 0.5 in (0, inf)  "how wide"
param tilt  = 2

let wide = width * tilt neutral 1

def soft(r, w) = r * detach(exp(-(r - 1) ^ 2 / w))

ratio = policy / old |> soft(wide) as gate when A > 0
penalty drift = 0.01 * k2(policy, old)
"""


def hash_of(text: str, **options) -> str:
    return maspo_dsl.load(io.StringIO(text), **options).hash


SAME = [
    ("objective example", "objective other"),
    ('"A spec to change"\n', ""),
    ('source "nobody"', 'source "somebody"'),
    ('source "nobody"', 'source "nobody"\ndiffers "verl 0.9.1: another width"'),
    ("param tilt", "# a comment\nparam tilt"),
    (" as gate when A > 0", " as gate when A > 0  # beside"),
    ('  "how wide"', ""),
    (" in (0, inf)", " in [0.1, 3]"),
    ("0.5 in", "0.50 in"),
    ("0.5 in", "5e-1 in"),
    ("= 0.5 in", "= 1 / 2 in"),
    ("tilt  = 2", "tilt = 2.0"),
    ("0.01 * k2", "1e-2 * k2"),
    (" neutral 1", " neutral 3"),
    ("param tilt  = 2\n", "param tilt = 2 bind generation_limit\n"),
    ("ratio = policy / old |> soft", "ratio = policy / old\n  |> soft"),
    ("(-(r - 1) ^ 2 / w)", "((-(r - 1) ^ 2) / w)"),
    ("penalty drift", "variant plain { drop gate }\npenalty drift"),
    ("penalty drift", "sweep width = 0.1, 0.2\npenalty drift"),
]
OTHER = [
    ("0.5 in", "0.6 in"),
    ("tilt  = 2", "tilt = 3"),
    ("width * tilt", "width + tilt"),
    ("(r - 1) ^ 2", "(r - 1) ^ 4"),
    ("A > 0", "A < 0"),
    ("k2(policy, old)", "k3(policy, old)"),
    ("0.01 * k2", "0.02 * k2"),
    ("penalty drift", "bonus drift"),
    (" when A > 0", ""),
    ("ratio = policy / old", "ratio = policy / rollout"),
    ("extends group_ppo", "extends grpo"),
    ("penalty drift = 0.01 * k2(policy, old)\n", ""),
    ("penalty drift", "reduce = loss |> mean(window)\npenalty drift"),
    ("penalty drift", "drop gate\npenalty drift"),
    ("penalty drift", "before gate |> min(2) as cap\npenalty drift"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_what_does_not_count(old, new):
    assert old in SPEC
    assert hash_of(SPEC.replace(old, new, 1)) == hash_of(SPEC)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_what_counts(old, new):
    assert old in SPEC
    text = SPEC.replace(old, new, 1)
    if "drop gate" in new:
        text = text.replace("def soft(r, w) = r * detach(exp(-(r - 1) ^ 2 / w))\n", "")
        text = text.replace("soft(wide)", "gaussian_gate(wide)").replace("0.01 * k2", "0.01 * wide * k2")
    assert hash_of(text) != hash_of(SPEC)


def test_order_of_declarations():
    head, *blocks = SPEC.rstrip("\n").split("\n\n")
    shuffled = "\n\n".join([head, *reversed(blocks)]) + "\n"
    assert shuffled != SPEC
    assert hash_of(shuffled) == hash_of(SPEC)


def test_values_set_from_outside():
    assert hash_of(SPEC, params={"width": 0.7}) == hash_of(SPEC.replace("0.5 in", "0.7 in"))
    assert hash_of(SPEC, params={"width": 0.5}) == hash_of(SPEC)
    bound = SPEC.replace("tilt  = 2", "tilt = 2 bind group_size")
    assert hash_of(bound, run={"group_size": 8}) == hash_of(SPEC.replace("tilt  = 2", "tilt = 8"))


def test_library_counts_where_it_is_used():
    resolved = maspo_dsl.load("grpo").resolved
    library = library_definitions()

    def hashed(name: str) -> str:
        changed = {**library, name: replace(library[name], body=library["k1"].body)}
        return canonical.objective_hash(resolved.flat, resolved.parameters, resolved.used, changed, 1)

    assert hashed("clip") != resolved.hash and hashed("std") != resolved.hash
    assert hashed("gaussian_gate") == resolved.hash


PASSING = "ratio = policy / old * max(policy / old, sequence)"
STOPPED = (
    "ratio = policy / old * max(detach(policy / old), sequence)",
    "ratio = policy / old * detach(max(policy / old, sequence))",
    "weight w = max(policy / old, sequence)",
    "mute far where max(policy / old, sequence) > 2",
    "advantage = max(reward, group)",
)


@pytest.mark.parametrize("line", [PASSING, *STOPPED])
def test_a_changed_meaning_counts_where_it_is_met(line, monkeypatch):
    """`max` passes gradient since version 2: who takes none from it has the hash that he had before."""
    text = f"objective o extends group_ppo\n{line}\n"
    after = hash_of(text)
    row = reductions.REDUCTIONS["reduce_max"]
    assert row.since == 2
    monkeypatch.setitem(reductions.REDUCTIONS, row.name, replace(row, since=1))
    assert (hash_of(text) != after) is (line == PASSING)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("reduce = loss |> mean(micro)", True),
        ("penalty kl = 0.1 * mean(k3(policy, reference), micro)", True),
        ("weight w = mean(old, micro)", False),
        ("mute m where old < mean(old, micro)", False),
        ("penalty kl = 0.1 * mean(k3(policy, reference), window)", False),
    ],
)
def test_micro_in_the_loss_of_a_window_has_another_meaning(line, changed):
    """Parts of a window were summed; what is within one of them is what it was."""
    resolved = maspo_dsl.parse(f"objective o extends group_ppo\n{line}\n").resolved
    arguments = resolved.flat, resolved.parameters, resolved.used, library_definitions()
    assert (resolved.hash != canonical.objective_hash(*arguments, 1)) is changed


def test_no_two_shipped_objectives_are_the_same():
    hashes = {objective(name).hash for name in maspo_dsl.shipped()}
    assert len(hashes) == len(maspo_dsl.shipped())


@pytest.mark.parametrize("name", NAMED)
def test_flat_text_is_the_objective(name):
    """With nothing set, everything set, and the run bound."""
    plain = objective(name)
    limit = {"generation_limit": 100, "group_size": 4}
    bound = maspo_dsl.load(NAMED[name], run=limit)
    values = {key: value * 0.99 for key, value in plain.params.items() if 0 < value < 1000}
    try:
        changed = maspo_dsl.load(NAMED[name], params=values)
    except maspo_dsl.SpecError:  # outside an interval, or no whole number of steps
        changed = plain
    for one in (plain, bound, changed):
        again = maspo_dsl.parse(one.resolved.text)
        assert again.hash == one.hash
        assert again.resolved.text == one.resolved.text
        assert again.params == {key: one.params[key] for key in again.params}
        assert again.inputs == one.inputs


@pytest.mark.parametrize(
    "lines",
    [
        "param a = 3\nparam b = a * 2\npenalty p = b * k2(policy, old)",
        "param a = 3\nparam b = 1 in (0, a)\npenalty p = b * k2(policy, old)",
        "param a = 3\nparam b = 3 in {1, a}\npenalty p = b * k2(policy, old)",
        "param a = 3, b = a\nsweep a = 1, 2\npenalty p = b * k2(policy, old)",
        "param a = -0.5, b = 1e-7\npenalty p = (a + b) * k2(policy, old)",
    ],
)
def test_parameters_of_parameters_leave_only_their_values(lines):
    objective = maspo_dsl.load(io.StringIO(f"objective example extends group_ppo\n{lines}\n"))
    again = maspo_dsl.parse(objective.text)
    assert (again.hash, again.text) == (objective.hash, objective.text)


def test_a_variant_that_needs_what_vanished_is_not_printed():
    text = (
        "objective example extends maspo\nratio = policy / old |> min(2)\n"
        "variant gated { ratio = policy / old |> gaussian_gate(mass * risk) }\nvariant free { drop min }\n"
    )
    objective = maspo_dsl.parse(text)
    assert maspo_dsl.parse(objective.text).hash == objective.hash
    assert "gated" not in objective.text and "variant free" in objective.text


def test_an_objective_loaded_again_keeps_what_was_set():
    hard = maspo_dsl.load("maspo@hard")
    assert maspo_dsl.load(hard, {"eps_low": 0.2} if "eps_low" in hard.params else None).hash == hard.hash
    first = maspo_dsl.load("maspo", {"alpha": 0.5})
    second = maspo_dsl.load(first, {"beta_pos": 0.1})
    assert second.hash == maspo_dsl.load("maspo", {"alpha": 0.5, "beta_pos": 0.1}).hash
    limited = maspo_dsl.load(maspo_dsl.load("dapo", run={"generation_limit": 50}), {"eps_high": 0.3})
    assert limited.params["max_length"] == 50
    variant = maspo_dsl.load(maspo_dsl.load("maspo@without_mass"), {"beta_pos": 0.2})
    assert variant.name == "maspo_without_mass" and variant.params["beta_pos"] == 0.2


def test_the_file_a_run_keeps(tmp_path: Path):
    """Self-contained: it needs neither its base nor the run's constants."""
    (tmp_path / "base.obj").write_text("objective base extends dapo\nparam eps_high = 0.4\n")
    (tmp_path / "mine.obj").write_text("objective mine extends base\nparam cache = max_length / 4\n")
    mine = maspo_dsl.load(tmp_path / "mine.obj", run={"generation_limit": 64})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.obj").write_text(mine.text)
    kept = maspo_dsl.load(tmp_path / "run" / "spec.obj")
    assert kept.hash == mine.hash and kept.params == mine.params
    assert kept.params["cache"] == 16
