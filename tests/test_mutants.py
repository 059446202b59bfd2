"""Whether the tests would notice a mistake: a part of the proof (docs/proof.md).

`make proof` makes every mistake everywhere. The fast tests make those in one objective and in those that are not what
was proven; the slow ones those in the objectives of the name, and in an eighth of the others, another one each day.
MASPO_PROOF_PART=2 chooses the eighth; without it the date does.
"""

import os
from datetime import date

import pytest

from .proof import record
from .proof.checks import checks, shipped
from .proof.killing import frozen, itself_fails
from .proof.probes import PROBES
from .proof.proving import JUDGES, Outcome, outcomes, tasks
from .proof.settings import SECOND, SETTINGS
from .proof.windows import SEARCHES, searched
from .reference.balanced import code_bounds, paper_bounds, sides
from .reference.catalogue import REFERENCES
from .reference.tokens import tokens

PARTS = 8
PART = int(os.environ.get("MASPO_PROOF_PART", date.today().toordinal())) % PARTS
ALWAYS = ("dapo", "grpo", "maspo")
# New or changed since their last proof, and named as such in docs/proof.md; `make proof ARGS=--write` makes this empty.
AWAITED = frozenset(
    (
        *("asymre", "cfpo", "chord", "gfpo", "gigpo", "mopd", "optimal_token_baseline", "rae"),
        *("fipo", "gdpo", "goldilocks", "m2po", "passk_training", "stapo_goldilocks"),
    )
)
CHANGED = [name for name in record.changed() if name not in AWAITED]
FEW = 4
"""As many changed specs as a run has time for: after more of them the whole proof is due."""
FAST = {"dapo", *CHANGED[:FEW]}
WHOLE = sorted({*ALWAYS, *CHANGED[:FEW]})
TODAY = sorted(set(shipped()) - set(ALWAYS))[PART::PARTS]
UNCHANGED = sorted({*ALWAYS, *TODAY} - set(CHANGED[:FEW]))
BROKEN = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in sorted({*WHOLE, *TODAY})
]
TEMPLATE = tuple(name for name in JUDGES if name not in PROBES)
"""Objectives that together carry all of the template."""


def made(origin: str, name: str, *, known: bool = False) -> list[Outcome]:
    """The ends of all mistakes of one kind in an objective; those that cannot matter are not tried."""
    return [outcome for task in tasks([name], [origin]) for outcome in outcomes(task, (name,), known=known)]


def unnoticed(found: list[Outcome]) -> list[str]:
    """What nothing noticed and for which no reason is known, with the part that it came up in."""
    assert found, "there is nothing to notice"
    return [f"part {PART}: {outcome}" for outcome in found if outcome.end == "survived"]


def test_the_proof_is_of_these_specs():
    assert len(CHANGED) <= FEW, f"changed since the last proof: {', '.join(CHANGED)}; make proof ARGS=--write"


def test_the_page_names_what_is_not_proven():
    page = record.PAGE.read_text().partition("<!-- proof -->")[0]
    assert set(record.changed()) >= AWAITED
    assert all(f"`{name}`" in page for name in AWAITED)


def test_the_page_is_what_was_recorded():
    assert record.PAGE.read_text() == record.written(record.PAGE.read_text(), record.read())


def test_nothing_survived_the_last_proof():
    assert [name for name, ends in record.read()["counts"].items() if ends["survived"]] == []


def test_an_objective_proven_again_replaces_what_was_recorded():
    before = record.read()
    found = [
        Outcome("spec", "dapo", "one", "killed", "a window"),
        Outcome("spec", "dapo", "two", "equivalent", "why"),
    ]
    old = {**before, "hashes": {**before["hashes"], "dapo": "another"}}
    after = record.extended(old, found)
    assert after["counts"]["dapo"] == {"killed": 1, "equivalent": 1, "survived": 0, "unchanged": 0}
    assert {**after["counts"], "dapo": 0} == {**before["counts"], "dapo": 0}
    assert after["hashes"] == before["hashes"]
    assert after["reasons"] == before["reasons"] | {"why": 1}
    assert "dapo" in after["again"] and "`dapo`" in record.shown(after)
    assert record.extended(after, found) == after


def test_an_objective_proven_for_the_first_time_adds_its_reasons():
    whole = record.read()
    before = {**whole, "counts": {name: ends for name, ends in whole["counts"].items() if name != "dapo"}}
    why = next(iter(before["reasons"]))
    after = record.extended(before, [Outcome("spec", "dapo", "one", "equivalent", why)])
    assert after["reasons"] == before["reasons"] | {why: before["reasons"][why] + 1}
    assert "dapo" not in after["again"]


def test_every_objective_has_a_setting_of_its_own():
    assert set(SETTINGS) == set(REFERENCES) == set(shipped())
    for name, setting in (*SETTINGS.items(), *SECOND.items()):
        assert set(setting) == set(REFERENCES[name].defaults), name


def test_every_question_has_a_name_of_its_own():
    names = [check.name for check in checks("dapo", frozen(SETTINGS["dapo"]))]
    assert len(names) == len(set(names)) > 80


@pytest.mark.parametrize(("name", "bounds"), [("bapo", code_bounds), ("bapo_paper", paper_bounds)])
def test_the_search_for_a_bound_ends_at_each_of_its_steps(name, bounds):
    setting = SETTINGS[name]
    steps = [setting["high_start"] + step * setting["high_step"] for step in range(4)]
    for seed, factors in SEARCHES[name].items():
        found = []
        for factor in factors:
            batch = searched(seed, factor)
            held = {**batch, "held": batch["logp"]}
            found.append(bounds(sides(tokens(held, batch["advantage"])), setting)[1])
        assert found == sorted(found)
        assert sorted(set(found)) == pytest.approx([*steps, setting["high_max"]])


@pytest.mark.parametrize("name", BROKEN)
def test_the_unchanged_objective_passes(name):
    assert itself_fails(name) == []


@pytest.mark.parametrize("name", BROKEN)
def test_mistakes_in_the_emitted_source_are_noticed(name):
    found = made("source", name)
    assert len(found) > 40 and unnoticed(found) == []


@pytest.mark.parametrize(
    "name", [*CHANGED[:FEW], *(pytest.param(name, marks=pytest.mark.slow) for name in UNCHANGED)]
)
def test_mistakes_in_the_text_are_noticed(name):
    assert unnoticed(made("spec", name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_mistakes_in_the_library_are_noticed(name):
    assert unnoticed(made("library", name)) == []


@pytest.mark.slow
def test_no_reason_fits_what_is_noticed():
    """Of one objective a day everything is tried: a reason that fits too much would excuse a hole tomorrow."""
    assert record.excused(made("source", TODAY[0], known=True)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*TODAY, *CHANGED} - set(WHOLE)))
def test_mistakes_in_the_library_of_the_others_are_noticed(name):
    assert unnoticed(made("library", name)) == []


@pytest.mark.slow
def test_mistakes_in_the_template_are_noticed():
    pieces = tasks(TEMPLATE, ["template"])
    assert (
        unnoticed([outcome for piece in pieces for outcome in outcomes(piece, TEMPLATE, known=False)]) == []
    )
