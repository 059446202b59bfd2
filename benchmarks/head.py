"""Head and loss, forward and backward: against the head's matrix products, logits of all tokens, and the peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import maspo_dsl
from benchmarks.measure import peak_bytes, seconds
from benchmarks.peers import SCORINGS, Scoring, plain, torch_chunks
from benchmarks.table import Row
from maspo_dsl.emit.template.head import room_for_logits
from maspo_dsl.runtime.linear_head import LinearHead


@dataclass(frozen=True)
class Size:
    """`sequences` completions of `length` tokens, states of `hidden`, `vocabulary` tokens to choose from."""

    sequences: int = 8
    length: int = 512
    hidden: int = 576
    vocabulary: int = 49152
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def tokens(self) -> int:
        """Tokens of the batch."""
        return self.sequences * self.length

    @property
    def shape(self) -> str:
        """The size in words."""
        return f"{self.tokens} tokens, H {self.hidden}, V {self.vocabulary}, {str(self.dtype).removeprefix('torch.')}"


class Problem:
    """States, weight and a batch on which nothing is clipped, or `clipped` of the tokens are.

    `inactive` of the completions have no advantage.
    """

    def __init__(self, size: Size, *, clipped: float = 0.0, inactive: float = 0.0) -> None:
        random = torch.Generator(size.device).manual_seed(0)
        options: dict[str, Any] = {"device": size.device, "generator": random}
        self.size = size
        shape = (size.sequences, size.length)

        def states(scale: float, *shape: int) -> Tensor:
            return torch.randn(*shape, dtype=size.dtype, **options).mul_(scale).requires_grad_()

        self.hidden = states(1.0, *shape, size.hidden)
        self.weight = states(0.05, size.vocabulary, size.hidden)
        self.tokens = torch.randint(0, size.vocabulary, shape, **options)
        mask = torch.ones(shape, dtype=torch.bool, device=size.device)
        logp, _ = maspo_dsl.log_probs(self.hidden.detach(), self.weight.detach(), self.tokens)
        advantage = torch.where(torch.arange(size.sequences, device=size.device) % 2 == 0, 1.0, -1.0)
        advantage[: round(inactive * size.sequences)] = 0.0
        # Above the upper bound where A > 0, below the lower one where A < 0: such a token has no gradient.
        away = torch.where(torch.rand(shape, **options) < clipped, 1.0, 0.0) * advantage[:, None]
        self.batch = {"mask": mask, "advantage": advantage, "logp_old": logp - away, "logp_ref": logp}

    def by_head(self, loss: maspo_dsl.ObjectiveLoss) -> Callable[[], tuple[Tensor, ...]]:
        """Gradients of states and weight through `from_hidden`."""

        def run() -> tuple[Tensor, ...]:
            output = loss.from_hidden(self.hidden, self.weight, self.tokens, self.batch)
            return torch.autograd.grad(output.loss, [self.hidden, self.weight])

        return run

    def by_scoring(self, loss: maspo_dsl.ObjectiveLoss, score: Scoring) -> Callable[[], tuple[Tensor, ...]]:
        """Gradients of states and weight through log-probs, and entropies, that something else computes."""
        shape = self.tokens.shape

        def run() -> tuple[Tensor, ...]:
            logp, entropy = score(self.hidden.flatten(0, 1), self.weight, self.tokens.flatten())
            found = {"logp": logp} if entropy is None else {"logp": logp, "entropy": entropy}
            output = loss({**self.batch, **{name: value.view(shape) for name, value in found.items()}})
            return torch.autograd.grad(output.loss, [self.hidden, self.weight])

        return run

    def by_torch(self) -> Callable[[], object]:
        """Gradients of the sum of all tokens' cross entropies, by torch's own chunks."""

        def run() -> object:
            value = torch_chunks(self.hidden.flatten(0, 1), self.weight, self.tokens.flatten())
            return torch.autograd.grad(value, [self.hidden, self.weight])

        return run

    def by_products(self) -> Callable[[], object]:
        """The three matrix products alone, in the head's chunks: logits, gradient of states, gradient of the weight."""
        states, weight = self.hidden.detach().reshape(-1, self.size.hidden), self.weight.detach()
        head = LinearHead(weight, None, 1.0, fused=False)
        rows = len(head.buffer(room_for_logits(states.device), self.size.tokens))
        buffer = weight.new_empty(rows, len(weight))

        def run() -> object:
            gradient, total = torch.empty_like(states), torch.zeros_like(weight)
            for start in range(0, self.size.tokens, rows):
                chunk = states[start : start + rows]
                logits = torch.mm(chunk, weight.t(), out=buffer[: len(chunk)])
                torch.mm(logits, weight, out=gradient[start : start + rows])
                total.addmm_(logits.t(), chunk)
            return gradient, total

        return run


