"""A training loop of one's own around an objective, on any number of processes, with padded or packed batches.

    torchrun --nproc_per_node=2 examples/loops/own_loop.py ddp           # or fsdp2, or accelerate
    torchrun --nproc_per_node=2 examples/loops/own_loop.py ddp --packed
    python examples/loops/own_loop.py alone                              # the same numbers

Every process has half of the groups, in two micro-batches. What an objective divides by belongs to the whole optimizer
step, so it is counted first, over micro-batches and processes; then the parts' gradients add up to that of the whole.
"""

import argparse
import json
import os
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import maspo_dsl

VOCABULARY, GROUPS, SAMPLES, LENGTH, STEPS = 11, 4, 4, 6, 4


class Bigrams(nn.Module):
    """A policy that looks at the token before: `[...]` tokens to `[..., V]` logits."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Embedding(VOCABULARY, 16)
        self.head = nn.Linear(16, VOCABULARY)

    def forward(self, before: Tensor) -> Tensor:
        """Logits of the next token."""
        return self.head(torch.tanh(self.before(before)))


def log_probs(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Log-probs of the tokens, of the shape of the tokens."""
    return model(batch["before"]).log_softmax(-1).gather(-1, batch["tokens"][..., None])[..., 0]


def rollout(model: nn.Module) -> dict[str, Tensor]:
    """Completions of all groups, [N, T]; the reward is the share of even tokens. Here they are drawn at random."""
    tokens = torch.randint(VOCABULARY, (GROUPS * SAMPLES, LENGTH + 1))
    lengths = torch.randint(2, LENGTH + 1, (GROUPS * SAMPLES, 1))
    mask = torch.arange(LENGTH) < lengths
    batch = {"before": tokens[:, :-1], "tokens": tokens[:, 1:], "mask": mask}
    even = (batch["tokens"] % 2 == 0) & mask
    batch["reward"] = even.sum(1) / mask.sum(1)
    batch["group"] = torch.arange(GROUPS).repeat_interleave(SAMPLES)
    with torch.no_grad():
        batch["logp_old"] = log_probs(model, batch)
    return batch


def rows(batch: dict[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
    """Some completions of a batch."""
    return {name: value[chosen] for name, value in batch.items()}


def pack(batch: dict[str, Tensor], cu_seqlens: Tensor) -> dict[str, Tensor]:
    """Without padding: tensors of tokens as `[M]`, and `sequence` `[M]`, the row that each token is of."""
    lengths = cu_seqlens.diff()
    there = torch.arange(batch["mask"].shape[1]) < lengths[:, None]
    flat = {name: value[there] if value.dim() == 2 else value for name, value in batch.items()}
    return {**flat, "sequence": torch.repeat_interleave(torch.arange(len(lengths)), lengths)}


def packed(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A padded batch whose masks have no holes, packed."""
    return pack(batch, nn.functional.pad(batch["mask"].sum(1).cumsum(0), (1, 0)))


def sum_over_ranks(values: dict[str, Tensor], world: int) -> dict[str, Tensor]:
    """Each value added up over processes, in place."""
    for value in values.values() if world > 1 else ():
        dist.all_reduce(value)
    return values


class Alone:
    """One process."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.world, self.rank = model, 1, 0

    def local_until(self, last: bool):
        """Within it gradients stay on their process, until the last micro-batch."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add its gradients to those that there are."""
        loss.backward()


class Ddp(Alone):
    """DistributedDataParallel, which averages gradients in `backward`."""

    def __init__(self, model: nn.Module) -> None:
        dist.init_process_group("gloo")
        self.model, self.world, self.rank = (
            DistributedDataParallel(model),
            dist.get_world_size(),
            dist.get_rank(),
        )

    def local_until(self, last: bool):
        """Until the last micro-batch."""
        return nullcontext() if last else self.model.no_sync()


class Fsdp2(Alone):
    """Sharded weights, whose gradients are averaged, too."""

    def __init__(self, model: nn.Module) -> None:
        from torch.distributed.fsdp import fully_shard

        dist.init_process_group("gloo")
        self.model, self.world, self.rank = fully_shard(model), dist.get_world_size(), dist.get_rank()

    def local_until(self, last: bool):
        """Until the last micro-batch."""
        self.model.set_requires_gradient_sync(last)
        return nullcontext()


class Accelerate(Alone):
    """Whatever accelerate was configured to do; its own accumulation stays at 1."""

    def __init__(self, model: nn.Module) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=True)
        self.model = self.accelerator.prepare(model)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index

    def local_until(self, last: bool):
        """Until the last micro-batch."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def backward(self, loss: Tensor) -> None:
        """By accelerate, which scales it in half precision."""
        self.accelerator.backward(loss)


STRATEGIES = {"alone": Alone, "ddp": Ddp, "fsdp2": Fsdp2, "accelerate": Accelerate}


def train(strategy: str, *, use_packed: bool) -> dict[str, object]:
    """What the steps came to: the sum of squares of the weights, and the metrics of each step."""
    torch.manual_seed(0)
    policy = Bigrams()
    ranks = STRATEGIES[strategy](policy)
    loss = maspo_dsl.compile("maspo", backend="eager")
    optimizer = torch.optim.SGD(ranks.model.parameters(), lr=5.0)
    history = []
    for step in range(STEPS):
        loss.params["alpha"].fill_(
            0.3 * (1 - step / STEPS)
        )  # a parameter may change, without compiling again
        if step % 2 == 0:  # two updates a rollout
            batch = rollout(ranks.model)
            batch["advantage"] = loss.advantage(batch)  # while the groups are whole
        mine = rows(batch, batch["group"] % ranks.world == ranks.rank)
        parts = [
            rows(mine, chosen) for chosen in torch.arange(len(mine["mask"])).split([3, len(mine["mask"]) - 3])
        ]
        parts = [packed(part) for part in parts] if use_packed else parts

        denominators = sum_over_ranks(loss.window(parts), ranks.world)
        outputs = []
        for number, part in enumerate(parts):
            with ranks.local_until(last=number == len(parts) - 1):
                output = loss({**part, "logp": log_probs(ranks.model, part)}, denominators=denominators)
                # Gradients are averaged over processes: the factor makes the mean of their parts a sum.
                ranks.backward(output.loss * ranks.world)
            outputs.append(output.metric_parts)
        optimizer.step()
        optimizer.zero_grad()
        metrics = maspo_dsl.pool(outputs, ranks=True)
        history.append({name: value.item() for name, value in metrics.items()})
    weights = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in policy.parameters()]
    return {"weights": sum(float((each.detach() ** 2).sum()) for each in weights), "metrics": history}


def main() -> None:
    """Train, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("strategy", choices=STRATEGIES)
    parser.add_argument("--packed", action="store_true", help="batches without padding")
    chosen = parser.parse_args()
    result = train(chosen.strategy, use_packed=chosen.packed)
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(result), flush=True)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
