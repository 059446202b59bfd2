"""What MASPO's soft gate costs in time against a hard clip: forward and backward of the compiled loss, interleaved.

python examples/maspo_study/time_of_the_gate.py
"""

import platform
import time
from statistics import median, quantiles

import torch

import maspo_dsl

SPECS = ("maspo", "maspo@hard")
SHAPES = ((256, 2048), (256, 8192))
REPEATS = 101


def batch_of(sequences: int, tokens: int) -> dict[str, torch.Tensor]:
    """Log-probs a few updates after sampling, and advantages of both signs."""
    torch.manual_seed(0)
    old = torch.randn(sequences, tokens).abs().neg()
    return {
        "logp": (old + 0.1 * torch.randn(sequences, tokens)).requires_grad_(),
        "logp_old": old,
        "mask": torch.ones(sequences, tokens, dtype=torch.bool),
        "advantage": torch.randn(sequences),
    }


def seconds_of(loss: maspo_dsl.ObjectiveLoss, batch: dict[str, torch.Tensor]) -> tuple[float, float]:
    """CPU and wall seconds of one forward and backward."""
    batch["logp"].grad = None
    cpu, wall = time.process_time(), time.perf_counter()
    loss(batch).loss.backward()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Print a line for each shape and spec, and the ratio of the two."""
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, torch {torch.__version__}, one thread, {REPEATS} repeats of each, interleaved"
    )
    losses = {spec: maspo_dsl.compile(spec) for spec in SPECS}
    for shape in SHAPES:
        batch = batch_of(*shape)
        for loss in losses.values():
            seconds_of(loss, batch)
        runs = [{spec: seconds_of(loss, batch) for spec, loss in losses.items()} for _ in range(REPEATS)]
        for spec in SPECS:
            cpu, wall = (median(run[spec][clock] for run in runs) for clock in (0, 1))
            print(f"{list(shape)} {spec:<10}  {1e3 * cpu:7.1f} ms of CPU, {1e3 * wall:7.1f} ms of wall")
        ratios = [run["maspo"][0] / run["maspo@hard"][0] for run in runs]
        low, _, high = quantiles(ratios, n=4)
        print(f"{list(shape)} maspo / maspo@hard  {median(ratios):.2f} (middle half {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
