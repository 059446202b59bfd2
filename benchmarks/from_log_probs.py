"""The loss from log-probs, forward and backward: against the formula in plain eager torch, and one pass over memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import maspo_dsl
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

        old = -3 * torch.rand(shape, generator=random) - 0.01
        self.logp = near(old).requires_grad_()
        self.batch = {
            "logp_old": old,
            "logp_ref": near(old),
            "mask": torch.ones(shape, dtype=torch.bool),
            "advantage": torch.randn(sequences, generator=random),
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
        return self._gradient(lambda: formula(self.logp, self.batch))

    def one_pass(self, *, reference: bool) -> Callable[[], Tensor]:
        """Reading the log-probs once and writing a new tensor of a gradient's size, which a gradient is."""
        logp, old, ref = self.logp.detach(), self.batch["logp_old"], self.batch["logp_ref"]
        return (lambda: torch.addcmul(logp, old, ref)) if reference else (lambda: logp + old)

    def _gradient(self, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(), self.logp)[0]


def clipped(logp: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """DAPO's policy loss as TRL 1.16 evaluates it: masks as factors, a token mean."""
    mask, advantage = batch["mask"].float(), batch["advantage"][:, None]
    ratio = torch.exp(logp - batch["logp_old"])
    term = -torch.min(ratio * advantage, torch.clamp(ratio, 1 - 0.2, 1 + 0.28) * advantage)
    return (term * mask).sum() / mask.sum().clamp(min=1)


def gated(logp: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """MASPO as its authors' code evaluates it (arXiv:2602.17550): alpha 0.3, beta 0.03, sigma 1."""
    mask, advantage = batch["mask"].float(), batch["advantage"][:, None]
    ratio = torch.exp(torch.clamp(logp - batch["logp_old"], -20, 20))
    mass = torch.clamp(torch.exp(batch["logp_old"]) ** -0.3, 1.0, 10.0)
    risk = torch.where(advantage > 0, 1 + 0.03 * advantage, 1 / (1 - 0.03 * advantage)).clamp(0.1, 10.0)
    away = ((advantage > 0) & (ratio > 1)) | ((advantage < 0) & (ratio < 1))
    gate = torch.exp(-((ratio - 1) ** 2) / (2 * (mass * risk) ** 2))
    term = -advantage * ratio * torch.where(away, gate, torch.ones_like(gate)).detach()
    return (term * mask).sum() / mask.sum().clamp(min=1)


def penalised(logp: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """GRPO with its k3 penalty and a mean over each answer, as TRL 1.16 evaluates it."""
    mask, advantage = batch["mask"].float(), batch["advantage"][:, None]
    ratio = torch.exp(logp - batch["logp_old"])
    term = -torch.min(ratio * advantage, torch.clamp(ratio, 1 - 0.2, 1 + 0.2) * advantage)
    apart = batch["logp_ref"] - logp
    term = term + 0.04 * (torch.exp(apart) - apart - 1)
    return ((term * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()


def pairs_of(problem: Problem) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor], float]]:
    """Compiled loss and eager formula by objective, and how many passes over memory the first may take."""
    return {
        "dapo": (problem.compiled("dapo"), problem.eager(clipped), 2.0),
        "maspo": (problem.compiled("maspo"), problem.eager(gated), 5.0),
        "grpo": (problem.compiled("grpo", kl=0.04), problem.eager(penalised), 4.5),
    }


def rows(*, turns: int = 15) -> list[Row]:
    """The rows of the table; each compiled loss is first held against the formula it is timed against."""
    problem = Problem()
    pairs = pairs_of(problem)
    for fast, slow, _ in pairs.values():
        torch.testing.assert_close(fast(), slow(), rtol=1e-3, atol=1e-10)
    candidates = {}
    for name, (fast, slow, _) in pairs.items():
        candidates[name], candidates[f"{name} eager"] = fast, slow
        candidates[f"{name} once"] = problem.one_pass(reference=name == "grpo")
    took = seconds(candidates, turns=turns)
    what = f"from log-probs [{SEQUENCES}, {LENGTH}], forward and backward"
    eager = [
        Row(f"`{name}` {what}", "the formula in eager torch", took[name], took[f"{name} eager"], 0.08)
        for name in ("dapo", "maspo")
    ]
    passes = [
        Row(f"`{name}` {what}", "reading and writing once", took[name], took[f"{name} once"], bound)
        for name, (_, _, bound) in pairs.items()
    ]
    return eager + passes
