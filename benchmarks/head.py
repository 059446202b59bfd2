"""Head and loss, forward and backward: against the head's matrix products, logits of all tokens, and Liger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import maspo_dsl
from benchmarks.measure import peak_bytes, seconds
from benchmarks.table import Row
from maspo_dsl.runtime.linear_head import LinearHead
from maspo_dsl.runtime.log_probs import head_memory


@dataclass(frozen=True)
class Size:
    """`sequences` completions of `length` tokens, states of `hidden`, `vocabulary` tokens to choose from."""

    sequences: int = 8
    length: int = 512
    hidden: int = 576
    vocabulary: int = 49152

    @property
    def tokens(self) -> int:
        """Tokens of the batch."""
        return self.sequences * self.length

    @property
    def shape(self) -> str:
        """The size in words."""
        return f"{self.tokens} tokens, H {self.hidden}, V {self.vocabulary}, float32"


class Problem:
    """States, weight and a batch on which nothing is clipped, or `clipped` of the tokens are.

    `inactive` of the completions have no advantage.
    """

    def __init__(self, size: Size, *, clipped: float = 0.0, inactive: float = 0.0) -> None:
        random = torch.Generator().manual_seed(0)
        self.size = size
        shape = (size.sequences, size.length)
        self.hidden = torch.randn(*shape, size.hidden, generator=random).requires_grad_()
        self.weight = (0.05 * torch.randn(size.vocabulary, size.hidden, generator=random)).requires_grad_()
        self.tokens = torch.randint(0, size.vocabulary, shape, generator=random)
        mask = torch.ones(shape, dtype=torch.bool)
        logp, _ = maspo_dsl.log_probs(self.hidden.detach(), self.weight.detach(), self.tokens)
        advantage = torch.where(torch.arange(size.sequences) % 2 == 0, 1.0, -1.0)
        advantage[: round(inactive * size.sequences)] = 0.0
        # Above the upper bound where A > 0, below the lower one where A < 0: such a token has no gradient.
        away = torch.where(torch.rand(shape, generator=random) < clipped, 1.0, 0.0) * advantage[:, None]
        self.batch = {"mask": mask, "advantage": advantage, "logp_old": logp - away, "logp_ref": logp}

    def by_head(self, loss: maspo_dsl.ObjectiveLoss) -> Callable[[], tuple[Tensor, ...]]:
        """Gradients of states and weight through `from_hidden`."""

        def run() -> tuple[Tensor, ...]:
            output = loss.from_hidden(self.hidden, self.weight, self.tokens, self.batch)
            return torch.autograd.grad(output.loss, [self.hidden, self.weight])

        return run

    def by_logits(self, loss: maspo_dsl.ObjectiveLoss) -> Callable[[], object]:
        """Value and gradients through logits of all tokens, as plain torch forms them."""

        def run() -> object:
            logits = torch.nn.functional.linear(self.hidden, self.weight)
            logp = torch.log_softmax(logits, -1).gather(2, self.tokens[..., None])[..., 0]
            return torch.autograd.grad(loss({**self.batch, "logp": logp}).loss, [self.hidden, self.weight])

        return run

    def by_products(self) -> Callable[[], object]:
        """The three matrix products alone, in the head's chunks: logits, gradient of states, gradient of the weight."""
        states, weight = self.hidden.detach().reshape(-1, self.size.hidden), self.weight.detach()
        head = LinearHead(weight, None, 1.0, fused=False)
        buffer = head.buffer(head_memory(states.device), self.size.tokens)
        rows = len(buffer)

        def run() -> object:
            gradient, total = torch.empty_like(states), torch.zeros_like(weight)
            for start in range(0, self.size.tokens, rows):
                chunk = states[start : start + rows]
                logits = torch.mm(chunk, weight.t(), out=buffer[: len(chunk)])
                torch.mm(logits, weight, out=gradient[start : start + rows])
                total.addmm_(logits.t(), chunk)
            return gradient, total

        return run

    def by_liger(self) -> Callable[[], object] | None:
        """Liger's chunked GRPO loss with a token mean, if it is installed."""
        try:
            from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss
        except ImportError:
            return None
        loss = LigerFusedLinearGRPOLoss(
            beta=0.0, epsilon_low=0.2, epsilon_high=0.28, loss_type="bnpo", use_ref_model=False
        )

        def run() -> object:
            value: Tensor = loss(
                self.hidden,
                self.weight,
                self.tokens,
                self.batch["mask"],
                self.batch["advantage"],
                old_per_token_logps=self.batch["logp_old"],
            )[0]
            return torch.autograd.grad(value, [self.hidden, self.weight])

        return run


def rows(size: Size = Size(), *, turns: int = 5) -> list[Row]:
    """The head's rows of the table."""
    problem, half, inactive = Problem(size), Problem(size, clipped=0.5), Problem(size, inactive=0.5)
    dapo, maspo = (maspo_dsl.compile(name) for name in ("dapo", "maspo"))
    candidates = {
        "head": problem.by_head(dapo),
        "products": problem.by_products(),
        "logits": problem.by_logits(dapo),
        "half": half.by_head(dapo),
        "inactive": inactive.by_head(dapo),
    }
    # Two that differ by a hundredth need more turns, and nothing between them.
    pair = {"dapo": candidates["head"], "maspo": problem.by_head(maspo)}
    liger = problem.by_liger()
    if liger is not None:
        candidates["liger"] = liger
    took = seconds(candidates, turns=turns, warm_up=1) | seconds(pair, turns=3 * turns, warm_up=1)
    gradients = 4 * size.hidden * (size.tokens + size.vocabulary)
    head, plain = (peak_bytes(candidates[name]) - gradients for name in ("head", "logits"))
    what = f"head + `dapo`, {size.shape}"
    found = [
        Row(f"{what}: time", "the three matrix products alone", took["head"], took["products"], 1.15),
        Row(f"{what}: time", "logits formed by plain torch", took["head"], took["logits"], 0.85),
        Row(f"{what}: memory beside gradients", "logits formed by plain torch", head, plain, 0.08, unit="MB"),
        Row("the same, half of the tokens clipped: time", "none clipped", took["half"], took["head"], 0.75),
        Row(
            "the same, half of the completions without signal: time",
            "all",
            took["inactive"],
            took["head"],
            0.75,
        ),
        Row("the same with `maspo`: time", "`dapo`", took["maspo"], took["dapo"], 1.02),
    ]
    if liger is not None:
        found.insert(2, Row(f"{what}: time", "Liger's chunked GRPO loss", took["head"], took["liger"], 0.75))
    return found
