"""A divergence from a teacher of whom a few tokens are known: what is left of the vocabulary is one bucket.

Of K tokens at each place the teacher's log-probs are given, its likeliest ones or others; the policy's come from its
logits. With S_b the derivative of a function of the K + 1 buckets with respect to their logits, and P_b those of the
policy, a token v of bucket b has p_v S_b / P_b. Lumping never makes a divergence larger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maspo_dsl.runtime.logits import NOTHING, Asked, slope_of, value_of


@dataclass(frozen=True)
class TopTokens:
    """What is asked of the policy (place 0) and a teacher (place 1), whose log-probs [C, K] are of tokens `index`.

    `teacher` is its name.
    """

    asked: Asked
    teacher: str
    index: Tensor
    log_probs: Tensor

    @property
    def tail(self) -> str:
        """Where it stands in a batch what the policy gives to all other tokens; no name of a tensor."""
        return f"tail of {self.teacher}"

    def at(self, rows: Tensor) -> TopTokens:
        """Some of the places."""
        return replace(self, index=self.index[rows], log_probs=self.log_probs[rows])

    def value(self, own: Tensor) -> Tensor:
        """The value [C], from the policy's probabilities of the tokens [C, K]."""
        return value_of(self.asked, self._logs(own))

    def slopes(self, own: Tensor) -> tuple[Tensor, Tensor]:
        """The derivative by logits: that of the tail over its probability [C]; what the tokens add to it, [C, K]."""
        logs = self._logs(own)
        slope = slope_of(self.asked, logs, value_of(self.asked, logs))
        tail = slope[:, -1] / logs[0][:, -1].exp()
        return tail, slope[:, :-1] - own * tail[:, None]

    def _logs(self, own: Tensor) -> tuple[Tensor, Tensor]:
        return with_tail(own), with_tail(self.log_probs.to(own.dtype).exp())


def tail_of(probabilities: Tensor) -> Tensor:
    """What some tokens leave of 1, [C]; no less than rounding leaves."""
    return (1 - probabilities.sum(1)).clamp(min=torch.finfo(probabilities.dtype).eps)


def with_tail(probabilities: Tensor) -> Tensor:
    """Logs of K probabilities and of what they leave, [C, K + 1]."""
    return torch.cat([probabilities, tail_of(probabilities)[:, None]], 1).log().clamp(min=NOTHING)
