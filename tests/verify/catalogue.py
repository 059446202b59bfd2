"""Every objective that is held to the properties of `maspo_dsl.verification`: one table of specs for all of them."""

from functools import cache
from pathlib import Path

import maspo_dsl
from maspo_dsl.verification.report import Line
from maspo_dsl.verification.subject import Subject
from maspo_dsl.verification.verify import CHECKS

from ..loading import objective, with_variants
from ..proof.settings import MEAN_OF_MICRO, POOLED, SEARCHED_IN_MICRO

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "tests/specs", ROOT / "tests/verify/specs", ROOT / "examples/objectives")
FILES = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.obj"))}
BY_NAME = {check.name: check for check in CHECKS}

SPECS = with_variants(
    {name: name for name in maspo_dsl.shipped()} | {name: str(FILES[name]) for name in FILES}
)
"""What to load, by name: what ships, its variants, the examples, and what no shipped spec says."""

MICRO = MEAN_OF_MICRO | SEARCHED_IN_MICRO | {"second_moment"}
"""Objectives that say `micro`: of all, they alone may change with the cut of a window."""
UNPOOLED = POOLED | {"own"}
"""Those with a statistic of a window that several ranks cannot add up."""
DECLARED = {
    "micro-batches": MICRO,
    "ranks": MICRO | UNPOOLED,
    "on policy": {"frozen_distributions", "entropy_advantage", "pspo", "weighed_by_policy"}
    | {"cumulative_ratio", "future_kl", "declared", "turns", "luffy"},
}
"""Property -> objectives that do not have it, and say so."""


@cache
def subject(name: str) -> Subject:
    """An objective of the table, with its losses and batches, made once."""
    return Subject(objective(SPECS[name]), "eager")


def line(subject: Subject, prop: str) -> Line:
    """What is found about one property."""
    return BY_NAME[prop].line(subject)
