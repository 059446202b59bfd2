"""Whether the batches and references of these tests would notice a mistake: each is made on purpose, once."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import Arrays, as_torch, given_advantage, only, packed, padded, ragged, rows_of, split
from .mutants import Mutant, mutants
from .reference.catalogue import REFERENCES
from .running import NAMES, tiny

PARAMS = {
    "dapo": {"eps_low": 0.15, "eps_high": 0.35, "max_length": 6, "cache": 3},
    "grpo": {"eps_low": 0.15, "eps_high": 0.35, "kl": 0.3},
    "maspo": {"sigma_base": 0.7, "alpha": 0.45, "beta_pos": 0.05, "beta_neg": 0.35},
}
HARMLESS = {
    r"min=1\)  ->": "a count of 0 divides only what no row and no token reads",
    r"where\(std > 0": "the centred reward is exactly 0 where the spread is",
    r": -1  ->  1$": "the last of two axes",
    r"masked: 0\.0  ->": "any number does where nothing is read",
    r"group_max: .*  ->  largest$|group_max: 0(\.0)?  ->  1(\.0)?$": "of no row or one, it cancels",
    r"\+ group_max|group_max: .*(->  0\.0| < 0)$": "a spread centres once more, and then equal rewards are 0",
    r"masked\(x\['logp(_old|_ref)?'\], mask\)  ->": "the bound of the log-ratio lets no gradient of NaN through",
    r"min=p\['sigma_base'\]\)  ->": "a probability is at most 1, so the width is at least sigma_base",
    r"rows_told: axis ==": "these objectives have no input of their own",
    r"max=80\)  ->|80  ->": "the exponent of a Gaussian is never positive",
}
"""Changes that change nothing, with the reason."""

Check = Callable[[torch.nn.Module], bool]


def batches() -> Iterator[Arrays]:
    """Whole windows, with what each of them is to catch."""
    yield given_advantage(0, extreme=False)
    yield given_advantage(1)
    yield given_advantage(2, token=True)
    nowhere = given_advantage(2, token=True, garbage=False)
    nowhere["advantage"] = np.where(nowhere["mask"], nowhere["advantage"], np.nan)
    yield nowhere
    yield given_advantage(3, scale=300.0, spread=1.0)
    yield ragged(4, spread=1.0)
    yield padded(ragged(5), 3)
    yield tiny([25.0, -25.0, 0.1], [-1.0, 1.0, 1.0])  # no gradient beyond the bound
    yield tiny([0.0, 0.0], [1.0, -2.0])  # on policy
    missing = ragged(6)
    missing["reward"][3], missing["mask"][3] = np.nan, False
    yield missing
    alone = rows_of(ragged(9), range(5))
    yield {**alone, "group": np.arange(5)}  # nobody to compare with


def same(got: torch.Tensor | float, expected: np.ndarray | float) -> bool:
    return bool(np.allclose(np.asarray(got), expected, rtol=1e-9, atol=1e-13))


@cache
def checks(name: str) -> list[Check]:
    """Each says whether a module does what the reference of the objective does."""
    reference, params = REFERENCES[name], PARAMS[name]

    def evaluates(batch: Arrays, loss: float, gradient: np.ndarray) -> Check:
        def check(module: torch.nn.Module) -> bool:
            tensors = as_torch(batch)
            out = module(tensors)
            out.loss.backward()
            return same(out.loss.item(), loss) and same(tensors["logp"].grad, gradient)

        return check

    found = []
    for batch in batches():
        loss, gradient = reference.loss(batch, params), reference.dloss_dlogp(batch, params)
        found.append(evaluates(batch, loss, gradient))
        flat = packed(batch)
        if "advantage" in batch:  # then it alone tells how many rows there are
            flat = {
                key: value for key, value in flat.items() if key not in ("reward", "reward_greedy", "group")
            }
        padding = np.zeros(flat["mask"].shape)
        padding[flat["mask"]] = gradient[batch["mask"]]
        found.append(evaluates(flat, loss, padding))
    empty = given_advantage(7)
    empty["mask"] = np.zeros_like(empty["mask"])
    found.append(evaluates(empty, 0.0, np.zeros(empty["mask"].shape)))
    whole = given_advantage(11, extreme=False)
    numbers = {**whole, "mask": whole["mask"].astype(int)}  # as tokenizers give them
    found.append(evaluates(numbers, reference.loss(whole, params), reference.dloss_dlogp(whole, params)))
    return [*found, _old_is_detached(name), _cut_window(name), *_estimates(name)]


def _old_is_detached(name: str) -> Check:
    """On policy, a caller may hand in `logp` itself as `logp_old`: no gradient goes that way."""
    batch = given_advantage(10, extreme=False)
    batch["logp_old"] = batch["logp"]
    gradient = REFERENCES[name].dloss_dlogp(batch, PARAMS[name])

    def check(module: torch.nn.Module) -> bool:
        tensors = as_torch(batch)
        module({**tensors, "logp_old": tensors["logp"]}).loss.backward()
        return same(tensors["logp"].grad, gradient)

    return check


def _cut_window(name: str) -> Check:
    """The window of a micro-batch and of an empty one: denominators are the window's, and never 0."""
    batch = given_advantage(8)
    gradient = REFERENCES[name].dloss_dlogp(batch, PARAMS[name])
    parts = [rows_of(batch, rows) for rows in split(batch, parts=3, seed=0)]

    def check(module: torch.nn.Module) -> bool:
        denominators = module.window([as_torch(part) for part in parts])
        tensors = as_torch(parts[0])
        module(tensors, denominators=denominators).loss.backward()
        return same(tensors["logp"].grad, gradient[split(batch, parts=3, seed=0)[0]])

    return check


