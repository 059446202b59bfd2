"""Whether the tests would notice a mistake: a part of the proof in every run, other objectives each day.

`make proof` makes every mistake in every objective (docs/proof.md). Here it is a fifth of the objectives, and those
that have changed since the proof was written. MASPO_PROOF_PART=2 chooses the fifth.
"""

import os
from datetime import date

import pytest

from .proof import record
from .proof.checks import shipped
from .proof.equivalents import reason_for
from .proof.killing import itself_fails
from .proof.proving import TEMPLATE, Task, outcomes, tasks
from .proof.settings import SETTINGS
from .proof.windows import SEARCHES, searched
from .reference.balanced import code_bounds, paper_bounds, sides
from .reference.catalogue import REFERENCES
from .reference.tokens import tokens

PARTS = 5
PART = int(os.environ.get("MASPO_PROOF_PART", date.today().toordinal())) % PARTS
TODAY = sorted(shipped())[PART::PARTS]
CHANGED = record.changed()
QUICK = sorted({*TODAY, *CHANGED[:4]})
"""What every run has time for; the slow tests take all that has changed."""
SLOW = sorted({*TODAY, *CHANGED})


def survivors(origin: str, name: str) -> list[str]:
    """Mutants of an objective that nothing notices, and for which no reason is known."""
    found = [o for task in tasks([name], [origin]) for o in outcomes(task, (name,), known=False)]
    assert found, "there is nothing to notice"
    return [str(outcome) for outcome in found if outcome.end == "survived"]


def test_every_objective_has_a_setting_of_its_own():
    assert set(SETTINGS) == set(REFERENCES) == set(shipped())
    for name, setting in SETTINGS.items():
        assert set(setting) == set(REFERENCES[name].defaults), name


@pytest.mark.parametrize(("name", "bounds"), [("bapo", code_bounds), ("bapo_paper", paper_bounds)])
def test_the_search_for_a_bound_ends_at_each_of_its_steps(name, bounds):
    setting = SETTINGS[name]
    steps = [setting["high_start"] + step * setting["high_step"] for step in range(4)]
    for seed, factors in SEARCHES[name].items():
        found = []
        for factor in factors:
            batch = searched(seed, factor)
            found.append(
                bounds(sides(tokens({**batch, "held": batch["logp"]}, batch["advantage"])), setting)[1]
            )
        assert found == sorted(found)
        assert sorted(set(found)) == pytest.approx([*steps, setting["high_max"]])


@pytest.mark.parametrize("name", QUICK)
def test_the_unchanged_objective_passes(name):
    assert itself_fails(name) == [], f"part {PART}"


@pytest.mark.parametrize("name", QUICK)
def test_mistakes_in_the_emitted_source_are_noticed(name):
    assert survivors("source", name) == [], f"part {PART}"


@pytest.mark.parametrize("name", CHANGED[:4])
def test_mistakes_in_a_changed_spec_are_noticed(name):
    assert survivors("spec", name) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("origin", ["spec", "library"])
def test_mistakes_in_specs_and_library_are_noticed(origin, name):
    assert survivors(origin, name) == [], f"part {PART}"


@pytest.mark.slow
def test_mistakes_in_the_template_are_noticed():
    names = tuple(sorted(shipped()))
    found = [o for task in tasks(names, ["template"]) for o in outcomes(task, names, known=False)]
    assert [str(outcome) for outcome in found if outcome.end == "survived"] == []


def test_a_reason_is_for_a_mutant_that_nothing_notices():
    """A pattern so wide that it excuses what is noticed today would excuse a hole tomorrow."""
    name = TODAY[0]
    found = [o for task in tasks([name], ["source"]) for o in outcomes(task, (name,), known=True)]
    excused = [str(o) for o in found if o.end == "killed" and reason_for(str(o))]
    assert len(found) > 80 and excused == []


def test_the_template_is_the_same_everywhere():
    assert [task for task in tasks(["grpo"], ["template"]) if task == Task("template", TEMPLATE, task.detail)]


def test_the_page_is_what_was_recorded():
    assert record.PAGE.read_text() == record.written(record.PAGE.read_text(), record.read())
