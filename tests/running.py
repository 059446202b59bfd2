"""Running a shipped objective on numpy batches."""

from functools import cache

import numpy as np
import torch

import maspo_dsl

from .batches import Arrays, as_torch

NAMES = ("dapo", "grpo", "maspo")
"""The three that are run in every way; `test_objectives` runs all of them in one."""


@cache
def _compiled(name: str, params: tuple[tuple[str, float], ...]) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(name, params=dict(params), backend="eager")


def compiled(name: str, params: dict[str, float] | None = None) -> maspo_dsl.ObjectiveLoss:
    return _compiled(name, tuple(sorted((params or {}).items())))


def run(
    name: str, batch: Arrays, params=None, dtype=torch.float64, denominators=None
) -> tuple[float, np.ndarray]:
    """The loss, and its gradient with respect to `logp`."""
    tensors = as_torch(batch, dtype)
    out = compiled(name, params)(tensors, denominators=denominators)
    out.loss.backward()
    return out.loss.item(), tensors["logp"].grad.double().numpy()


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


def estimated(name: str, reward, group, mask=None) -> list[float]:
    """Advantages of completions that all have two trained tokens, unless `mask` says otherwise."""
    mask = np.ones((len(reward), 2), dtype=bool) if mask is None else mask
    batch = {"reward": np.asarray(reward, dtype=float), "group": np.asarray(group), "mask": mask}
    return compiled(name).advantage(as_torch(batch)).tolist()
