"""Running a shipped objective on numpy batches, and what its text says."""

import re
from functools import cache

import numpy as np
import torch

import maspo_dsl

from .batches import Arrays, as_torch
from .loading import objective

NAMES = ("dapo", "grpo", "maspo")
"""The three that are run in every way; `test_objectives` runs all of them in one."""
SHIPPED = maspo_dsl.shipped()


def slot(name: str, word: str) -> str:
    """What the flat objective says in a slot, without layout."""
    found = re.search(rf"^{word} += (.*(?:\n  .*)*)", objective(name).resolved.text, re.MULTILINE)
    assert found, f"{name} has no {word}"
    return re.sub(r"\s+", " ", found[1])


def known(name: str, **params: float) -> dict[str, float]:
    """Those of the parameters that the objective has."""
    return {key: value for key, value in params.items() if key in objective(name).params}


def undivided(name: str) -> dict[str, float]:
    """The parameter that makes 1 of the constant which `reduce` divides by, if there is one."""
    return {"max_length": 1.0} if "max_length" in slot(name, "reduce") else {}


@cache
def _compiled(name: str, params: tuple[tuple[str, float], ...]) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(name, params=dict(params), backend="eager")


def compiled(name: str, params: dict[str, float] | None = None) -> maspo_dsl.ObjectiveLoss:
    return _compiled(name, tuple(sorted((params or {}).items())))


def run(
    name: str, batch: Arrays, params=None, dtype=torch.float64, denominators=None
) -> tuple[float, np.ndarray]:
    """The loss, and its gradient with respect to `logp`."""
    return run_loss(compiled(name, params), batch, denominators, dtype)


def run_loss(loss, batch: Arrays, denominators=None, dtype=torch.float64) -> tuple[float, np.ndarray]:
    """Loss and gradient of a batch, or of a part of the window that the denominators are of."""
    tensors = as_torch(batch, dtype)
    out = loss(tensors, denominators=denominators)
    out.loss.backward()
    return out.loss.item(), tensors["logp"].grad.double().numpy()


def same(got, expected, rtol: float = 1e-9) -> None:
    """Equal to rounding, and not because all is 0: what is compared with nothing proves nothing."""
    got, expected = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    scale = np.abs(expected).max()
    assert np.isfinite(scale) and scale > 0
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * scale)


def tiny(log_ratio, advantage, **more) -> Arrays:
    """One token a row, all trained: log-ratios `[N]` and advantages `[N]`."""
    log_ratio = np.atleast_1d(np.asarray(log_ratio, dtype=float))
    old = np.full((len(log_ratio), 1), -1.5)
    return {
        "logp": old + log_ratio[:, None],
        "logp_old": old,
        "logp_ref": old.copy(),
        "mask": np.ones(old.shape, dtype=bool),
        "advantage": np.atleast_1d(np.asarray(advantage, dtype=float)),
        **more,
    }


def plain(log_ratio, advantage, *, old: float = -1.5, **more) -> Arrays:
    """All tokens trained, log-ratios `[N]` or `[N, T]`; the other policies are the old one, entropy and value 0."""
    log_ratio = np.asarray(log_ratio, dtype=float)
    log_ratio = log_ratio[:, None] if log_ratio.ndim == 1 else log_ratio
    past = np.full(log_ratio.shape, old)
    batch = {
        "logp": past + log_ratio,
        **{name: past.copy() for name in ("logp_old", "logp_ref", "logp_rollout", "logp_teacher")},
        "entropy": np.zeros(past.shape),
        "collision_old": np.zeros(past.shape),
        "value": np.zeros(past.shape),
        "mask": np.ones(past.shape, dtype=bool),
        "expert": np.zeros(len(past), dtype=bool),
        "advantage": np.asarray(advantage, dtype=float),
    }
    return batch | more


def estimated(name: str, reward, group, mask=None) -> list[float]:
    """Advantages of completions that all have two trained tokens, unless `mask` says otherwise."""
    mask = np.ones((len(reward), 2), dtype=bool) if mask is None else mask
    batch = {"reward": np.asarray(reward, dtype=float), "group": np.asarray(group), "mask": mask}
    return compiled(name).advantage(as_torch(batch)).tolist()
