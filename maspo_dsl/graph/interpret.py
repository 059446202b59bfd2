"""The oracle: a graph evaluated in float64 with numpy, and its derivative by the chain rule, node by node.

It shares no arithmetic with the emitter; every back end is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from maspo_dsl.graph.elementwise import SLOPES, VALUES, Array
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.reductions import of_sequences, statistic
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.semantics.types import Axis, Scope

# Reductions that give every member a value of its own.
_ELEMENTS = frozenset({"rank", "pick", "top", "position", "next", "discounted_sum"})
# Reductions of the mask alone.
_OF_MASK = frozenset({"count", "position"})


class Interpretation:
    """Values of a graph's nodes on one padded batch `[N, T]`, and derivatives of its outputs.

    `batch` holds the tensors of DESIGN's batch as arrays; `denominators` the window's statistics, this batch's own
    where None. `params` replaces values of parameters. `frozen` holds values of nodes, by place, that are taken as
    they are: with those that no gradient passes frozen, a difference quotient is what the gradient should be.
    """

    def __init__(
        self,
        graph: Graph,
        batch: Mapping[str, ArrayLike],
        *,
        params: Mapping[str, float] | None = None,
        denominators: Mapping[str, float] | None = None,
        frozen: Mapping[int, Array] | None = None,
    ) -> None:
        self.graph = graph
        self.params = dict(params or {})
        self.batch = _prepared(batch)
        statistics = window_statistics(graph)
        given = denominators or {}
        self.given = {place: float(given[key]) for key, place in statistics.items() if key in given}
        self.values: dict[int, Array] = dict(frozen or {})
        self.candidates: dict[int, Array] = {}
        if "advantage" not in self.batch and "reward" in self.batch:
            self._set_advantage(self.output("advantage"))
        elif "advantage" in self.batch:
            self._set_advantage(self.batch["advantage"])

    def _set_advantage(self, advantage: Array) -> None:
        self.batch["advantage"] = advantage[:, None] if advantage.ndim == 1 else advantage
        if advantage.ndim == 1:
            self.batch["advantage_rows"] = advantage

    def output(self, name: str) -> Array:
        """Value of an output: 0-d, `[N]`, `[N, T]` or `[N, 1]`."""
        with np.errstate(all="ignore"):
            for place in self.graph.reachable([name]):
                if place not in self.values and not self.graph.candidates[place]:
                    self.values[place] = self._evaluate(place)
        return self.values[self.graph.outputs[name]]

    def gradient(self, name: str, tensor: str = "logp") -> Array:
        """Derivative of a scalar output with respect to an input tensor, `[N, T]`."""
        self.output(name)
        shape = self.batch["mask"].shape
        total = np.zeros(shape)
        adjoints = {self.graph.outputs[name]: np.ones(())}
        with np.errstate(all="ignore"):
            for place in reversed(self.graph.reachable([name])):
                node = self.graph.nodes[place]
                if place not in adjoints or not node.live:
                    continue
                if node.op == "input" and node.attribute("name") == tensor:
                    total = total + np.broadcast_to(adjoints[place], shape)
                self._push(node, place, adjoints)
        return np.where(self.batch["mask"] != 0, total, 0.0)

    # ---- forward

    def _evaluate(self, place: int) -> Array:
        node = self.graph.nodes[place]
        if place in self.given:
            return np.asarray(self.given[place])
        if node.op == "least":
            return self._least(place, node)
        args = [self.values[argument] for argument in node.args]
        if (elementwise := VALUES.get(node.op)) is not None:
            return np.asarray(elementwise(*args))
        match node.op:
            case "input":
                return self._input(str(node.attribute("name")))
            case "const":
                return np.asarray(bool(node.value) if node.is_bool else node.value)
            case "param":
                return np.asarray(self.params.get(str(node.attribute("name")), node.value))
            case "bound":
                low, high = node.attribute("low"), node.attribute("high")
                return np.asarray(np.clip(args[0], float(low), float(high)))  # type: ignore[arg-type]
            case "candidate":
                return self.candidates[node.level]
        return self._reduce(node, args)

    def _least(self, place: int, node: Node) -> Array:
        """The first candidate for which the condition holds, for each element; infinity where none does."""
        low, step, count = (float(str(node.attribute(name))) for name in ("low", "step", "count"))
        body = self.graph.bodies[place]
        found = np.asarray(np.inf)
        for index in range(int(count)):
            candidate = self.candidates[node.level] = np.asarray(low + index * step)
            for inner in body:
                self.values[inner] = self._evaluate(inner)
            holds = self.values[node.args[0]].astype(bool)
            found = np.where(np.isinf(found) & holds, candidate, found)
            if np.isfinite(found).all():
                break
        for inner in body:
            self.values.pop(inner, None)
        return found

    def _input(self, name: str) -> Array:
        if name not in self.batch:
            raise KeyError(f"the graph reads `{name}`; the batch does not have it")
        return self.batch[name]

    def _reduce(self, node: Node, args: list[Array]) -> Array:
        of_mask = node.op in _OF_MASK
        member = args[0] if of_mask else args[1]
        values = np.ones(member.shape) if of_mask else np.broadcast_to(args[0], member.shape)
        parts = [np.asarray(part, dtype=float) for part in args[2:]]
        if node.scope is Scope.SEQUENCE:
            found = of_sequences(node, values, member.astype(bool))
            if found is not None:
                return found
        out = np.zeros(
            member.shape if node.op in _ELEMENTS else _result_shape(node, self.batch["mask"].shape[0])
        )
        for cell in self._cells(node):
            inside = member[cell].astype(bool)
            here = [
                part if part.ndim == 0 else np.broadcast_to(part, member.shape)[cell] for part in parts[:2]
            ]
            here += [np.broadcast_to(part, out.shape)[cell] for part in parts[2:]]
            result = statistic(node, values[cell], inside, here)
            if node.op in _ELEMENTS:
                there = out[cell]
                there[inside] = result
                out[cell] = there
            else:
                out[cell] = result
        return out

    def _cells(self, node: Node) -> list[Any]:
        """What is reduced together, as indices of rows: values are taken from there, and the result goes there."""
        if node.scope is Scope.SEQUENCE:
            return list(range(self.batch["mask"].shape[0]))
        if node.scope is Scope.GROUP:
            group = self.batch["group"]
            return [group == each for each in np.unique(group)]
        return [()]

    # ---- backward

    def _push(self, node: Node, place: int, adjoints: dict[int, Array]) -> None:
        incoming = adjoints[place]
        args = [self.values[argument] for argument in node.args]
        slopes = self._slopes(node, place, args, incoming)
        for argument, slope in zip(node.args, slopes, strict=False):
            if self.graph.nodes[argument].live:
                shaped = _unbroadcast(np.asarray(slope, dtype=float), self.values[argument].shape)
                adjoints[argument] = adjoints.get(argument, np.zeros(())) + shaped

    def _slopes(self, node: Node, place: int, args: list[Array], incoming: Array) -> list[ArrayLike]:
        """Derivative of the output with respect to each argument."""
        match node.op:
            case "input" | "detach":
                return []
            case "select":
                condition = args[0].astype(bool)
                return [0.0, np.where(condition, incoming, 0.0), np.where(condition, 0.0, incoming)]
            case "bound":
                low, high = float(node.attribute("low")), float(node.attribute("high"))  # type: ignore[arg-type]
                return [np.where((args[0] >= low) & (args[0] <= high), incoming, 0.0)]
            case "min" | "max":
                return self._choice_slopes(node, args, incoming)
            case "expand":
                return [np.broadcast_to(incoming, (args[0].shape[0], incoming.shape[-1])).sum(axis=1)]
            case "sum":
                return [self._sum_slope(node, args, incoming)]
        slopes = SLOPES[node.op](self.values[place], *args)
        return [incoming * np.asarray(slope) for slope in slopes]

    def _choice_slopes(self, node: Node, args: list[Array], incoming: Array) -> list[ArrayLike]:
        """A tie goes to the live side: at its own bound a ratio still learns."""
        first_live = self.graph.nodes[node.args[0]].live
        better = np.less if node.op == "min" else np.greater
        first = better(args[0], args[1]) | ((args[0] == args[1]) & first_live)
        return [np.where(first, incoming, 0.0), np.where(first, 0.0, incoming)]

    def _sum_slope(self, node: Node, args: list[Array], incoming: Array) -> Array:
        member = args[1].astype(bool)
        if node.scope is Scope.SEQUENCE:
            spread = incoming[:, None]
        elif node.scope is Scope.GROUP:
            group = self.batch["group"]
            spread = np.array([incoming[group == g].sum() for g in group])
        else:
            spread = incoming
        return np.where(member, np.broadcast_to(spread, member.shape), 0.0)


def _result_shape(node: Node, rows: int) -> tuple[int, ...]:
    return () if node.axis is Axis.SCALAR else (rows,)


def _unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient summed over the axes along which its value was repeated."""
    while gradient.ndim > len(shape):
        gradient = gradient.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and gradient.shape[axis] != 1:
            gradient = gradient.sum(axis=axis, keepdims=True)
    return np.broadcast_to(gradient, shape)


def _prepared(batch: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The batch as float64 arrays: nothing at untrained tokens is seen, rows without a reward are not trained."""
    arrays = {name: np.asarray(value) for name, value in batch.items()}
    mask: Array = arrays["mask"].astype(bool)
    reward = arrays.get("reward")
    if reward is not None:
        reward = np.asarray(reward, dtype=float)
        if reward.ndim == 2:
            reward = np.where(mask, reward, 0.0).sum(axis=1)
        mask = np.logical_and(mask, ~np.isnan(reward)[:, None])
    prepared: dict[str, Array] = {}
    for name, value in arrays.items():
        if value.shape == mask.shape and name != "mask":
            prepared[name] = np.where(mask, value.astype(float), 0.0)
        else:
            prepared[name] = value
    if reward is not None:
        prepared["reward"] = reward
        prepared.setdefault("correct", reward > 0)
    prepared["mask"] = mask
    prepared["present"] = np.asarray(mask.any(axis=1))
    if "group" in arrays:
        prepared["group"] = arrays["group"]
    return prepared
