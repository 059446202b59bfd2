"""What an objective does with each token of a batch: its gradient weight, what made it, and the line that decided.

Everything is asked of the graph: a stage of the ratio has decided where the weight without it, and what comes after it,
is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maspo_dsl.analysis.trial import graph_of, graph_of_values, ratio_prefixes
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.quantities import DERIVED_TENSORS

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
_SAME = 1e-9
_MASKED = "not trained: its mask is false"


@dataclass(frozen=True)
class Reason:
    """What decided the weight of a token, and where the spec says so, if it does."""

    text: str
    span: Span | None = None


@dataclass(frozen=True)
class Inspection:
    """Every token of a batch `[N, T]`, and every completion `[N]`.

    `weight` is the gradient weight: minus the derivative of the policy term by the log-prob, over what `reduce` gives
    the token; `gradient` minus the derivative of the whole loss. `gate` is the weight over what it is for the bare
    ratio, NaN where that is 0. `ratio` is policy / old, NaN without the two. `reason` is a place in `reasons`, -1 where
    nothing but the plain ratio and the advantage made the weight. `kept` are completions that are trained on.
    """

    mask: Flags
    weight: Numbers
    gradient: Numbers
    ratio: Numbers
    advantage: Numbers
    gate: Numbers
    reason: NDArray[np.int64]
    reasons: tuple[Reason, ...]
    kept: Flags
    batch: Mapping[str, NDArray[Any]]


def missing_tensors(
    objective: ResolvedObjective, graph: Graph, batch: Mapping[str, NDArray[Any]]
) -> dict[str, str]:
    """The tensors that a batch lacks for the loss, by name, with what they hold."""
    read = {"mask", *graph.inputs(["loss"])}
    if read & {"advantage", "advantage_rows"} and "advantage" not in batch:
        read |= set(graph.inputs(["advantage"]))
    wanted = read - {"advantage", "present", *DERIVED_TENSORS} - batch.keys()
    if "reward" in batch:
        wanted -= {"correct"}
    return {
        name: objective.tensors[name].meaning if name in objective.tensors else "" for name in sorted(wanted)
    }


def inspect_batch(
    objective: ResolvedObjective,
    graph: Graph,
    batch: Mapping[str, NDArray[Any]],
    *,
    denominators: Mapping[str, float] | None = None,
    filtered: bool = False,
) -> Inspection:
    """Every token of a padded batch, or of a part of a window whose `denominators` are given.

    A `filtered` batch has the completions alone that every `keep` rule held for. Raises KeyError where the batch lacks
    what `missing_tensors` names.
    """
    return _Inspector(objective, graph, batch, denominators or {}, filtered).run()


def joined(parts: Sequence[Inspection]) -> Inspection:
    """Batches that were looked at apart as one, row under row; of each the batch has the tensors that all have."""
    reasons = tuple(dict.fromkeys(reason for part in parts for reason in part.reasons))
    places = [np.array([*map(reasons.index, part.reasons), -1]) for part in parts]
    length = max(part.mask.shape[1] for part in parts)
    names = [name for name in parts[0].batch if all(name in part.batch for part in parts)]
    batch = {
        name: _under([part.batch[name] for part in parts], length)
        for name in names
        if parts[0].batch[name].ndim
    }
    masked = Reason(_MASKED)
    reasons = reasons if masked in reasons else (*reasons, masked)
    numbers = {
        name: _under([getattr(part, name) for part in parts], length)
        for name in ("mask", "weight", "gradient", "ratio", "advantage", "gate")
    }
    decisions = [place[part.reason] for place, part in zip(places, parts, strict=True)]
    return Inspection(
        reason=_under(decisions, length, reasons.index(masked)),
        reasons=reasons,
        kept=np.concatenate([part.kept for part in parts]),
        batch=batch,
        **numbers,
    )


def decided(found: Inspection, where: Flags | None = None) -> list[tuple[int, Reason]]:
    """How many tokens, of some or of all, each reason decided; last those that nothing else did."""
    places = found.reason if where is None else found.reason[where]
    counts = [(int((places == place).sum()), reason) for place, reason in enumerate(found.reasons)]
    rest = int((places < 0).sum()), Reason("nothing but its ratio and its advantage")
    return [(count, reason) for count, reason in counts if count] + [rest]


def rows_of(found: Inspection, rows: Sequence[int]) -> Inspection:
    """Some completions alone, in this order."""
    numbers = {
        name: getattr(found, name)[rows]
        for name in ("mask", "weight", "gradient", "ratio", "advantage", "gate", "reason", "kept")
    }
    return replace(found, **numbers, batch={name: value[rows] for name, value in found.batch.items()})


def _under(arrays: Sequence[NDArray[Any]], length: int, fill: int = 0) -> NDArray[Any]:
    """Arrays [N, ...] below each other, those of tokens padded to a length."""
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    shape = sum(map(len, arrays)), length
    whole = np.full(shape, fill, dtype=np.result_type(*arrays))
    end = 0
    for array in arrays:
        whole[end : end + len(array), : array.shape[1]] = array
        end += len(array)
    return whole


class _Inspector:
    def __init__(
        self,
        objective: ResolvedObjective,
        graph: Graph,
        batch: Mapping[str, NDArray[Any]],
        denominators: Mapping[str, float],
        filtered: bool,
    ) -> None:
        self.objective, self.graph = objective, graph
        self.denominators, self.filtered = denominators, filtered
        self.shown, known = batch, {"mask", "advantage", *objective.tensors}
        self.given = {name: values for name, values in batch.items() if name in known}
        self.mask: Flags = batch["mask"].astype(bool)
        self.reasons: list[Reason] = []
        self.reason = np.full(self.mask.shape, -1)

    def run(self) -> Inspection:
        self._decide(~self.mask, Reason(_MASKED))
        kept = self._kept()
        batch = {**self.given, "mask": self.mask & kept[:, None]}
        whole = self._interpreted(self.graph, batch)
        trained: Flags = whole.batch["mask"].astype(bool)
        gradient = -self._of_logp(whole.adjoints("loss"), trained)
        weight = self._weight(self.graph, batch) if "policy_loss" in self.graph.outputs else gradient
        advantage = self._advantage(whole)
        self._rules(batch)
        if self.objective.parts.has_policy_term:
            self._no_advantage(advantage)
            self._no_factor(batch, weight)
        gate = self._stages(batch, weight)
        self._nothing_else(weight)
        return Inspection(
            self.mask,
            weight,
            gradient,
            self._ratio(),
            advantage,
            gate,
            self.reason,
            tuple(self.reasons),
            kept,
            self.shown,
        )

    # ---- numbers

    def _interpreted(self, graph: Graph, batch: Mapping[str, NDArray[Any]]) -> Interpretation:
        return Interpretation(graph, batch, denominators=self.denominators)

    def _of_logp(
        self, adjoints: Mapping[int, NDArray[Any]], trained: Flags, graph: Graph | None = None
    ) -> Numbers:
        total = np.zeros(self.mask.shape)
        for place, adjoint in adjoints.items():
            node = (graph or self.graph).nodes[place]
            if node.op == "input" and node.attribute("name") == "logp":
                total = total + np.broadcast_to(adjoint, total.shape)
        return np.where(trained, total, 0.0)

    def _weight(self, graph: Graph, batch: Mapping[str, NDArray[Any]]) -> Numbers:
        """Gradient weights of a graph; 0 where nothing reaches the loss."""
        found = self._interpreted(graph, batch)
        adjoints = found.adjoints("policy_loss")
        share = np.broadcast_to(adjoints.get(graph.outputs["policy_term"], np.zeros(())), self.mask.shape)
        slope = self._of_logp(adjoints, found.batch["mask"].astype(bool), graph)
        with np.errstate(all="ignore"):
            return np.where((share == 0) | (slope == 0), 0.0, -slope / share)

    def _ratio(self) -> Numbers:
        if not {"logp", "logp_old"} <= self.given.keys():
            return np.full(self.mask.shape, np.nan)
        with np.errstate(all="ignore"):
            apart = self.given["logp"].astype(float) - self.given["logp_old"].astype(float)
            return np.where(self.mask, np.exp(apart), np.nan)

    def _advantage(self, whole: Interpretation) -> Numbers:
        found = whole.batch.get("advantage", np.zeros(()))
        return np.where(self.mask, np.broadcast_to(found, self.mask.shape), np.nan).astype(float)

    # ---- what decided

    def _decide(self, where: Flags, reason: Reason) -> None:
        """Give a reason to tokens that have none yet."""
        where = where & (self.reason < 0)
        if where.any():
            self.reason[where] = len(self.reasons)
            self.reasons.append(reason)

    def _kept(self) -> Flags:
        """Which completions are trained on: those with a reward, and that every `keep` holds for."""
        kept: Flags = np.asarray(self.mask.any(axis=1))
        if "reward" in self.given and self.graph.reads_reward:
            scored = ~np.isnan(self.given["reward"].astype(float))
            self._decide(~scored[:, None] & self.mask, Reason("its completion has no reward"))
            kept = np.logical_and(kept, scored)
        for key, term in () if self.filtered else self.objective.parts.of(Role.FILTER).items():
            held = self._values({"kept": term}, self.given)
            if held is None:
                continue
            holds = np.broadcast_to(held["kept"].reshape(len(kept), -1)[:, 0], kept.shape).astype(bool)
            self._decide(~holds[:, None] & self.mask, Reason(f"dropped by {' '.join(key)}", self._span(key)))
            kept = np.logical_and(kept, holds)
        return kept

    def _values(
        self, terms: Mapping[str, Any], batch: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]] | None:
        """Values of some terms; None where the batch lacks what they read."""
        graph = graph_of_values(self.objective.parts, terms)
        try:
            found = self._interpreted(graph, batch)
            return {name: found.output(f"term:{name}") for name in terms}
        except KeyError:
            return None

    def _rules(self, batch: Mapping[str, NDArray[Any]]) -> None:
        for role, told in ((Role.REMOVES_TOKEN, "left out by"), (Role.REMOVES_POLICY_TERM, "muted by")):
            for key, term in self.objective.parts.of(role).items():
                held = self._values({"held": term}, batch)
                if held is not None:
                    where = np.broadcast_to(held["held"].astype(bool), self.mask.shape)
                    self._decide(where, Reason(f"{told} {' '.join(key)}", self._span(key)))

    def _no_advantage(self, advantage: Numbers) -> None:
        slot = self.objective.flat.slots.get("advantage")
        span = None if slot is None or "advantage" in self.given else slot.value.span
        zero = advantage == 0
        if {"reward", "group"} <= self.given.keys():
            alike, alone = _degenerate(self.given["reward"].astype(float), self.given["group"])
            self._decide(zero & alone[:, None], Reason("A is 0: its completion is alone in its group", span))
            self._decide(zero & alike[:, None], Reason("A is 0: its group's rewards are all equal", span))
        self._decide(zero, Reason("A is 0", span))

    def _no_factor(self, batch: Mapping[str, NDArray[Any]], weight: Numbers) -> None:
        for key, term in self.objective.parts.of(Role.FACTOR).items():
            held = self._values({"held": term}, batch)
            if held is not None:
                none = np.broadcast_to(held["held"] == 0, self.mask.shape)
                self._decide(none & (weight == 0), Reason(f"{' '.join(key)} is 0", self._span(key)))

    def _stages(self, batch: Mapping[str, NDArray[Any]], weight: Numbers) -> Numbers:
        """Which stage of the ratio made the weight another one; what remains of the bare ratio's weight."""
        before = weight
        for span, parts in ratio_prefixes(self.objective):
            if parts is None:
                continue
            without = self._weight(graph_of(parts), batch)
            changed = np.abs(without - before) > _SAME * np.maximum(np.abs(without), np.abs(before))
            stage = " ".join(span.text.split())
            self._decide(changed & (weight == 0), Reason(f"cut off by {stage}", span))
            self._decide(changed & (before == weight), Reason(f"changed by {stage}", span))
            before = without
        with np.errstate(all="ignore"):
            return np.where(before == 0, np.nan, weight / before)

    def _nothing_else(self, weight: Numbers) -> None:
        parts = self.objective.flat.slots
        slot = parts.get("ratio") if self.objective.parts.has_policy_term else None
        with np.errstate(invalid="ignore"):
            self._decide(
                (weight == 0) & (np.abs(np.log(self._ratio())) > 20),
                Reason("its log-ratio is beyond ±20, where there is no gradient"),
            )
        text = (
            "the ratio passes no gradient on"
            if slot is not None
            else "nothing of the loss reads its log-prob"
        )
        self._decide(weight == 0, Reason(text, None if slot is None else slot.value.span))

    def _span(self, key: tuple[str, str]) -> Span:
        return self.objective.flat.parts[key].span


def _degenerate(reward: Numbers, group: NDArray[Any]) -> Iterator[Flags]:
    """Completions of groups with one reward, and those that are alone."""
    alike, alone = np.zeros(len(reward), dtype=bool), np.zeros(len(reward), dtype=bool)
    for each in np.unique(group):
        inside = (group == each) & ~np.isnan(reward)
        alone[group == each] = inside.sum() == 1
        alike[group == each] = len(np.unique(reward[inside])) == 1
    yield alike
    yield alone
