"""Objectives without a policy term: log-ratios of whole completions are fitted to rewards, or to labels.

Sources: GVPO arXiv:2504.19599 and verl-recipe 48ea0a7; A*-PO arXiv:2505.20686 as TRL 1.16.0 has it; OAPL
arXiv:2602.19362; DVO as AIFrameResearch/SPO b9fc6a2 has it; FlowRL arXiv:2509.15207 and verl-recipe 48ea0a7; Target
Policy Optimization arXiv:2604.06159; REAL arXiv:2602.05630 as ms-swift 3602360a5 has it.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from .estimators import centred, counted, group_relative, groups, mean, standardized, within_groups
from .gates import log_products
from .reference import Reference
from .tokens import Batch, Params, bounded, slope

Fitted = tuple[float, np.ndarray]


def columns(batch: Batch, row: int) -> list[int]:
    return [int(column) for column in np.flatnonzero(batch["mask"][row])]


def apart(batch: Batch, row: int, other: str) -> float:
    """Sum over a completion of log(policy / other)."""
    return math.fsum(
        bounded(float(batch["logp"][row, c] - batch[other][row, c])) for c in columns(batch, row)
    )


def importance(batch: Batch, row: int, cap: float) -> float:
    """The product of the ratios of a completion up to a cap, without gradient."""
    return min(math.exp(bounded(log_products(batch)[row])), cap)


def push(gradient: np.ndarray, batch: Batch, row: int, other: str, by: float) -> None:
    """Adds `by` times the slope of `apart` to the gradient of the row's tokens."""
    for c in columns(batch, row):
        gradient[row, c] += by * slope(float(batch["logp"][row, c] - batch[other][row, c]))


def whole(advantage: np.ndarray, batch: Batch, row: int) -> float:
    """The advantage of a completion; of given advantages of tokens, their mean."""
    if advantage.ndim == 1:
        return float(advantage[row])
    return mean([float(advantage[row, c]) for c in columns(batch, row)])


def within_variance(batch: Batch, params: Params, advantage: np.ndarray) -> Fitted:
    """GVPO: (beta s - its mean in the group - A)^2 / 2 (n - 1), summed over the group, a mean over groups."""
    gradient, total, prompts = np.zeros(batch["mask"].shape), 0.0, list(groups(batch))
    for rows in prompts:
        scale = 1 / (max(len(rows) - 1, 1) * len(prompts))
        held = mean([apart({**batch, "logp": batch["held"]}, row, "logp_old") for row in rows])
        for row in rows:
            implicit = params["beta"] * apart(batch, row, "logp_old")
            residual = implicit - params["beta"] * held - whole(advantage, batch, row)
            total += scale * residual**2 / 2
            push(gradient, batch, row, "logp_old", scale * residual * params["beta"])
    return total, gradient


def regressed(other: str) -> Callable[[Batch, Params, np.ndarray], Fitted]:
    """A*-PO to the reference, OAPL to the sampler: mean of (beta s - A)^2 over completions."""

    def evaluate(batch: Batch, params: Params, advantage: np.ndarray) -> Fitted:
        gradient, total, rows = np.zeros(batch["mask"].shape), 0.0, counted(batch)
        for row in rows:
            residual = params["beta"] * apart(batch, row, other) - whole(advantage, batch, row)
            total += residual**2 / len(rows)
            push(gradient, batch, row, other, 2 * residual * params["beta"] / len(rows))
        return total, gradient

    return evaluate


def weighed(batch: Batch, params: Params, advantage: np.ndarray) -> Fitted:
    """DVO: the same with half the square, weighed by the product of the ratios up to a cap."""
    gradient, total, rows = np.zeros(batch["mask"].shape), 0.0, counted(batch)
    for row in rows:
        weight = importance(batch, row, params["cap"]) / len(rows)
        residual = params["beta"] * apart(batch, row, "logp_ref") - whole(advantage, batch, row)
        total += weight * residual**2 / 2
        push(gradient, batch, row, "logp_ref", weight * residual * params["beta"])
    return total, gradient


def balanced(batch: Batch, params: Params, advantage: np.ndarray) -> Fitted:
    """FlowRL: (log Z + mean log(policy / reference) - beta A)^2, weighed by the product of the ratios up to a cap."""
    gradient, total, rows = np.zeros(batch["mask"].shape), 0.0, counted(batch)
    for row in rows:
        weight, length = importance(batch, row, params["cap"]) / len(rows), len(columns(batch, row))
        target = params["beta"] * whole(advantage, batch, row)
        residual = float(batch["log_z"][row]) + apart(batch, row, "logp_ref") / length - target
        total += weight * residual**2
        push(gradient, batch, row, "logp_ref", 2 * weight * residual / length)
    return total, gradient