ENTROPY = "objective dapo_entropy extends dapo\nbonus exploration = 0.01 * entropy(policy)\n"
"""`dapo` with an entropy that carries gradient."""


def rows(size: Size = Size(), *, turns: int = 5) -> list[Row]:
    """The head's rows of the table."""
    problem, half, inactive = Problem(size), Problem(size, clipped=0.5), Problem(size, inactive=0.5)
    dapo, maspo = (maspo_dsl.compile(name) for name in ("dapo", "maspo"))
    candidates = {
        "head": problem.by_head(dapo),
        "products": problem.by_products(),
        "half": half.by_head(dapo),
        "inactive": inactive.by_head(dapo),
    }
    # Two that differ by a hundredth need more turns, and nothing between them.
    pair = {"dapo": candidates["head"], "maspo": problem.by_head(maspo)}
    took = seconds(candidates, turns=turns, warm_up=1) | seconds(pair, turns=3 * turns, warm_up=1)
    what = f"head + `dapo`, {size.shape}"
    return [
        Row(f"{what}: time", "the three matrix products alone", took["head"], took["products"], 1.05),
        *_peers(problem, what, dapo, turns=turns, entropy=False),
        Row("the same, half of the tokens clipped: time", "none clipped", took["half"], took["head"], 0.75),
        Row(
            "the same, half of the completions without signal: time",
            "all",
            took["inactive"],
            took["head"],
            0.75,
        ),
        Row("the same with `maspo`: time", "`dapo`", took["maspo"], took["dapo"], 1.02),
        *_peers(
            problem,
            f"{what}, with live entropy",
            maspo_dsl.compile(maspo_dsl.parse(ENTROPY)),
            turns=turns,
            entropy=True,
        ),
    ]


PLAIN = "logits formed by plain torch"
TARGETS = {
    "Liger's scaled cross entropy": 0.45,
    "cut-cross-entropy": 0.9,
    "torch's chunked cross entropy": 0.9,
}
"""At most so much of a peer's time; with entropy it is to be no slower than any."""

PAGE = 4096
"""Memory is counted in pages of so many bytes: no difference is known to be less."""


def _peers(
    problem: Problem, what: str, loss: maspo_dsl.ObjectiveLoss, *, turns: int, entropy: bool
) -> list[Row]:
    """Time and memory beside those of whatever else is there, and does as much."""
    head = problem.by_head(loss)
    others = {PLAIN: problem.by_scoring(loss, plain(entropy=entropy))}
    for name, make in SCORINGS.items():
        if (score := make(entropy=entropy)) is not None:
            others[name] = problem.by_scoring(loss, score)
    if not entropy:
        others["torch's chunked cross entropy"] = problem.by_torch()
    took = seconds({"": head, **others}, turns=turns, warm_up=1)
    gradients = 4 * problem.size.hidden * (problem.size.tokens + problem.size.vocabulary)
    held = {name: max(PAGE, peak_bytes(each) - gradients) for name, each in {"": head, **others}.items()}
    found = []
    for name in others:
        most = 1.0 if entropy else TARGETS.get(name, 0.85)
        found += [
            Row(f"{what}: time", name, took[""], took[name], most),
            Row(
                f"{what}: memory beside gradients",
                name,
                held[""],
                held[name],
                0.04 if name == PLAIN else 1.0,
                unit="MB",
            ),
        ]
    return found
