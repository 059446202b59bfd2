"""The oracle: a graph evaluated in float64 with numpy, and its derivative by the chain rule, node by node.

It shares no arithmetic with the emitter; every back end is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.segments import Segments
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.semantics.operations import OPERATIONS, Array
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.types import Axis


class Interpretation:
    """Values of a graph's nodes on one padded batch `[N, T]`, and derivatives of its outputs.

    `batch` holds the tensors of a batch as arrays; `denominators` the window's statistics, this batch's own
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
        self.batch = _prepared(
            batch
            if graph.reads_reward
            else {name: value for name, value in batch.items() if name != "reward"}
        )
        statistics = window_statistics(graph)
        given = denominators or {}
        self.given = {place: float(given[key]) for key, place in statistics.items() if key in given}
        self.values: dict[int, Array] = dict(frozen or {})
        self.candidates: dict[int, Array] = {}
        self._cells: dict[tuple[Scope, Axis], Segments] = {}
        if "advantage" in self.batch:
            self._set_advantage(self.batch["advantage"])
        elif set(graph.inputs(["advantage"])) <= set(self.batch):
            self._set_advantage(self.output("advantage"))

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
        """Derivative of a scalar output with respect to an input tensor, in its shape: `[N, T]` or `[N]`."""
        shape = self.batch[tensor if tensor in self.graph.own_live else "mask"].shape
        total = np.zeros(shape)
        for place, adjoint in self.adjoints(name).items():
            node = self.graph.nodes[place]
            if node.op == "input" and node.attribute("name") == tensor:
                total = total + np.broadcast_to(adjoint, shape)
        trained = self.batch["mask" if len(shape) == 2 else "present"]
        return np.where(trained != 0, total, 0.0)

    def adjoints(self, name: str) -> dict[int, Array]:
        """Derivative of an output with respect to every live node that it depends on, by place."""
        found = {self.graph.outputs[name]: np.ones_like(self.output(name), dtype=float)}
        with np.errstate(all="ignore"):
            for place in reversed(self.graph.reachable([name])):
                if place in found and self.graph.nodes[place].live:
                    self._push(place, found)
        return found

    # ---- forward

    def _evaluate(self, place: int) -> Array:
        node = self.graph.nodes[place]
        if place in self.given:
            return np.asarray(self.given[place])
        if node.op == "least":
            return self._least(place, node)
        args = [self.values[argument] for argument in node.args]
        if (operation := OPERATIONS.get(node.op)) is not None:
            return np.asarray(operation.value(*args))
        match node.op:
            case "input":
                return self._input(node)
            case "const":
                return np.asarray(bool(node.value) if node.is_bool else node.value)
            case "param":
                return np.asarray(self.params.get(str(node.attribute("name")), node.value))
            case "bound":
                return np.asarray(np.clip(args[0], node.number("low"), node.number("high")))
            case "candidate":
                return self.candidates[node.level]
            case "expand":
                return self._expanded(args[0])
        return self._reduce(node, args)

    def _least(self, place: int, node: Node) -> Array:
        """The first candidate for which the condition holds, for each element; infinity where none does."""
        low, step, count = (node.number(name) for name in ("low", "step", "count"))
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

    def _input(self, node: Node) -> Array:
        name = str(node.attribute("name"))
        if name not in self.batch:
            raise KeyError(f"the graph reads `{name}`; the batch does not have it")
        return as_number(self.batch[name])

    def _expanded(self, value: Array) -> Array:
        return value[:, None]

    def _reduce(self, node: Node, args: list[Array]) -> Array:
        row = REDUCTIONS[node.op]
        cells, arguments = self._in_cells(node, args)
        numbers = {name: node.number(name) for name in row.attributes}
        found = np.asarray(row.statistic(*arguments, **numbers))
        return cells.values(found) if row.members else np.asarray(found[cells.owner])

    def _in_cells(self, node: Node, args: list[Array]) -> tuple[Segments, list[Array]]:
        """The cells of a reduction, and in them its values, whether each takes part, and its further arguments."""
        row = REDUCTIONS[node.op]
        of_mask = row.values == "mask"
        member = args[0] if of_mask else args[1]
        cells = self._segments(node, member)
        inside = cells.rows(member.astype(bool))
        values = inside.astype(float) if of_mask else cells.rows(args[0])
        further = [
            cells.rows(value) if argument.by_value else cells.of_cells(value)
            for argument, value in zip(row.operands, args[2:], strict=True)
        ]
        return cells, [values, inside, *further]

    def _segments(self, node: Node, member: Array) -> Segments:
        """The cells of a reduction's scope, of what takes part in it."""
        axis = Axis.TOKEN if member.ndim == 2 else Axis.SEQUENCE
        key = node.within, axis
        if key not in self._cells:
            self._cells[key] = self._made_segments(node.within, member.shape)
        return self._cells[key]

    def _made_segments(self, scope: Scope, shape: tuple[int, ...]) -> Segments:
        if not scope.keys:
            return Segments(np.zeros(shape, dtype=int), 1, np.zeros((), dtype=int))
        ids = [self._ids(key) for key in scope.keys]
        if scope.axis is Axis.CELL:
            columns = (one if one.ndim == 2 else one[:, None] for one in ids)
            ids = [np.broadcast_to(one, self.batch["mask"].shape) for one in columns]
        found, owner = np.unique(np.stack([one.ravel() for one in ids]), axis=1, return_inverse=True)
        owner, count = np.ravel(owner), found.shape[1]
        if scope.axis is Axis.CELL:
            index = owner.reshape(self.batch["mask"].shape)
            return Segments(index, count, index)
        return Segments(np.broadcast_to(owner.reshape(-1, *[1] * (len(shape) - 1)), shape), count, owner)

    def _ids(self, key: str) -> Array:
        """What tells cells apart by a key, of sequences or of tokens."""
        mask = self.batch["mask"]
        match key:
            case "sequence":
                return np.arange(len(mask))
            case "position":
                return np.where(mask, np.cumsum(mask, axis=1), 0)
        return self.batch[key]

    # ---- backward

    def _push(self, place: int, adjoints: dict[int, Array]) -> None:
        node = self.graph.nodes[place]
        args = [self.values[argument] for argument in node.args]
        passed = self._passed_back(node, place, args, adjoints[place])
        for argument, adjoint in zip(node.args, passed, strict=False):
            if self.graph.nodes[argument].live:
                shaped = _unbroadcast(np.asarray(adjoint, dtype=float), self.values[argument].shape)
                adjoints[argument] = adjoints.get(argument, np.zeros(())) + shaped

    def _passed_back(self, node: Node, place: int, args: list[Array], incoming: Array) -> list[ArrayLike]:
        """Derivative of the output with respect to each argument, from that with respect to the node."""
        match node.op:
            case "bound":
                low, high = node.number("low"), node.number("high")
                return [np.where((args[0] >= low) & (args[0] <= high), incoming, 0.0)]
            case "expand":
                return [self._contracted(incoming, args[0])]
        if node.scope is not None:
            return self._reduced_back(node, args, incoming)
        operation = OPERATIONS.get(node.op)
        if operation is None or operation.partials is None:
            return []
        partials = operation.partials(self.values[place], *args)
        if node.op in ("min", "max"):
            partials = self._whole_at_ties(node, args, partials)
        return [_times(incoming, np.asarray(partial)) for partial in partials]

    def _reduced_back(self, node: Node, args: list[Array], incoming: Array) -> list[ArrayLike]:
        """The same of a reduction: of the values, of what takes part nothing, of each further argument."""
        row = REDUCTIONS[node.op]
        assert row.adjoint is not None, f"{node.op} passes no gradient on"
        cells, arguments = self._in_cells(node, args)
        received = cells.rows(incoming) if row.members else cells.received(incoming)
        found = [cells.values(each) for each in row.adjoint(received, *arguments)]
        return [found[0], 0.0, *found[1:]]

    def _contracted(self, incoming: Array, value: Array) -> Array:
        """What one value a sequence gets back from all its tokens."""
        return np.asarray(np.broadcast_to(incoming, (value.shape[0], incoming.shape[-1])).sum(axis=1))

    def _whole_at_ties(self, node: Node, args: list[Array], partials: Sequence[ArrayLike]) -> list[Array]:
        """A tie goes to the live side: at its own bound a ratio still learns."""
        first = np.asarray(partials[0]) | ((args[0] == args[1]) & self.graph.nodes[node.args[0]].live)
        return [first, ~first]


def as_number(value: Array) -> Array:
    """Whole numbers as such that can be divided by each other; conditions as they are."""
    return np.asarray(value, dtype=float) if value.dtype.kind in "iu" else value


def _times(incoming: Array, partial: Array) -> Array:
    """A product in which a choice that was not made is 0, whatever comes in."""
    return np.where(partial, incoming, 0.0) if partial.dtype == bool else incoming * partial


def _unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient summed over the axes along which its value was repeated."""
    if gradient.shape == shape:
        return gradient
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
        mask = np.logical_and(mask, ~np.isnan(reward)[:, None])
    prepared: dict[str, Array] = {}
    for name, value in arrays.items():
        if value.shape == mask.shape and name != "mask":
            prepared[name] = value & mask if value.dtype == bool else np.where(mask, value.astype(float), 0.0)
        else:
            prepared[name] = value
    if reward is not None:
        prepared["reward"] = reward
        prepared.setdefault("correct", reward > 0)
    prepared["mask"] = mask
    prepared["present"] = np.asarray(mask.any(axis=1))
    return prepared
