"""The loss from log-probs, forward and backward: against the formula in plain torch, eager and
compiled, what is written by hand for the batch, and one pass over memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import maspo_dsl
from benchmarks.by_hand import BY_HAND
from benchmarks.measure import seconds
from benchmarks.table import Row

SEQUENCES, LENGTH = 256, 8192


class Problem:
    """A batch [N, T] in float32 with off-policy ratios, every token trained."""

    def __init__(self, sequences: int = SEQUENCES, length: int = LENGTH) -> None:
        random = torch.Generator().manual_seed(0)
        shape = (sequences, length)

        def near(other: Tensor) -> Tensor:
            return (other + 0.2 * torch.randn(shape, generator=random)).clamp(max=-1e-3)

        mask = torch.ones(shape, dtype=torch.bool)
        old = -3 * torch.rand(shape, generator=random) - 0.01
        self.logp = near(old).requires_grad_()
        self.batch = {
            "logp_old": old,
            "logp_ref": near(old),
            "mask": mask,
            "advantage": torch.randn(sequences, generator=random),
        }
        self.peers_batch = {
            **self.batch,
            "completion_mask": mask.long(),
            "completion_tokens": mask.sum(),
            "advantage_of_token": self.batch["advantage"].unsqueeze(1) * mask,
        }

    def compiled(self, name: str, **params: float) -> Callable[[], Tensor]:
        """The compiled loss's gradient."""
        loss = maspo_dsl.compile(name, params=params)
        read = {
            name: value for name, value in self.batch.items() if name in {*loss.objective.inputs, "advantage"}
        }
        return self._gradient(lambda: loss({**read, "logp": self.logp}).loss)

    def eager(self, formula: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> Callable[[], Tensor]:
        """The gradient of a formula in plain torch."""
        return self._gradient(lambda: formula(self.logp, self.peers_batch))

    def by_torch(self, formula: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> Callable[[], Tensor]:
        """The gradient of a formula under torch.compile."""
        compiled = torch.compile(formula)
        return self._gradient(lambda: compiled(self.logp, self.peers_batch))

    def one_pass(self, *, reference: bool) -> Callable[[], Tensor]:
        """Reading the log-probs once and writing a new tensor of a gradient's size, which a gradient is."""
        logp, old, ref = self.logp.detach(), self.batch["logp_old"], self.batch["logp_ref"]
        return (lambda: torch.addcmul(logp, old, ref)) if reference else (lambda: logp + old)

    def _gradient(self, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(), self.logp)[0]


# As the peers' code evaluates them: eagerly, with masks of whole numbers as factors, without their metrics. Only
# MASPO-RL, being verl's, has an advantage for each token.


def clipped(logp: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """TRL 1.16's loss of type `dapo` with eps_high = 0.28; the number of tokens is known before."""
    advantage = batch["advantage"].unsqueeze(1)
    ratio = torch.exp(logp - batch["logp_old"])
    term = -torch.min(ratio * advantage, torch.clamp(ratio, 1 - 0.2, 1 + 0.28) * advantage)
    return (term * batch["completion_mask"]).sum() / batch["completion_tokens"].clamp(min=1.0)


def gated(logp: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """MASPO-RL 22b4681 (arXiv:2602.17550), both widths and both gates at each token: alpha 0.3, beta 0.03, sigma 1."""
    advantage, old = batch["advantage_of_token"], torch.exp(batch["logp_old"])
    ratio = torch.exp(torch.clamp(logp - batch["logp_old"], -20, 20))
    away = ratio.detach() - 1
    wide = torch.clamp(1 / old**0.3, 1, 10) * torch.clamp(1 + 0.03 * advantage, 0.1, 10)
    narrow = torch.clamp(1 / old**0.3, 1, 10) * torch.clamp(1 / (1 - 0.03 * advantage), 0.1, 10)
    below, above = (torch.exp(-(away**2) / 2 / width**2) * ratio for width in (narrow, wide))
    gate = torch.where((advantage < 0) & (ratio < 1), below, ratio)
    gate = torch.where((advantage > 0) & (ratio > 1), above, gate)
    return (-advantage * gate * batch["completion_mask"]).sum() / (batch["completion_mask"].sum() + 1e-8)


def penalised(logp: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """TRL 1.16's loss of type `grpo` with beta = 0.04: a mean over each completion, then over completions."""
    mask, advantage = batch["completion_mask"], batch["advantage"].unsqueeze(1)
    ratio = torch.exp(logp - batch["logp_old"])
    term = -torch.min(ratio * advantage, torch.clamp(ratio, 1 - 0.2, 1 + 0.2) * advantage)
    apart = batch["logp_ref"] - logp
    term = term + 0.04 * (torch.exp(apart) - apart - 1)
    return ((term * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()


def pairs_of(problem: Problem) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor], float]]:
    """Compiled loss and eager formula by objective, and how many passes over memory the first may take."""
    return {
        "dapo": (problem.compiled("dapo"), problem.eager(clipped), 2.0),
        "maspo": (problem.compiled("maspo"), problem.eager(gated), 5.0),
        "grpo": (problem.compiled("grpo", kl=0.04), problem.eager(penalised), 4.5),
    }


COMPILED = {"dapo": (clipped, 0.5), "maspo": (gated, 0.2)}
"""The formula that is also compiled, and how much of its time the loss may take."""


def rows(*, turns: int = 15) -> list[Row]:
    """The rows of the table; each compiled loss is first held against the formula it is timed against."""
    problem = Problem()
    pairs = pairs_of(problem)
    for fast, slow, _ in pairs.values():
        torch.testing.assert_close(fast(), slow(), rtol=1e-3, atol=1e-10)
    candidates: dict[str, Callable[[], object]] = {}
    for name, (fast, slow, _) in pairs.items():
        candidates[name], candidates[f"{name} eager"] = fast, slow
        candidates[f"{name} once"] = problem.one_pass(reference=name == "grpo")
    for name, (formula, _) in COMPILED.items():
        candidates[f"{name} compiled"] = problem.by_torch(formula)
        candidates[f"{name} by hand"] = BY_HAND[name](problem)
    took = seconds(candidates, turns=turns)
    what = f"from log-probs [{SEQUENCES}, {LENGTH}], forward and backward"
    peers = {"dapo": "TRL's formula", "maspo": "MASPO-RL's formula"}
    found = []
    for name, peer in peers.items():
        against = [
            (f"{peer}, eager", "eager", 0.08),
            (f"{peer}, compiled", "compiled", COMPILED[name][1]),
            ("written by hand for the batch, compiled", "by hand", 1.5),
        ]
        found += [
            Row(f"`{name}` {what}", other, took[name], took[f"{name} {key}"], most)
            for other, key, most in against
        ]
    return found + [
        Row(f"`{name}` {what}", "reading and writing once", took[name], took[f"{name} once"], bound)
        for name, (_, _, bound) in pairs.items()
    ]
