"""Reductions of the oracle, in float64: one cell of values at a time, or all sequences at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.graph.elementwise import Array
from maspo_dsl.graph.nodes import Node


def statistic(node: Node, values: Array, inside: NDArray[np.bool_], parts: list[Array]) -> Array | float:
    """What a reduction gives for the values of one cell that are inside; `parts` are its further arguments."""
    chosen = values[inside]
    match node.op:
        case "sum" | "count":
            return float(chosen.sum())
        case "reduce_max":
            return float(chosen.max()) if chosen.size else 0.0
        case "reduce_min":
            return float(chosen.min()) if chosen.size else 0.0
        case "kth":
            k = int(node.attribute("k"))  # type: ignore[arg-type]
            return float(np.sort(chosen)[::-1][k - 1]) if chosen.size >= k else 0.0
        case "rank":
            return np.argsort(np.argsort(-chosen, kind="stable"), kind="stable") + 1.0
        case "pick":
            return _picked(node, chosen, *_at(inside, parts))
        case "top":
            count = max(int(float(parts[0]) * chosen.size), 1)
            return np.argsort(np.argsort(-chosen, kind="stable"), kind="stable") < count
        case "next":
            return np.append(chosen[1:], 0.0)[: chosen.size]
        case "discounted_sum":
            return _discounted(chosen, *_at(inside, parts))
        case "quantile":
            q, of, empty = parts
            kept = values[inside & np.broadcast_to(of, inside.shape).astype(bool)]
            return float(np.quantile(kept, float(q))) if kept.size else empty
    raise AssertionError(node.op)


def of_sequences(node: Node, values: Array, inside: NDArray[np.bool_]) -> Array | None:
    """What a reduction gives for each row of values `[N, T]` that are inside; None where each is a cell of its own."""
    match node.op:
        case "sum" | "count":
            return np.asarray(np.where(inside, values, 0.0).sum(axis=1))
        case "reduce_max" | "reduce_min":
            sign = 1.0 if node.op == "reduce_max" else -1.0
            largest = np.where(inside, sign * values, -np.inf).max(axis=1, initial=-np.inf)
            return np.where(inside.any(axis=1), sign * largest, 0.0)
        case "position":
            return np.where(inside, np.cumsum(inside, axis=1), 0.0)
    return None


def _at(inside: NDArray[np.bool_], parts: list[Array]) -> list[Array]:
    """What goes with each value that takes part."""
    return [np.broadcast_to(part, inside.shape)[inside] for part in parts]


def _discounted(values: Array, factor: Array) -> Array:
    """y_t = x_t + factor_t y_(t+1), from the last one back."""
    result = np.zeros(values.size)
    rest = 0.0
    for t in reversed(range(values.size)):
        rest = values[t] + (factor[t] * rest if factor[t] != 0 else 0.0)
        result[t] = rest
    return result


def _picked(node: Node, condition: Array, share: Array, key: Array) -> Array:
    """A share of the members, drawn from those that satisfy the condition by a hash of the key's float32 bits.

    Of members with equal hashes the earlier is drawn first.
    """
    seed = int(node.attribute("seed"))  # type: ignore[arg-type]
    mixed = key.astype(np.float32).view(np.int32).astype(np.int64) + 0x9E3779B9 * (seed + 1) & 0xFFFFFFFF
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed ^= mixed >> 16
    candidates = np.flatnonzero(condition)
    count = max(int(share[0] * condition.size), 1) if condition.size else 0
    drawn = np.zeros(condition.shape)
    drawn[candidates[np.argsort(mixed[candidates], kind="stable")][:count]] = 1.0
    return drawn
