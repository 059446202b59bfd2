"""`python -m tests.ranks`: however an optimizer step is cut, packed and shared by processes, the weights are the same.

A tiny model in float64 makes one step of every objective: in one process, and in two that share it by
DistributedDataParallel or by FSDP2; its batch padded or packed, in 1 to 8 micro-batches, of which one process may have
one more than the other. The weights after it are those of one process with the whole batch at once.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import maspo_dsl
from maspo_dsl.runtime.ranks import sum_over_ranks
from maspo_dsl.verification.batches import cut, packed, places, rows_of
from maspo_dsl.verification.evaluation import as_torch

from .verify.catalogue import MICRO, SPECS, UNPOOLED, subject

RANKS, SEED = 2, 7
TOKENS, WIDTH = 9, 8
CUTS = range(1, 9)
# Of the largest change of a weight: sums in another order, in float64.
TOLERANCE = 1e-10


class Model(nn.Module):
    """Moves the live tensors of a batch by less than 0.01, each by its token."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names
        generator = torch.Generator().manual_seed(SEED)
        self.embedding = nn.Embedding(TOKENS, WIDTH, dtype=torch.float64)
        self.head = nn.Linear(WIDTH, len(names), dtype=torch.float64)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))

    def forward(self, token: Tensor, row: Tensor, live: dict[str, Tensor]) -> dict[str, Tensor]:
        by_token, by_row = (
            0.01 * torch.sigmoid(self.head(torch.tanh(self.embedding(each)))) for each in (token, row)
        )
        return {
            name: live[name] - (by_token if live[name].shape == token.shape else by_row)[..., i]
            for i, name in enumerate(self.names)
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ranks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SPEC", default=list(SPECS))
    parser.add_argument("--cuts", nargs="+", type=int, default=list(CUTS))
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.rank is not None:
        return of_rank(chosen.rank, chosen.folder, chosen.names, chosen.cuts)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.ranks", *chosen.names, "--cuts", *map(str, chosen.cuts)]
        ranks = [
            subprocess.Popen([*command, "--rank", str(rank), "--folder", folder]) for rank in range(RANKS)
        ]
        try:
            return max(each.wait(timeout=3000) for each in ranks)
        finally:
            for each in ranks:
                each.kill()


def of_rank(rank: int, folder: str, names: Sequence[str], cuts: Sequence[int]) -> int:
    """What one process does: all objectives, one after the other; 1 if one of them failed."""
    torch.set_num_threads(1)
    # Before there are other processes: a statistic of a window is then that of the whole.
    wholes = {name: Whole(name) for name in names}
    faults = [fault for whole in wholes.values() for fault in whole.faults(cuts, whole.alone)]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS, timeout=timedelta(minutes=5)
    )
    for whole in wholes.values():
        faults += whole.faults(cuts, lambda pieces, whole=whole: whole.shared(pieces, rank))
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        print("\n".join([*faults, f"{len(names)} objectives on {RANKS} processes, {len(faults)} faults"]))
    return int(bool(faults))


class Whole:
    """An objective, its batch, and the weights that one process makes of it at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        one = subject(name)
        self.batch, self.together = with_tokens(one.estimated(one.batches(SEED)[0][1])), one.together
        step = Step(name, [self.batch])
        self.wanted = step.alone()
        start = torch.cat([weight.detach().flatten() for weight in step.model().parameters()])
        self.change = float((self.wanted - start).abs().max())

    def faults(self, cuts, ways) -> list[str]:
        """What is wrong with its step, for each cut and layout and each of some ways to make it."""
        found = [] if self.change > 1e-12 else [f"{self.name}: no weight moves"]
        for parts in cuts:
            pieces = [
                rows_of(self.batch, piece) for piece in cut(self.batch, parts, SEED, together=self.together)
            ]
            for layout, laid in (("padded", pieces), ("packed", [pack(piece) for piece in pieces])):
                faults = {way: self.fault(way, make, parts) for way, make in ways(laid).items()}
                found += [
                    f"{self.name}, {layout}, {parts} parts, {way}: {why}"
                    for way, why in faults.items()
                    if why
                ]
        return found

    def alone(self, pieces):
        """One process."""
        return {"alone": Step(self.name, pieces).alone}

    def shared(self, pieces, rank):
        """Processes that share the step; those that gather weights for each part make as many parts as each other."""
        own = pieces[rank::RANKS]
        even = [*own, *[untrained(pieces[0])] * (len(pieces[::RANKS]) - len(own))]
        return {
            "ddp": lambda: Step(self.name, own or even).shared(DistributedDataParallel),
            "fsdp2": lambda: Step(self.name, even).shared(fully_shard),
        }

    def fault(self, way, make, parts) -> str | None:
        """What is wrong with one way to make the step."""
        several = way != "alone"
        try:
            apart = float((make() - self.wanted).abs().max()) / self.change
        except maspo_dsl.BatchError as error:
            return None if self.name in UNPOOLED and several else str(error)
        if self.name in UNPOOLED and several:
            return "a statistic of one rank is taken for that of all"
        if self.name in MICRO and (several or parts > 1):
            return None
        return None if apart < TOLERANCE else f"weights are {apart:.1e} of the step apart"


def with_tokens(batch):
    tokens = np.random.default_rng(SEED).integers(0, TOKENS, batch["mask"].shape)
    return {**batch, "token": tokens, "row": tokens[:, 0].copy()}


def pack(piece):
    return packed(piece, places(piece, SEED, in_order=True))


def untrained(piece):
    """A part of the same form with nothing to train, and its rewards missing."""
    rewards = {name: np.full_like(piece[name], np.nan) for name in ("reward",) if name in piece}
    return {**piece, **rewards, "mask": np.zeros_like(piece["mask"])}


class Step:
    """One step of an objective from the micro-batches of this process."""

    def __init__(self, name, pieces) -> None:
        self.loss = subject(name).eager
        self.live = sorted(set(self.loss.objective.resolved.live_tensors) & set(pieces[0]))
        self.parts = [as_torch(piece) for piece in pieces]

    def model(self) -> Model:
        return Model(self.live)

    def alone(self) -> Tensor:
        """The weights after it, in one process that has all of them."""
        return self.weights(self.model(), 1, lambda last: nullcontext(), lambda values: values)

    def shared(self, wrap) -> Tensor:
        """The same in processes that share it."""
        model = wrap(self.model())

        def local_until(last):
            if isinstance(model, DistributedDataParallel):
                return nullcontext() if last else model.no_sync()
            model.set_requires_gradient_sync(last)
            return nullcontext()

        return self.weights(model, RANKS, local_until, sum_over_ranks)

    def weights(self, model, world, local_until, summed) -> Tensor:
        # Some denominators read the policy, so the window is counted with it.
        with torch.no_grad():
            denominators = summed(self.loss.window([self.batch(model, part) for part in self.parts]))
        for number, part in enumerate(self.parts):
            with local_until(number == len(self.parts) - 1):
                output = self.loss(self.batch(model, part), denominators=denominators)
                (output.loss * world).backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        weights = [each.full_tensor() if isinstance(each, DTensor) else each for each in model.parameters()]
        return torch.cat([weight.detach().flatten() for weight in weights])

    def batch(self, model, part):
        given = {name: value for name, value in part.items() if name not in ("token", "row")}
        return {**given, **model(part["token"], part["row"], {name: part[name] for name in self.live})}


if __name__ == "__main__":
    sys.exit(main())
