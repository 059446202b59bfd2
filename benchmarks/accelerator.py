"""Head and loss on a GPU, in one visit of eight minutes: python -m benchmarks.accelerator [--small] [--minutes M].

Each line is printed as soon as it is known, so that a run that is cut off has given what it measured. `--small` runs
the same at a size that a CPU does in seconds: it tries the command and measures nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

import maspo_dsl
from benchmarks.head import ENTROPY, Problem, Size
from benchmarks.peers import SCORINGS, plain

TURNS = 7
SIZES = (
    (Size(8, 1024, 4096, 131072, torch.bfloat16, "cuda"), True),
    (Size(16, 1024, 4096, 131072, torch.bfloat16, "cuda"), True),
    (Size(8, 4096, 2048, 151936, torch.bfloat16, "cuda"), False),
    (Size(8, 4096, 2048, 151936, torch.bfloat16, "cuda"), True),
)
"""Sizes, and whether the loss has an entropy with gradient."""

SMALL = Size(4, 32, 16, 256, torch.bfloat16, "cpu")


@dataclass(frozen=True)
class Measured:
    """The quickest turn in seconds, and the most bytes it held beside what was there before; None where unknown."""

    seconds: float
    held: int | None


def candidates(problem: Problem, *, entropy: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured on a problem, the bare products first."""
    loss = maspo_dsl.compile(maspo_dsl.parse(ENTROPY) if entropy else "dapo")
    yield "the three products alone", problem.by_products()
    yield "ours", problem.by_head(loss)
    for name, make in SCORINGS.items():
        if (score := make(entropy=entropy)) is not None:
            yield name, problem.by_scoring(loss, score)
    if not entropy:
        yield "torch's chunked cross entropy", problem.by_torch()
    yield "logits formed by plain torch", problem.by_scoring(loss, plain(entropy=entropy))


def measured(candidate: Callable[[], object], *, on_gpu: bool, deadline: float) -> Measured:
    """The quickest of some turns, fewer where the time is up; the first ones compile and are not counted."""
    candidate()
    candidate()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    taken = []
    while len(taken) < TURNS and (not taken or time.monotonic() < deadline):
        start = time.perf_counter()
        candidate()
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return Measured(min(taken), torch.cuda.max_memory_allocated() - before if on_gpu else None)


def report(sizes: tuple[tuple[Size, bool], ...], *, minutes: float) -> Iterator[str]:
    """Lines of a Markdown table; what fails is a line with the reason, and what there is no time for is said."""
    deadline = time.monotonic() + 60 * minutes
    yield "| size | what | took | of the products | held |"
    yield "| --- | --- | --- | --- | --- |"
    for size, entropy in sizes:
        what = f"{size.shape}{', live entropy' if entropy else ''}"
        if time.monotonic() > deadline:
            yield f"| {what} | no time was left | | | |"
            continue
        products = None
        for name, candidate in candidates(Problem(size), entropy=entropy):
            try:
                found = measured(candidate, on_gpu=size.device == "cuda", deadline=deadline)
            except Exception as error:  # a peer may refuse a size, or memory may not suffice
                yield f"| {what} | {name} | {type(error).__name__}: {str(error).splitlines()[0][:80]} | | |"
                continue
            products = products or found.seconds
            held = "" if found.held is None else f"{found.held / 2**30:.2f} GiB"
            ratio = f"{found.seconds / products:.2f}"
            yield f"| {what} | {name} | {1e3 * found.seconds:.2f} ms | {ratio} | {held} |"
        if size.device == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the same at a size for a CPU")
    parser.add_argument(
        "--minutes", type=float, default=7.0, help="no new measurement is begun after as many"
    )
    options = parser.parse_args()
    if not options.small and not torch.cuda.is_available():
        parser.error("there is no GPU here; --small tries the command without one")
    sizes = tuple((SMALL if options.small else size, entropy) for size, entropy in SIZES)
    for line in report(sizes, minutes=options.minutes):
        print(line, flush=True)
    if not options.small:
        print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)


if __name__ == "__main__":
    main()
