"""What is compared: something that makes a loss of a batch, and its gradient for each token's log-prob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.objective import Objective
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.verification.evaluation import Evaluation, as_torch, computed, gradients_of
from maspo_dsl.verification.subject import Subject


class NotComparableError(Exception):
    """A side cannot be compared; the message says why in the user's terms."""


class ComparedLoss(Protocol):
    """One of the two that are compared."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def has_loss(self) -> bool:
        """Whether it is a loss, and not an estimator of advantages alone."""

    @property
    def estimates(self) -> bool:
        """Whether it makes an advantage of rewards by itself."""

    @property
    def reads(self) -> frozenset[str]:
        """Tensors of a batch that it reads, as far as is known."""

    @property
    def takes_windows(self) -> bool:
        """Whether it can be told the counts of a window of which it sees a part."""

    def advantage(self, batch: Arrays) -> Array | None:
        """The advantage that it estimates, None if it does not."""

    def evaluate(self, parts: Sequence[Arrays]) -> Evaluation:
        """Loss and gradients of a window in parts: losses added, gradients put together. Raises NotComparableError."""


@dataclass
class SpecSide:
    """A spec."""

    objective: Objective

    has_loss = True

    @property
    def name(self) -> str:
        """The objective's own."""
        return self.objective.name

    @property
    def estimates(self) -> bool:
        """Every spec does."""
        return True

    @property
    def takes_windows(self) -> bool:
        """Every spec does."""
        return True

    @property
    def reads(self) -> frozenset[str]:
        """What the simplified loss reads of a batch that has an advantage."""
        return frozenset(self.objective.graph.inputs(["loss"])) | {"advantage"}

    @cached_property
    def loss(self) -> ObjectiveLoss:
        """Its loss, run eagerly."""
        return ObjectiveLoss(self.objective, "eager")

    def advantage(self, batch: Arrays) -> Array:
        """The advantage that the spec estimates."""
        return np.asarray(self._shortened.advantage(as_torch(batch)).double().numpy())

    def kept(self, batch: Arrays) -> Array:
        """Which completions of a rollout it trains on, `[N]` bool."""
        kept = self._shortened.keep(as_torch(batch)).numpy()
        return np.asarray(np.broadcast_to(kept, (len(batch["mask"]),)))

    @cached_property
    def _shortened(self) -> ObjectiveLoss:
        """The loss in a run as short as the batches, so that what is said of lengths shows."""
        return ObjectiveLoss(Subject(self.objective, "eager").shortened, "eager")

    def evaluate(self, parts: Sequence[Arrays]) -> Evaluation:
        """Loss and gradients of a window in parts."""
        if len(parts) == 1:
            return computed(self.loss, parts[0])
        tensors = [as_torch(part) for part in parts]
        denominators = self.loss.window(tensors)
        total, gradients = 0.0, []
        for part in tensors:
            loss = self.loss(part, denominators=denominators).loss
            loss.backward()
            total += loss.item()
            gradients.append(gradients_of(part))
        return joined(total, gradients)


def joined(loss: float, gradients: Sequence[dict[str, Array]]) -> Evaluation:
    """The evaluation of a window whose rows were evaluated in parts."""
    return Evaluation(
        loss, {name: np.concatenate([part[name] for part in gradients]) for name in gradients[0]}
    )
