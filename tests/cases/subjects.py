"""The shipped objectives, compiled once, on batches that bring whatever any of them reads."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

import maspo_dsl
from maspo_dsl.semantics.quantities import OTHER_POLICIES, TOKEN_TENSORS

from ..batches import Arrays, as_torch, others

SHIPPED = maspo_dsl.shipped()


class Result(NamedTuple):
    """A loss, and its derivative with respect to `logp`, in the shape of `logp`."""

    loss: float
    gradient: np.ndarray


# ---- objectives


@cache
def objective(name: str) -> maspo_dsl.Objective:
    return maspo_dsl.load(name)


@cache
def reads_micro(name: str) -> bool:
    """Whether it computes something within a micro-batch: the one exception to every rule about cuts."""
    statements = [
        line for line in objective(name).resolved.text.splitlines() if not line.startswith("allow ")
    ]
    return any(re.search(r"\bmicro\b", re.sub(r'"[^"]*"', "", line)) for line in statements)


def slot(name: str, word: str) -> str:
    """What the flat objective says in a slot, without layout."""
    found = re.search(rf"^{word} += (.*(?:\n  .*)*)", objective(name).resolved.text, re.MULTILINE)
    assert found, f"{name} has no {word}"
    return re.sub(r"\s+", " ", found[1])


def loss_of(name: str, **params: float) -> maspo_dsl.ObjectiveLoss:
    """A shipped objective, run eagerly."""
    return _compiled(name, "", tuple(sorted(params.items())), _mutation)


def extended(name: str, lines: str, **params: float) -> maspo_dsl.ObjectiveLoss:
    """A shipped objective with lines added, run eagerly."""
    return _compiled(name, lines, tuple(sorted(params.items())), _mutation)


def known(name: str, **params: float) -> dict[str, float]:
    """Those of the parameters that the objective has."""
    return {key: value for key, value in params.items() if key in objective(name).params}


def undivided(name: str) -> dict[str, float]:
    """The parameter that makes 1 of the constant which `reduce` divides by, if there is one."""
    return {"max_length": 1.0} if "max_length" in slot(name, "reduce") else {}


@cache
def _compiled(
    name: str, lines: str, params: tuple[tuple[str, float], ...], mutation: Callable[[str], str] | None
) -> maspo_dsl.ObjectiveLoss:
    source = maspo_dsl.parse(f"objective {name}_case extends {name}\n{lines}\n") if lines else name
    loaded = maspo_dsl.load(source, dict(params))
    loss = maspo_dsl.compile(loaded, backend="eager")
    if mutation is not None:
        namespace: dict[str, object] = {"__name__": "mutant"}
        exec(mutation(loaded.torch_source()), namespace)
        loss.module = namespace["Loss"]()
    return loss


_mutation: Callable[[str], str] | None = None


@contextmanager
def mutated(change: Callable[[str], str]) -> Iterator[None]:
    """What is compiled meanwhile is emitted with a mistake."""
    global _mutation
    _mutation = change
    try:
        yield
    finally:
        _mutation = None


# ---- batches


def completions(
    seed: int, lengths: Sequence[int], *, group: Sequence[int] | None = None, spread: float = 0.4
) -> Arrays:
    """Completions of these lengths, all tensors there are; NaN wherever nothing is trained.

    `spread` is the standard deviation of the log-ratios to the old and to the reference policy. The sampler is
    near the old policy, in every second completion very near.
    """
    random = np.random.default_rng(seed)
    rows, columns = len(lengths), max(lengths)
    old = -random.exponential(1.2, size=(rows, columns)) - 0.02
    noise = {name: random.standard_normal(old.shape) for name in ("logp", "logp_ref", "logp_rollout")}
    batch = {
        **others(seed, old.shape),
        "logp": old + spread * noise["logp"],
        "logp_old": old,
        "logp_ref": old + spread * noise["logp_ref"],
        "logp_rollout": old + np.where(np.arange(rows) % 2, 0.05, 3e-4)[:, None] * noise["logp_rollout"],
        "entropy": random.exponential(1.0, size=old.shape),
        "mask": np.arange(columns) < np.array(lengths)[:, None],
        "reward": random.normal(size=rows),
        "group": np.arange(rows) // 4 if group is None else np.asarray(group),
    }
    return trained_only(likely(batch))


def plain(log_ratio, advantage=None, *, old: float = -1.5, **more) -> Arrays:
    """All tokens trained, log-ratios `[N]` or `[N, T]`; the other policies are the old one, entropy and value 0."""
    log_ratio = np.asarray(log_ratio, dtype=float)
    log_ratio = log_ratio[:, None] if log_ratio.ndim == 1 else log_ratio
    past = np.full(log_ratio.shape, old)
    batch = {
        **{name: np.zeros(past.shape) for name in TOKEN_TENSORS},
        **{name: past.copy() for name in OTHER_POLICIES},
        "logp": past + log_ratio,
        "mask": np.ones(past.shape, dtype=bool),
    }
    if advantage is not None:
        batch["advantage"] = np.asarray(advantage, dtype=float)
    return batch | more


def likely(batch: Mapping[str, np.ndarray]) -> Arrays:
    """The batch with log-probs below 0, as those of tokens are."""
    return {
        name: np.minimum(value, -1e-3) if name.startswith("logp") else value for name, value in batch.items()
    }


def trained_only(batch: Mapping[str, np.ndarray], junk: float = np.nan) -> Arrays:
    """The batch with junk in every token tensor where the mask is false."""
    mask = batch["mask"]
    return {
        name: np.where(mask, value, junk) if name in TOKEN_TENSORS else value for name, value in batch.items()
    }


def estimated(name: str, batch: Mapping[str, np.ndarray]) -> Arrays:
    """The batch with the advantages of the objective's own estimator, as a rollout brings them to its windows."""
    advantage = loss_of(name).advantage(as_torch(batch)).numpy()
    return {**batch, "advantage": advantage}


