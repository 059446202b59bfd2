"""Where the time of the loss from log-probs goes: from one pass over memory to the whole call, a step at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import maspo_dsl
from benchmarks.by_hand import clipped_by_hand, gated_by_hand
from benchmarks.from_log_probs import Problem, clipped, gated
from benchmarks.measure import seconds
from maspo_dsl.runtime.exponential import inlined_exp


def candidates(problem: Problem) -> dict[str, Callable[[], object]]:
    """What is measured, each doing more than the one before it."""
    logp, old = problem.logp.detach(), problem.batch["logp_old"]
    kept = torch.empty_like(logp)
    called = torch.compile(lambda first, second: torch.exp(first - second))
    one = torch.compile(lambda first, second: inlined_exp(first - second))
    three = torch.compile(
        lambda first, second: inlined_exp(inlined_exp(first - second) - inlined_exp(second))
    )
    by_hand = clipped_by_hand(problem)
    return {
        "reading two tensors, writing over a third": lambda: torch.add(logp, old, out=kept),
        "the same, writing a new one, as a gradient is": lambda: logp + old,
        "with one exponential a token, torch's own, compiled": lambda: called(logp, old),
        "with one exponential a token inside the loop": lambda: one(logp, old),
        "with three of them": lambda: three(logp, old),
        "`dapo` written by hand for this batch, compiled": by_hand,
        "`maspo` written by hand for this batch, compiled": gated_by_hand(problem),
        "the mask as floats": lambda: problem.batch["mask"].view(torch.uint8).float(),
        "the graph of `dapo`: value and gradient": _graph(problem, "dapo"),
        "the graph of `maspo`: value and gradient": _graph(problem, "maspo"),
        "the whole call, `dapo`: checks, count of tokens, autograd": problem.compiled("dapo"),
        "the whole call, `maspo`": problem.compiled("maspo"),
        "the formula of `dapo` in eager torch": problem.eager(clipped),
        "the formula of `maspo` in eager torch": problem.eager(gated),
    }


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
