"""A parameter that is there does something."""

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.verification.batches import Arrays

from .running import SHIPPED, known, objective, plain
from .verify.catalogue import subject

FACTORS, VALUES = (2.0, 0.5, 0.9, 1.5), (0.3, 0.05, 3.0, 6.0)
OUTPUTS = ("loss", "advantage", "keep", "step", "prompt")


@cache
def short(name: str) -> maspo_dsl.Objective:
    """The objective where completions come near the limit of their length, and M2PO leaves some to its cap."""
    return maspo_dsl.load(name, near(name))


def near(name: str) -> dict[str, float]:
    return known(name, max_length=7.0) | ({"tau": 6.0} if name == "m2po" else {})


def others(name: str, key: str) -> Iterator[maspo_dsl.Objective]:
    """The objective with other values of a parameter that its domain allows."""
    default = short(name).params[key]
    for value in (*(default * factor for factor in FACTORS), *VALUES):
        try:
            yield maspo_dsl.load(name, near(name) | {key: value})
        except maspo_dsl.SpecError:
            continue


def balanced(bad: float) -> Arrays:
    """Good completions of ratios from 1 to 3 beside bad ones mostly on policy: a search for bounds ends between."""
    ratio = np.stack([np.linspace(1, 3, 40), np.ones(40)])
    ratio[1, :4] = 0.4, 0.5, 0.7, 0.8
    return plain(np.log(ratio), [1.0, -bad])


def batches(name: str) -> list[Arrays]:
    found = [batch for seed in range(3) for _, batch in subject(name).batches(seed)]
    near = 0.4 * np.random.default_rng(43).standard_normal((6, 7))
    given = [plain(near, np.tile([good, -1.0], 3)) for good in (1.0, 1.17, 0.58)]
    given += [balanced(1.55), balanced(2.35)]
    return [*found, *(batch | {"correct": np.arange(len(batch["mask"])) % 2 == 0} for batch in given)]


def outputs(one: maspo_dsl.Objective, batch: Arrays) -> list[np.ndarray]:
    """All that an objective says of a batch."""
    oracle = Interpretation(one.graph, batch)
    memories = [name for name in one.graph.outputs if name.startswith("memory:")]
    names = (*OUTPUTS, *memories) if "reward" in batch else OUTPUTS[:1]
    return [oracle.gradient("loss"), *(oracle.output(name) for name in names if name in one.graph.outputs)]


@cache
def usual(name: str, number: int) -> list[np.ndarray]:
    return outputs(short(name), batches(name)[number])


def moves(name: str, other: maspo_dsl.Objective) -> bool:
    """Whether it says anything else than the objective with its defaults."""
    for number, batch in enumerate(batches(name)):
        pairs = zip(outputs(other, batch), usual(name, number), strict=True)
        if not all(np.array_equal(found, before) for found, before in pairs):
            return True
    return False


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in SHIPPED for key in objective(name).params])
def test_every_parameter_does_something(name, key):
    """An option that is read by no path of the code: a KL weight never used, a clip never active (slime #397).

    Some other value of it changes the loss, a gradient, an advantage, what is kept, or the step; or the spec says
    itself, by its name, that none does.
    """
    allow = objective(name).resolved.flat.allows.get("dead-parameter")
    declared = allow is not None and re.search(rf"\b{key}\b", allow.why) is not None
    assert declared != any(moves(name, other) for other in others(name, key))
