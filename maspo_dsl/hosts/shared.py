"""What every host is asked: whether it is one that was tried, what it brings, and which line of a spec decides."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from maspo_dsl.analysis.homogeneity import divisors, scales_with_advantage
from maspo_dsl.emit.template.metrics import LossOutput
from maspo_dsl.graph.needs import reads
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.objective import Objective, SpecLike, load
from maspo_dsl.runtime.compiled import warn_once
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.runtime.ranks import sum_over_ranks


class HostError(ValueError):
    """What a host cannot do with an objective, or its user's settings contradict, and what to do instead."""


@dataclass(frozen=True)
class Host:
    """A training framework: its name, its package, the versions that the parity tests ran with, and its tensors.

    `versions` are the first that is known to work and the first that is not, in whole numbers; none where the host is
    known by a commit of its repository, `seen`. `tensors` maps a tensor of a batch to what the host calls it, `how`
    says how it is made to bring one. `counts` are denominators of an optimizer step that it gives to a loss,
    `divides_by` those by which it divides a loss itself, or of which it gives a multiple; both are None where a loss
    sees the whole step. `scales_advantages`: it has multiplied them by something that a loss is not told.
    """

    name: str
    package: str
    tensors: Mapping[str, str]
    versions: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    seen: str = ""
    how: Mapping[str, str] = field(default_factory=dict)
    counts: frozenset[str] | None = None
    divides_by: frozenset[str] | None = None
    scales_advantages: bool = False

    def check_version(self) -> None:
        """Raise ImportError where the installed version is not one that was tried, or there is none."""
        if self.versions is None:
            return
        first, after = self.versions
        try:
            installed = metadata.version(self.package)
        except metadata.PackageNotFoundError:
            installed = ""
        found = tuple(int(number) for number in re.findall(r"\d+", installed)[:3])
        if not first <= found < after:
            wanted = f"{self.package}>={_dotted(first)},<{_dotted(after)}"
            there = f"{installed} is installed" if installed else "it is not installed"
            raise ImportError(f"{self.name}: tried with {wanted}, and {there}: pip install '{wanted}'")

    def batch(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The host's tensors under the names of a batch, as far as they are there."""
        return {name: tensors[theirs] for name, theirs in self.tensors.items() if theirs in tensors}


def refusals(host: Host, objective: Objective) -> dict[str, str]:
    """Why a host cannot carry the loss of an objective: a sentence for each thing that is in the way."""
    missing = lacking(objective, host.tensors, "loss", given=["advantage"])
    return {
        **{
            f"`{name}`": f"{host.name} does not bring {text} ({host.how.get(name, 'it has none')})"
            for name, text in missing.items()
        },
        **_taken_for_another(host, objective),
        **undivided(host, objective),
        **_scaled(host, objective),
    }


def undivided(host: Host, objective: Objective) -> dict[str, str]:
    """Why what a host does with the losses of the parts of a step does not make them the step's."""
    found = {}
    if homeless := lines(objective, "step", "prompt", "memory"):
        found["step, prompt, memory"] = f"{host.name} has no place for it: {'; '.join(homeless)}"
    if host.counts is None and host.divides_by is None:
        return found
    if split := objective.scopes("loss") - {"sequence", "window", "micro"}:
        found["whole groups"] = (
            f"{host.name} shuffles completions over micro-batches, and the loss reduces within "
            f"{', '.join(sorted(split))}"
        )
    if rules := lines(objective, "exclude"):
        found["exclude"] = (
            f"tokens that `exclude` takes out of the denominators are in {host.name}'s counts; "
            f"write it as `mute`: {'; '.join(rules)}"
        )
    if host.divides_by is not None and not _is_mean_for(host, divisors(objective.graph)):
        found["its mean"] = (
            f"{host.name} divides a loss by {' or '.join(sorted(host.divides_by))} of the whole step, and this one "
            f"is no plain mean of that kind: {'; '.join(lines(objective, 'reduce', 'penalty', 'bonus'))}"
        )
    elif host.counts is not None and (
        unknown := sorted(set(window_statistics(objective.graph)) - host.counts)
    ):
        found["statistics"] = (
            f"{host.name} gives the tokens and sequences of a mini-batch, and no {', '.join(unknown)}"
        )
    return found


def _is_mean_for(host: Host, by: frozenset[str]) -> bool:
    """Whether a loss with some divisors is divided rightly by a host: by one of its own, or by all that it gives."""
    assert host.divides_by is not None
    return bool(by) and by <= host.divides_by and (len(by) == 1 or host.counts is not None)


def _taken_for_another(host: Host, objective: Objective) -> dict[str, str]:
    """Tensors that an objective tells apart and a host does not."""
    reads = objective.reads("loss", given=["advantage"]) & set(host.tensors)
    names = sorted(reads, key=lambda name: (host.tensors[name], name))
    pairs = [(a, b) for a, b in pairwise(names) if host.tensors[a] == host.tensors[b]]
    found = {
        f"`{a}` beside `{b}`": f"{host.name} has one tensor for `{a}` and `{b}`, which the loss tells apart"
        for a, b in pairs
    }
    if "advantage_rows" in objective.graph.inputs(["loss"]):
        found["advantage of a completion"] = (
            f"{host.name} gives an advantage for each token, and the loss needs one for each completion"
        )
    return found


def _scaled(host: Host, objective: Objective) -> dict[str, str]:
    if not host.scales_advantages or scales_with_advantage(objective.graph):
        return {}
    where = lines(objective, "ratio", "weight", "mute", "penalty", "bonus")
    return {
        "size of A": f"{host.name} scales advantages before a loss sees them, and this one depends on their size: "
        f"{'; '.join(where)}"
    }


@dataclass(frozen=True)
class Carried:
    """An objective that a host carries, compiled."""

    host: Host
    loss: ObjectiveLoss

    def __call__(self, batch: Mapping[str, Tensor], counts: Mapping[str, Any] | None = None) -> LossOutput:
        """The loss of a part of a step, not divided by counts that are not given; with None, of a whole step."""
        if counts is None:
            whole: LossOutput = self.loss(batch)
            return whole
        like = batch["logp"]
        keys = self.loss.module.window_keys()
        known = {
            key: torch.as_tensor(counts.get(key, 1.0), device=like.device, dtype=torch.float64)
            for key in keys
        }
        part: LossOutput = self.loss(batch, denominators=known)
        return part


def carried(host: Host, source: SpecLike, params: Mapping[str, float] | None = None) -> Carried:
    """The loss of an objective for a host. Raises SpecError, and HostError with every reason why it cannot be.

    The advantage, and what `keep` leaves out, are the host's: a line says so once.
    """
    objective = load(source, params)
    host.check_version()
    if reasons := refusals(host, objective):
        raise HostError(f"{objective.name} in {host.name}: {'; '.join(reasons.values())}")
    own = "; ".join(lines(objective, "advantage", "keep", "reward"))
    warn_once(
        f"{objective.name} in {host.name}: the loss alone is the objective's; {host.name} estimates for itself: {own}"
    )
    return Carried(host, ObjectiveLoss(objective))


def lacking(
    objective: Objective, brings: Collection[str], *purposes: str, given: Collection[str] = ()
) -> dict[str, str]:
    """What an objective reads for `loss`, `advantage`, `keep` or `window` that a host does not bring, in words.

    With the `advantage` given, what it reads is not asked for.
    """
    why: dict[str, str] = {}
    for purpose in ("loss", "advantage", "keep", "window"):
        for tensor, term in reads(objective.graph)[purpose].items():
            why.setdefault(tensor, term)
    missing = sorted(objective.reads(*purposes, given=given) - {*brings, "mask"})
    return {name: f"`{name}`, needed by {why.get(name, 'the loss')}" for name in missing}


def lines(objective: Objective, *words: str) -> list[str]:
    """Where the parts of some words are written: `maspo.obj:9: ratio = policy / old |> …`."""
    found = []
    for (word, _), term in objective.resolved.parts.by_key.items():
        if word in words:
            source, number = term.span.source, term.span.line
            found.append(
                f"{source.name.rpartition('/')[2]}:{number}: {source.text.splitlines()[number - 1].strip()}"
            )
    return list(dict.fromkeys(found))


def says(objective: Objective, words: Sequence[str]) -> str:
    """Which lines of a spec decide something, or that none does."""
    found = lines(objective, *words)
    if found:
        return "the objective says it: " + "; ".join(found)
    return f"the objective has no {' or '.join(f'`{word}`' for word in words)} that says so"


def denominators(loss: ObjectiveLoss, micro_batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What the parts of an optimizer step divide by, over its micro-batches and all ranks."""
    return sum_over_ranks(loss.window(micro_batches))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
