"""Where the time of the loss from log-probs goes: from one pass over memory to the whole call, a step at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import maspo_dsl
from benchmarks.from_log_probs import Problem, clipped, gated
from benchmarks.measure import seconds
from maspo_dsl.runtime.exponential import inlined_exp


def candidates(problem: Problem) -> dict[str, Callable[[], object]]:
    """What is measured, each doing more than the one before it."""
    logp, old = problem.logp.detach(), problem.batch["logp_old"]
    kept = torch.empty_like(logp)
    floats = problem.batch["mask"].float()
    called = torch.compile(lambda first, second: torch.exp(first - second))
    one = torch.compile(lambda first, second: inlined_exp(first - second))
    three = torch.compile(
        lambda first, second: inlined_exp(inlined_exp(first - second) - inlined_exp(second))
    )
    by_hand, rows = torch.compile(clipped_by_hand), bounds(problem)
    return {
        "reading two tensors, writing over a third": lambda: torch.add(logp, old, out=kept),
        "the same, writing a new one, as a gradient is": lambda: logp + old,
        "with one exponential a token, torch's own, compiled": lambda: called(logp, old),
        "with one exponential a token inside the loop": lambda: one(logp, old),
        "with three of them": lambda: three(logp, old),
        "`dapo` written by hand for this batch, compiled": lambda: by_hand(logp, old, floats, *rows),
        "the mask as floats": lambda: problem.batch["mask"].view(torch.uint8).float(),
        "the graph of `dapo`: value and gradient": _graph(problem, "dapo"),
        "the graph of `maspo`: value and gradient": _graph(problem, "maspo"),
        "the whole call, `dapo`: checks, count of tokens, autograd": problem.compiled("dapo"),
        "the whole call, `maspo`": problem.compiled("maspo"),
        "the formula of `dapo` in eager torch": problem.eager(clipped),
        "the formula of `maspo` in eager torch": problem.eager(gated),
    }


def bounds(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """For each completion its advantage over the number of tokens, and the bounds of its ratio, [N, 1] each."""
    advantage = problem.batch["advantage"].unsqueeze(1)
    low = torch.where(advantage < 0, 1 - 0.2, -torch.inf)
    high = torch.where(advantage > 0, 1 + 0.28, torch.inf)
    return advantage / problem.batch["mask"].sum(), low, high


def clipped_by_hand(
    logp: Tensor, old: Tensor, mask: Tensor, weight: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Value and gradient of `dapo` with everything known beforehand but what each token needs for itself."""
    trained = mask > 0
    apart = torch.where(trained, logp - old, 0.0)
    ratio = inlined_exp(torch.clamp(apart, -20, 20))
    clipped = torch.clamp(torch.clamp(ratio, max=high), min=low)
    term = weight * clipped
    moves = trained & (clipped == ratio) & (apart.abs() <= 20)
    return -torch.where(trained, term, 0.0).sum(), torch.where(moves, -term, 0.0)


def _graph(problem: Problem, name: str) -> Callable[[], tuple[Tensor, dict[str, Tensor]]]:
    loss = maspo_dsl.compile(name)
    batch = {name: problem.batch[name] for name in ("mask", "logp_old", "advantage")}
    x = loss.module.prepare({**batch, "logp": problem.logp.detach()}, "loss")
    p, d = loss.module.parameters_in(x), loss.window([batch])
    evaluate = loss.module.evaluate
    return lambda: evaluate.value_and_gradient(x, p, d)  # type: ignore[attr-defined]


def report(*, turns: int, problem: Problem | None = None) -> str:
    """A table for docs/benchmarks.md."""
    problem = problem or Problem()
    took = seconds(candidates(problem), turns=turns)
    rows, columns = problem.logp.shape
    unit = list(took.values())[1]
    lines = [f"| [{rows:,}, {columns:,}] in float32 | took | new tensors |", "| --- | --- | --- |"]
    lines += [f"| {name} | {1e3 * each:.2f} ms | {each / unit:.2f} |" for name, each in took.items()]
    return "\n".join(lines) + "\n"