def softmax(values: Sequence[float]) -> tuple[list[float], float]:
    """The shares, and the log of the sum of exponentials."""
    largest = max(values)
    total = math.fsum(math.exp(value - largest) for value in values)
    return [math.exp(value - largest) / total for value in values], largest + math.log(total)


def towards_target(batch: Batch, params: Params, advantage: np.ndarray) -> Fitted:
    """Target policy: cross-entropy of the group's softmax of log(policy) to that of log(old) + A / temperature."""
    gradient, total, prompts = np.zeros(batch["mask"].shape), 0.0, list(groups(batch))
    for rows in prompts:
        old, new = (
            [math.fsum(float(batch[name][row, c]) for c in columns(batch, row)) for row in rows]
            for name in ("logp_old", "logp")
        )
        tilts = [whole(advantage, batch, row) / params["temperature"] for row in rows]
        target, _ = softmax([a + b for a, b in zip(old, tilts, strict=True)])
        chance, log_total = softmax(new)
        for row, q, p, log_p in zip(rows, target, chance, new, strict=True):
            total += q * (log_total - log_p) / len(prompts)
            gradient[row, columns(batch, row)] = (p - q) / len(prompts)
    return total, gradient


def labelled(batch: Batch, params: Params, advantage: np.ndarray) -> Fitted:
    """REAL: log(1 + sum exp(s)) over bad completions and log(1 + sum exp(-s)) over good ones, of mixed groups."""
    gradient, total, prompts = np.zeros(batch["mask"].shape), 0.0, list(groups(batch))
    for rows in prompts:
        good = [row for row in rows if whole(advantage, batch, row) > 0]
        bad = [row for row in rows if row not in good]
        if not (good and bad):
            continue
        for side, sign in ((good, -1), (bad, 1)):
            lengths = [len(columns(batch, row)) for row in side]
            scores = [
                sign * apart(batch, row, "logp_old") / length / params["tau"]
                for row, length in zip(side, lengths, strict=True)
            ]
            shares, log_total = softmax([0.0, *scores])
            total += log_total / len(prompts)
            for row, length, share in zip(side, lengths, shares[1:], strict=True):
                push(gradient, batch, row, "logp_old", sign * share / length / params["tau"] / len(prompts))
    return total, gradient


def above_optimal(batch: Batch, _: Params) -> np.ndarray:
    """The reward minus a value of the prompt that was found before."""
    result = np.zeros(len(batch["mask"]))
    for row in counted(batch):
        result[row] = batch["reward"][row] - batch["optimal_value"][row]
    return result


def above_soft_maximum(batch: Batch, params: Params) -> np.ndarray:
    """The reward minus beta_value log mean exp(reward / beta_value) of the group."""
    result, heat = np.zeros(len(batch["mask"])), params["beta_value"]
    for rows in groups(batch):
        _, log_total = softmax([float(batch["reward"][row]) / heat for row in rows])
        for row in rows:
            result[row] = batch["reward"][row] - heat * (log_total - math.log(len(rows)))
    return result


REFERENCES = {
    "gvpo": Reference({"beta": 0.1}, within_groups(centred), within_variance, tries=({"beta": 2.0},)),
    "a2po": Reference({"beta": 0.001}, above_optimal, regressed("logp_ref"), tries=({"beta": 0.7},)),
    "oapl": Reference(
        {"beta_value": 1, "beta": 0.001},
        above_soft_maximum,
        regressed("logp_rollout"),
        tries=({"beta_value": 0.1, "beta": 0.5}, {"beta_value": 30.0}),
    ),
    "dvo": Reference(
        {"beta": 0.1, "cap": 10}, group_relative, weighed, tries=({"beta": 2.0, "cap": 1.1}, {"cap": 1e9})
    ),
    "flowrl": Reference(
        {"beta": 15, "cap": 10}, group_relative, balanced, tries=({"beta": 0.3, "cap": 1.1}, {"cap": 1e9})
    ),
    "target_po": Reference(
        {"temperature": 1},
        within_groups(lambda rewards: standardized(rewards, 1e-8, ddof=0)),
        towards_target,
        tries=({"temperature": 0.5}, {"temperature": 5.0}),
    ),
    "real": Reference({"tau": 0.5}, group_relative, labelled, tries=({"tau": 0.05}, {"tau": 4.0})),
}
