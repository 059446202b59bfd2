"""What is verified: an objective, its graphs, its loss run eagerly and compiled, and the batches for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.analysis.thresholds import compared, counts
from maspo_dsl.graph.build import build
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.objective import Objective, load
from maspo_dsl.runtime.loss import Backend, ObjectiveLoss
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.quantities import Domain, Quantity
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.scopes import MICRO
from maspo_dsl.semantics.terms import walk
from maspo_dsl.semantics.types import Axis
from maspo_dsl.verification.batches import COLUMNS, GROUP, BatchLayout, completions, rows_of, with_advantage
from maspo_dsl.verification.evaluation import TRIVIAL, as_torch, interpreted

# Groups of less than this are drawn where a spec counts so many; completions of so many tokens where it counts those,
# and of so many where nothing is learned from shorter ones.
_LARGEST, SHORT, LONGEST = 64, 40, 8200
_FEW = 5
_SIZES = (64, 32, 16, 8, 2, 1)
_LARGER = (8, 16)
# Kinds of batches, and what `with_advantage` is told; None: the advantage is estimated.
_KINDS: dict[str, dict[str, Any] | None] = {
    "batch with rewards": None,
    "batch with advantages": {},
    "batch with large advantages": {"scale": 50.0, "spread": 2.0},
    "batch with advantages of tokens": {"token": True},
}


class Subject:
    """An objective in every form that it is run in; what is costly is made when it is first asked for."""

    def __init__(self, objective: Objective, backend: Backend) -> None:
        self.objective = objective
        self.backend = backend
        self._made: dict[tuple[int, bool], list[tuple[str, Arrays]]] = {}

    @cached_property
    def raw(self) -> Graph:
        """The graph before any pass."""
        return build(self.objective.resolved.parts)

    @property
    def graph(self) -> Graph:
        """The simplified graph."""
        return self.objective.graph

    @cached_property
    def eager(self) -> ObjectiveLoss:
        """The emitted code as it stands."""
        return ObjectiveLoss(self.objective, "eager")

    @cached_property
    def fused(self) -> ObjectiveLoss:
        """The emitted code compiled."""
        return ObjectiveLoss(self.objective, self.backend)

    @cached_property
    def shortened(self) -> Objective:
        """The objective in a run whose generation limit is the width of the batches, so that lengths matter."""
        before = self.objective.resolved.settings.run
        run = {"generation_limit": COLUMNS, "group_size": 4, **before}
        try:
            return load(self.objective, run=run)
        except SpecError:
            return self.objective

    # ---- batches

    @property
    def tensors(self) -> Mapping[str, Quantity]:
        """Every tensor that a batch can hold, by its key."""
        return self.objective.resolved.tensors

    @cached_property
    def layout(self) -> BatchLayout:
        """Batches in which what the spec counts is as many as the numbers that it compares them with, and one more.

        Completions are longer, and groups many more, only if nothing is learned otherwise.
        """
        counted = counts(self.objective.resolved)
        known = set(np.unique(GROUP, return_counts=True)[1].tolist())
        near = {size + more for size in counted[Axis.SEQUENCE] if size < _LARGEST for more in (0, 1)}
        # A small group by itself may have equal rewards.
        sizes = [size for size in sorted(near - known)[-4:] for _ in range(3 if size < _FEW else 1)]
        numbers = compared(self.objective.resolved).items()
        told = {name: _told_apart(self.tensors[name], values) for name, values in numbers}
        layout = BatchLayout(tuple(sizes), COLUMNS, told)
        for more, most in product(((), _LARGER), (SHORT, LONGEST)):
            lengths = [length + 2 for length in counted[Axis.TOKEN] if length <= most]
            layout = replace(layout, sizes=(*sizes, *more), columns=max([COLUMNS, *lengths]))
            if self._learns_from(completions(0, self.tensors, layout=layout)):
                break
        return layout

    def _learns_from(self, batch: Arrays) -> bool:
        """Whether there is a gradient, with estimated advantages and with given ones."""
        both = (batch, with_advantage(batch, 0))
        return all(interpreted(self.raw, one).largest > TRIVIAL for one in both)

    def completions(self, seed: int, *, ties: bool = True) -> Arrays:
        """A batch whose advantage is to be estimated."""
        layout = self.layout if ties else replace(self.layout, compared={})
        return completions(seed, self.tensors, ties=ties, layout=layout)

    def of_all_sizes(self, seed: int) -> Iterator[tuple[str, Arrays]]:
        """A batch of pairs, and one of groups from 1 to 64 completions, their advantages to be estimated."""
        for name, sizes in (("batch of pairs", (2,) * 9), ("batch of groups of 1 to 64", _SIZES)):
            whole = completions(seed, self.tensors, layout=replace(self.layout, sizes=sizes))
            yield name, rows_of(whole, range(len(GROUP), len(whole["group"])))

    def batches(self, seed: int, *, ties: bool = True) -> list[tuple[str, Arrays]]:
        """Batches with estimated advantages and with given ones, by a name for messages."""
        if (seed, ties) not in self._made:
            kinds = dict(_KINDS)
            if not self.takes_token_advantages:
                del kinds["batch with advantages of tokens"]
            self._made[seed, ties] = [
                (name, self._nontrivial_batch(seed, ties, options)) for name, options in kinds.items()
            ]
        return self._made[seed, ties]

    def _nontrivial_batch(self, seed: int, ties: bool, options: Mapping[str, Any] | None) -> Arrays:
        """A batch on which there is a gradient; where an objective leaves few tokens one, not every seed has it."""
        for attempt in range(5):
            batch = self.completions(seed + 100 * attempt, ties=ties)
            if options is not None:
                batch = with_advantage(batch, seed, **options)
            if interpreted(self.raw, batch).largest > TRIVIAL:
                break
        return batch

    def estimated(self, batch: Arrays, dtype: torch.dtype = torch.float64) -> Arrays:
        """The batch with its advantage, that which the objective estimates where it has none.

        Two ways to compute a loss are compared on one advantage: where it is 0 but for rounding, `A > 0` may be
        true of one estimate and false of the other. Estimates are compared as such.
        """
        if "advantage" in batch:
            return batch
        return {**batch, "advantage": self.eager.advantage(as_torch(batch, dtype)).double().numpy()}

    # ---- what the spec says

    @property
    def live(self) -> tuple[str, ...]:
        """The tensors of the batch that carry gradient."""
        return self.objective.resolved.live_tensors

    @property
    def leading(self) -> str:
        """The tensor that the loss learns from first: `logp`, unless whole distributions are all that it reads."""
        read = self.raw.inputs(["loss"])
        return next((name for name in ("logp", *self.live) if name in read), "logp")

    @property
    def takes_token_advantages(self) -> bool:
        """Whether a batch may bring one advantage a token: not if the loss has statistics of `A` itself."""
        return "advantage_rows" not in self.raw.inputs(["loss"])

    @property
    def estimates_tokens(self) -> bool:
        """Whether the estimator gives one advantage a token."""
        return self.raw.nodes[self.raw.outputs["advantage"]].axis is Axis.TOKEN

    @property
    def tells_tokens_apart(self) -> bool:
        """Whether ratio or advantage are of single tokens, not of whole completions alone."""
        parts = self.objective.resolved.parts.of(Role.RATIO, Role.ADVANTAGE)
        return any(term.axis is Axis.TOKEN for term in parts.values())

    @property
    def has_policy_term(self) -> bool:
        """Whether the loss has a policy term."""
        return self.objective.resolved.parts.has_policy_term

    @cached_property
    def operations(self) -> frozenset[str]:
        """Operations of everything that the objective computes."""
        inputs = {str(node.attribute("name")) for node in self.graph.nodes if node.op == "input"}
        return frozenset({node.op for node in self.graph.nodes} | inputs)

    @property
    def ordered(self) -> bool:
        """Whether the order of a completion's tokens matters."""
        by_position = any(node.scope is not None and node.scope.ordered for node in self.graph.nodes)
        return by_position or any(REDUCTIONS[op].ordered for op in self.operations & REDUCTIONS.keys())

    @property
    def breaks_ties_by_place(self) -> bool:
        """Whether the order of rows decides between equal values."""
        return any(REDUCTIONS[op].by_place for op in self.operations & REDUCTIONS.keys())

    @property
    def ranks_across_groups(self) -> bool:
        """Whether such equal values may be of different groups."""
        ranked = [node for node in self.raw.nodes if node.op in REDUCTIONS and REDUCTIONS[node.op].by_place]
        return any(
            node.scope is not None and not {"group", "sequence"} & {*node.scope.keys} for node in ranked
        )

    @property
    def takes_tokens_away(self) -> bool:
        """Whether a rule mutes or excludes tokens."""
        return bool(self.objective.resolved.parts.of(Role.REMOVES_POLICY_TERM, Role.REMOVES_TOKEN))

    @cached_property
    def together(self) -> tuple[str, ...]:
        """Tensors of ids within which what comes after the advantage reduces: their rows share a micro-batch."""
        outputs = [name for name in self.raw.outputs if name == "loss" or name.startswith("window:")]
        scopes = {self.raw.nodes[place].scope for place in self.raw.reachable(outputs)}
        return tuple(sorted({tensor for scope in scopes if scope is not None for tensor in scope.together}))

    @cached_property
    def within_micro(self) -> bool:
        """Whether a part reduces within `micro`."""
        return any(
            ("scope", MICRO) in term.attributes for term in walk(*self.objective.resolved.parts.terms())
        )

    def allowed(self, code: str) -> str | None:
        """The reason the spec gives for a warning that it acknowledges."""
        allow = self.objective.resolved.flat.allows.get(code)
        return None if allow is None else allow.why

    # ---- the emitted module from inside

    def policy_gradient(self, batch: Arrays) -> np.ndarray:
        """Derivative of the reduced policy term with respect to `logp`, from the emitted code, `[N, T]`."""
        module = self.eager.module
        tensors = as_torch(batch)
        x = module.prepare(tensors, "loss")
        d = module.statistics([x])
        terms = module.functions["terms"](x, module.parameters_in(x), d)
        if not terms["policy_loss"].requires_grad:  # a ratio times 0
            return np.zeros(batch["mask"].shape)
        (slope,) = torch.autograd.grad(terms["policy_loss"], tensors["logp"], allow_unused=True)
        return np.zeros(batch["mask"].shape) if slope is None else slope.numpy()

    @contextmanager
    def two_ranks(self) -> Iterator[None]:
        """The eager loss as one of two ranks sees it."""
        known = type(self.eager.module).window.__globals__
        before = known["number_of_ranks"]
        known["number_of_ranks"] = lambda: 2
        try:
            yield
        finally:
            known["number_of_ranks"] = before

    def unpooled(self) -> Mapping[str, str]:
        """Statistics of the window that ranks cannot add up, with the reason."""
        return {key: why for key, why in self.eager.module.reads.get("statistics", {}).items() if why}


def _told_apart(row: Quantity, numbers: Array) -> Array:
    """Numbers that float32 and float64 have on one side of each other: those it cannot say are a little larger."""
    if row.domain is Domain.INTEGER:
        return numbers
    return np.where(numbers.astype(np.float32) == numbers, numbers, 1.005 * numbers)


def summed(windows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Denominators added over ranks."""
    return {key: torch.stack([window[key] for window in windows]).sum(0) for key in windows[0]}
