"""What every host is asked: whether it is one that was tried, what it brings, and which line of a spec decides."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from maspo_dsl.graph.needs import reads
from maspo_dsl.runtime.ranks import sum_over_ranks

if TYPE_CHECKING:
    from torch import Tensor

    from maspo_dsl.objective import Objective
    from maspo_dsl.runtime.loss import ObjectiveLoss


class HostError(ValueError):
    """What a host cannot do with an objective, or its user's settings contradict, and what to do instead."""


@dataclass(frozen=True)
class Host:
    """A training framework: its name, its package, the versions that the parity tests ran with, and its tensors.

    `versions` are the first that is known to work and the first that is not, in whole numbers. `tensors` maps a tensor
    of a batch to what the host calls it.
    """

    name: str
    package: str
    versions: tuple[tuple[int, ...], tuple[int, ...]]
    tensors: Mapping[str, str]

    def check_version(self) -> None:
        """Raise ImportError where the installed version is not one that was tried, or there is none."""
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