def _estimates(name: str) -> Iterator[Check]:
    """Advantages, of ragged groups and of groups that must give exactly 0; and which rows are kept."""
    reference, params = REFERENCES[name], PARAMS[name]
    for seed in range(3):
        batch = ragged(seed)
        expected = reference.advantage(batch, params)

        def check(module: torch.nn.Module, batch: Arrays = batch, expected: np.ndarray = expected) -> bool:
            tensors = as_torch(only(batch, ["reward", "group", "mask"]))
            return same(module.advantage(tensors), expected)

        yield check

    yield _equal_rewards
    yield _token_rewards
    if name == "dapo":

        def keeps(module: torch.nn.Module) -> bool:
            correct = np.array([1, 0, 1, 1, 0, 0, 1, 0])
            group = np.array([9, 9, 4, 4, 1, 1, 2, 2])
            batch = {"reward": correct - 0.5, "group": group, "mask": np.ones((8, 2), dtype=bool)}
            return module.keep(as_torch(batch)).tolist() == reference.kept(batch).tolist()

        yield keeps


def _equal_rewards(module: torch.nn.Module) -> bool:
    """Groups of many sizes, each of one reward: exactly 0, whatever the rounding of their mean."""
    sizes = np.array([3, 5, 6, 7, 10, 11, 13, 16])
    rewards = np.repeat([0.1, 0.2, 0.3, 0.35, 0.7, 1 / 3, 0.95, 1e3 / 7], sizes)
    batch = {"reward": rewards, "group": np.repeat(np.arange(8), sizes), "mask": np.ones((71, 2), dtype=bool)}
    return not any(module.advantage(as_torch(batch, dtype)).any() for dtype in (torch.float32, torch.float64))


def _token_rewards(module: torch.nn.Module) -> bool:
    """A reward a token is the reward of their sum; off the mask it does not exist."""
    rewards = np.array([[0.5, 0.25, np.nan], [1.0, -2.0, 0.5], [0.25, np.nan, np.nan]])
    batch = {"reward": rewards, "group": np.zeros(3, dtype=int), "mask": ~np.isnan(rewards)}
    if "max_length" in module.params:
        batch["mask"] = np.array([[True, True, False], [True, True, True], [True, False, False]])
    rows = {**batch, "reward": np.nansum(rewards, axis=1)}
    expected = module.advantage(as_torch(rows)).numpy()
    sequence, column = (~np.isnan(rewards)).nonzero()
    flat = {**batch, "sequence": sequence} | {key: batch[key][sequence, column] for key in ("reward", "mask")}
    return all(same(module.advantage(as_torch(form)), expected) for form in (batch, flat))


@cache
def emitted(name: str) -> tuple[str, CodeType]:
    source = maspo_dsl.load(name, params=PARAMS[name]).torch_source()
    return source, compile(source, f"{name}.py", "exec")


def module_of(name: str, mutant: Mutant | None = None) -> torch.nn.Module:
    """The emitted `Loss`, with one of its functions replaced by a mutant."""
    namespace: dict[str, object] = {"__name__": "emitted"}
    exec(emitted(name)[1], namespace)
    if mutant is not None:
        exec(mutant.source, namespace)
    return namespace["Loss"]()


def survives(name: str, mutant: Mutant) -> bool:
    try:
        module = module_of(name, mutant)
        return all(check(module) for check in checks(name))
    except Exception:
        return False


@pytest.mark.parametrize("name", NAMES)
def test_the_emitted_file_itself_passes(name):
    module = module_of(name)
    assert [index for index, check in enumerate(checks(name)) if not check(module)] == []
    assert module_of(name) is not module


@pytest.mark.parametrize("name", NAMES)
def test_every_mistake_is_noticed(name):
    found = list(mutants(emitted(name)[0]))
    assert len(found) > 80
    alive = [str(mutant) for mutant in found if survives(name, mutant)]
    assert [change for change in alive if not any(re.search(known, change) for known in HARMLESS)] == []
