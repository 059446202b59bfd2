"""Run by torchrun with two processes: a sharded model's gradient from the two halves of a window is the whole one's."""

import copy
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

sys.path.insert(0, str(Path(__file__).parents[2]))

from maspo_dsl.trainers.config import TrainerConfig
from maspo_dsl.trainers.module import PolicyTrainer

import maspo_dsl
from tests.trainers.test_head import part, qwen


def trainer_of(model):
    return PolicyTrainer(
        model, maspo_dsl.compile("maspo", backend="eager"), "hash", TrainerConfig(), log=print
    )


def main():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    whole = qwen(tie_word_embeddings=False)
    sharded = copy.deepcopy(whole)
    for layer in sharded.model.layers:
        fully_shard(layer)
    fully_shard(sharded)
    batch = part()
    half = {name: value[rank::2] for name, value in batch.items()}
    alone = trainer_of(whole)
    denominators = alone.denominators([half])
    alone.loss_of(batch, denominators).loss.backward()
    # FSDP2 averages over ranks, which the trainer undoes with the number of ranks.
    (trainer_of(sharded).loss_of(half, denominators).loss * dist.get_world_size()).backward()
    wanted = dict(whole.named_parameters())
    for name, weight in sharded.named_parameters():
        found = weight.grad.full_tensor()
        assert wanted[name].grad.abs().max() > 1e-7, name
        torch.testing.assert_close(found, wanted[name].grad, rtol=1e-4, atol=1e-7)
    print(f"gradients agree on rank {rank}", flush=True)
    dist.barrier()
    dist.destroy_process_group()
    # Threads of gloo and of backward may outlive the interpreter, which now and then aborts at its end.
    os._exit(0)


if __name__ == "__main__":
    main()
