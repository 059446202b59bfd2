"""Batches on which two losses are compared, one for each circumstance in which they may part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays, on_policy
from maspo_dsl.semantics.quantities import TENSORS, Quantity
from maspo_dsl.verification.batches import completions, with_advantage

# Log-ratios on both sides of every bound in use, and of small ones such as GSPO's.
_STEPS = (
    1.1e-4,
    3.5e-4,
    1.7e-3,
    0.013,
    0.06,
    0.11,
    0.17,
    0.215,
    0.26,
    0.31,
    0.4,
    0.6,
    0.85,
    1.05,
    1.3,
    1.8,
    2.6,
)
_LOG_RATIOS = np.array([*(-step for step in reversed(_STEPS)), *_STEPS])


@dataclass(frozen=True)
class Probe:
    """A batch by what it shows; `given` says whether it brings an advantage, `cut` whether it is two micro-batches."""

    name: str
    batch: Arrays
    given: bool = True
    cut: bool = False


def probes(tensors: Mapping[str, Quantity] = TENSORS, *, estimated: bool = False) -> list[Probe]:
    """The batches, the simplest first; with `estimated` none of them has an advantage: it comes from rewards."""
    many = _full_rows(completions(3, tensors, ties=False))
    many = many if estimated else with_advantage(many, 3)
    equal = {**many, "mask": np.ones_like(many["mask"])}
    far = _one_token_each(tensors)
    empty = {**many, "mask": many["mask"] & (np.arange(len(many["mask"])) != 4)[:, None]}
    if estimated:
        far = {**equal, "mask": np.arange(many["mask"].shape[1]) < np.ones((len(many["mask"]), 1))}
    found = [
        Probe("on policy", on_policy(equal, tensors)),
        Probe("completions of one token", far),
        Probe("completions of equal length", equal),
        Probe("completions of unequal length", many),
        Probe("a completion without tokens", empty),
        Probe("a window cut in two", many, cut=True),
    ]
    return [Probe(one.name, one.batch, not estimated, one.cut) for one in found]


def _full_rows(batch: Arrays) -> Arrays:
    """The batch with a token in every row, and no holes: those are their own question."""
    lengths = np.maximum(batch["mask"].sum(axis=1), 1)
    return {**batch, "mask": np.arange(batch["mask"].shape[1]) < lengths[:, None]}


def _one_token_each(tensors: Mapping[str, Quantity]) -> Arrays:
    """Every log-ratio with a good and with a bad advantage, each a completion of its own."""
    return curve(
        np.concatenate([_LOG_RATIOS, _LOG_RATIOS]), np.repeat([1.3, -0.7], len(_LOG_RATIOS)), tensors
    )


def curve(log_ratios: Array, advantages: Array, tensors: Mapping[str, Quantity] = TENSORS) -> Arrays:
    """Completions of one token of these log-ratios and advantages; everything else is as it is drawn."""
    rows = len(log_ratios)
    drawn = completions(5, tensors, ties=False)
    first = {name: value[:, :1] if value.ndim == 2 else value for name, value in drawn.items()}
    batch = {name: np.resize(value, (rows, *value.shape[1:])) for name, value in first.items()}
    old = -3.0 - 0.1 * np.arange(rows)[:, None] / rows
    batch |= {"logp_old": old, "logp": old + log_ratios[:, None], "mask": np.ones((rows, 1), dtype=bool)}
    return {**batch, "advantage": np.asarray(advantages, dtype=float)}


def rows_and_tokens(batch: Arrays, rows: Array, columns: Array) -> Arrays:
    """Some rows of a batch, and some of their tokens."""
    shape = batch["mask"].shape
    picked = {name: value[rows] for name, value in batch.items() if value.ndim and value.shape[0] == shape[0]}
    return {
        name: value[:, columns] if value.ndim == 2 and value.shape[1] == shape[1] else value
        for name, value in picked.items()
    } | {name: value for name, value in batch.items() if not value.ndim}
