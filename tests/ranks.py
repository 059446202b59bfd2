"""`python -m tests.ranks`: two processes share an optimizer step of every objective, as they do where training is real.

Each has half of the micro-batches and adds up its denominators with the other's; losses and gradients together are
those of one process that has all of them.
"""

import subprocess
import sys
import tempfile
from datetime import timedelta
from itertools import chain

import numpy as np
import torch

import maspo_dsl
from maspo_dsl.runtime.ranks import sum_over_ranks
from maspo_dsl.verification.batches import cut, rows_of
from maspo_dsl.verification.evaluation import (
    Evaluation,
    PropertyError,
    as_torch,
    check_equal,
    check_nontrivial,
    computed,
)

from .verify.catalogue import MICRO, SPECS, UNPOOLED, subject

RANKS, PARTS, SEED = 2, 5, 7


def main() -> int:
    if len(sys.argv) > 1:
        return of_rank(int(sys.argv[1]), sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.ranks"]
        ranks = [subprocess.Popen([*command, str(rank), folder]) for rank in range(RANKS)]
        try:
            return max(each.wait(timeout=1200) for each in ranks)
        finally:
            for each in ranks:
                each.kill()


def of_rank(rank: int, folder: str) -> int:
    """What one process does: all objectives, one after the other; 1 if one of them failed."""
    torch.set_num_threads(1)
    whole = {name: _whole(name) for name in SPECS}  # before there are other processes
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(minutes=2),
    )
    faults = [fault for name in SPECS if (fault := _fault(name, rank, *whole[name]))]
    torch.distributed.destroy_process_group()
    if rank == 0:
        print("\n".join([*faults, f"{len(SPECS)} objectives on {RANKS} processes, {len(faults)} wrong"]))
    return int(bool(faults))


def _whole(name: str) -> tuple[dict[str, np.ndarray], Evaluation]:
    one = subject(name)
    batch = one.estimated(one.batches(SEED)[0][1])
    expected = computed(one.eager, batch)
    check_nontrivial(expected, name)
    return batch, expected


def _fault(name: str, rank: int, batch: dict[str, np.ndarray], expected: Evaluation) -> str | None:
    """What is wrong with an objective on several ranks, if anything is."""
    one = subject(name)
    pieces = cut(batch, PARTS, SEED, together=one.together)[rank::RANKS]
    parts = [rows_of(batch, piece) for piece in pieces]
    try:
        window = one.eager.window([as_torch(part) for part in parts])
    except maspo_dsl.BatchError as error:
        return None if name in UNPOOLED else f"{name}: {error}"
    if name in UNPOOLED:
        return f"{name}: a statistic of one rank is taken for that of all"
    denominators = sum_over_ranks(window)
    loss = torch.zeros((), dtype=torch.float64)
    gradients = {
        key: torch.zeros(value.shape, dtype=torch.float64) for key, value in expected.gradients.items()
    }
    for piece, part in zip(pieces, parts, strict=True):
        found = computed(one.eager, part, denominators=denominators)
        loss += found.loss
        for key, value in found.gradients.items():
            gradients[key][piece] = torch.as_tensor(value)
    for tensor in chain([loss], gradients.values()):
        torch.distributed.all_reduce(tensor)
    got = Evaluation(loss.item(), {key: value.numpy() for key, value in gradients.items()})
    try:
        check_equal(got, expected, "two ranks")
    except PropertyError as error:
        return None if name in MICRO else f"{name}: {error}"
    return f"{name}: it says `micro`, and no cut changes it" if name in MICRO else None


if __name__ == "__main__":
    sys.exit(main())
