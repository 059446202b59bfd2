"""A parameter that is there does something."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice

import numpy as np
import pytest
import torch

import maspo_dsl

from ..batches import Arrays, as_torch
from .subjects import SHIPPED, completions, known, likely, loss_of, objective, plain


def cases() -> Iterator[object]:
    """Every parameter of every objective."""
    for name in SHIPPED:
        for key in objective(name).params:
            yield pytest.param(name, key)


BUILT_IN = 2
"""How many values are tried of a parameter for which the objective is compiled anew."""
FACTORS = (2.0, 0.5, 0.9, 1.5)
VALUES = (0.3, 0.05, 3.0, 6.0)


def other_values(name: str, key: str, base: dict[str, float]) -> Iterator[dict[str, float]]:
    """All parameters, with this one at other values that its domain allows."""
    default = maspo_dsl.load(name, base).params[key]
    for value in (*(default * factor for factor in FACTORS), *VALUES):
        try:
            changed = maspo_dsl.load(name, {**base, key: value})
        except maspo_dsl.SpecError:
            continue
        if value != default:
            yield changed.params


@cache
def rich(seed: int) -> Arrays:
    """Completions short and long, on policy and far off it, likely tokens and rare ones, sure ones and unsure ones."""
    random = np.random.default_rng(seed)
    lengths = [1, 2, 3, 5, 8, 12, 18, 24, 2, 7, 4, 30]
    batch = completions(seed, lengths, group=[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1], spread=0.5)
    rare = batch["mask"] & (random.random(batch["mask"].shape) < 0.3)
    for name in ("logp", "logp_old", "logp_ref", "logp_rollout"):
        batch[name] = np.where(rare, batch[name] - 7, batch[name])
    far = batch["mask"] & (random.random(batch["mask"].shape) < 0.3)
    batch["logp"] = np.where(far, batch["logp"] + random.normal(0, 1.5, far.shape), batch["logp"])
    batch["logp_rollout"][3] -= 0.2
    batch["logp_rollout"][6, 2:4] += 1.2 * np.array([1, -1])
    batch["logp_rollout"][7, :4] += 0.5
    batch["entropy"] = np.where(rare, 0.02 * batch["entropy"], batch["entropy"])
    return likely(batch)


def balanced(bad: float) -> Arrays:
    """Good completions of ratios from 1 to 3 beside bad ones mostly on policy: a search for bounds ends between."""
    ratio = np.stack([np.linspace(1, 3, 40), np.ones(40)])
    ratio[1, :4] = 0.4, 0.5, 0.7, 0.8
    return plain(np.log(ratio), [1.0, -bad])


@cache
def batches() -> list[Arrays]:
    """Two rollouts, and some batches that bring their advantages."""
    near = completions(43, [5, 6, 7, 8, 6, 6], spread=0.4)
    given = [{**near, "advantage": np.tile([good, -1.0], 3)} for good in (1.0, 1.17, 0.58)]
    return [rich(41), rich(42), *given, balanced(1.55), balanced(2.35)]


def outputs(loss: maspo_dsl.ObjectiveLoss, arrays: Arrays) -> list[torch.Tensor]:
    """All that an objective says of a batch: gradient, advantage, what it keeps, step and prompt."""
    batch = as_torch(arrays)
    (gradient,) = torch.autograd.grad(loss(batch).loss, batch["logp"])
    if "reward" not in batch:
        return [gradient]
    return [gradient, loss.advantage(batch), loss.keep(batch), loss.step([batch]), loss.prompt(batch)]


@cache
def ordinary(name: str, base: tuple[tuple[str, float], ...], number: int) -> list[torch.Tensor]:
    """What the objective says of one of the batches with the parameters of `base`."""
    return outputs(loss_of(name, **dict(base)), batches()[number])


@contextmanager
def at(loss: maspo_dsl.ObjectiveLoss, params: dict[str, float]) -> Iterator[None]:
    """The loss with these values for a while."""
    before = {key: float(value) for key, value in loss.params.items()}
    try:
        for key, tensor in loss.params.items():
            tensor.fill_(params[key])
        yield
    finally:
        for key, value in before.items():
            loss.params[key].fill_(value)


def moves(name: str, base: tuple[tuple[str, float], ...], params: dict[str, float]) -> bool:
    """Whether the parameters give anything else than those of `base`."""
    loss = loss_of(name, **dict(base))
    if any(key not in loss.params and value != loss.objective.params[key] for key, value in params.items()):
        loss = loss_of(name, **params)  # it is built in
    for number, arrays in enumerate(batches()):
        expected = ordinary(name, base, number)
        with at(loss, params):
            found = outputs(loss, arrays)
        if not all(torch.equal(value, usual) for value, usual in zip(found, expected, strict=True)):
            return True
    return False


def acknowledged(name: str, key: str) -> bool:
    """Whether the spec says itself that the parameter is dead, by its name."""
    allow = objective(name).resolved.flat.allows.get("dead-parameter")
    return allow is not None and re.search(rf"\b{key}\b", allow.why) is not None


def reported(name: str, key: str) -> bool:
    """Whether `check` says that the parameter is dead."""
    return any(
        f"`{key}`" in found.message for found in objective(name).warnings if found.code == "dead-parameter"
    )


@pytest.mark.parametrize(("name", "key"), list(cases()))
def test_t40_dead_option(name, key):
    """An option that is read by no path of the code: a KL weight never used, a clip never active (slime #397).

    Some other value of each parameter changes the loss, a gradient, an advantage, what is kept, or the step; or the
    checker says that none does.
    """
    base = tuple(known(name, max_length=12.0).items())
    tried = other_values(name, key, dict(base))
    if key not in loss_of(name, **dict(base)).params:
        tried = islice(tried, BUILT_IN)
    found = (moves(name, base, params) for params in tried)
    assert acknowledged(name, key) or any(found) or reported(name, key)