def advantages(name: str, reward, group, mask=None, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """Advantages of completions of two tokens each, unless `mask` says otherwise.

    All policies are one, the greedy completion's reward is 0 and so is a critic's value.
    """
    mask = np.ones((len(reward), 2), dtype=bool) if mask is None else np.asarray(mask)
    rows = {"reward": np.asarray(reward, dtype=float), "reward_greedy": np.zeros(len(reward))}
    batch = {**plain(np.zeros(mask.shape)), **rows, "group": np.asarray(group), "mask": mask}
    return loss_of(name).advantage(as_torch(batch, dtype)).numpy()


# ---- running


def run(loss, batch: Arrays, denominators=None, dtype: torch.dtype = torch.float64) -> Result:
    """Loss and gradient of a batch, or of a part of the window that the denominators are of."""
    tensors = as_torch(batch, dtype)
    out = loss(tensors, denominators=denominators)
    out.loss.backward()
    return Result(out.loss.item(), tensors["logp"].grad.double().numpy())


def run_parts(loss, batch: Arrays, parts: Sequence[Sequence[int]]) -> Result:
    """The same from micro-batches, which share the denominators of their window."""
    micro_batches = [{name: value[list(rows)] for name, value in batch.items()} for rows in parts]
    denominators = loss.window([as_torch(part) for part in micro_batches])
    total, gradient = 0.0, np.full(batch["logp"].shape, np.nan)
    for rows, part in zip(parts, micro_batches, strict=True):
        found = run(loss, part, denominators)
        total += found.loss
        gradient[list(rows)] = found.gradient
    return Result(total, gradient)


def same(got, expected, rtol: float = 1e-9) -> None:
    """Equal to rounding, and not because all is 0: what is compared with nothing proves nothing."""
    got, expected = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    scale = np.abs(expected).max()
    assert np.isfinite(scale) and scale > 0
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * scale)
