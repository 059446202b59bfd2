"""Writes maspo_qwen7b.sh beside this file: MASPO on DAPO-Math-17K with Qwen2.5-7B and 8 GPUs, in verl.

What the objective needs of verl is asked of the objective, so that the script cannot say anything else:

    python -m examples.verl.launch
"""

from __future__ import annotations

from pathlib import Path

from maspo_dsl.hosts.verl import settings

SCRIPT = Path(__file__).with_name("maspo_qwen7b.sh")
RUN = {
    "data.train_files": "$DATA/dapo-math-17k.parquet",
    "data.val_files": "$DATA/aime-2024.parquet",
    "data.prompt_key": "prompt",
    "data.max_prompt_length": "2048",
    "data.max_response_length": "8192",
    "data.train_batch_size": "512",
    "data.truncation": "left",
    "actor_rollout_ref.model.path": "Qwen/Qwen2.5-Math-7B",
    "actor_rollout_ref.model.enable_gradient_checkpointing": "True",
    "actor_rollout_ref.model.use_remove_padding": "True",
    "actor_rollout_ref.actor.optim.lr": "1e-6",
    "actor_rollout_ref.actor.optim.lr_warmup_steps": "10",
    "actor_rollout_ref.actor.ppo_mini_batch_size": "32",
    "actor_rollout_ref.actor.use_dynamic_bsz": "True",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": "20480",
    "actor_rollout_ref.rollout.name": "vllm",
    "actor_rollout_ref.rollout.n": "16",
    "actor_rollout_ref.rollout.temperature": "1.0",
    "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz": "True",
    "actor_rollout_ref.rollout.gpu_memory_utilization": "0.8",
    "trainer.n_gpus_per_node": "8",
    "trainer.nnodes": "1",
    "trainer.project_name": "maspo",
    "trainer.experiment_name": "maspo_qwen7b",
    "trainer.logger": "[console,file]",
    "trainer.total_epochs": "10",
    "trainer.save_freq": "50",
    "trainer.test_freq": "10",
}
HEAD = """#!/usr/bin/env bash
# Written by `python -m examples.verl.launch`. Needs verl 0.9 and `pip install maspo-dsl` in its environment, on every
# node: verl finds the objectives by itself. MASPO_DSL_VERL names specs of your own and values of parameters, such as
# "maspo alpha=0.5 ./mine.obj"; Ray hands it on if the cluster is started with it.
set -euo pipefail
DATA=${DATA:-$HOME/data}

python3 -m verl.trainer.main_ppo"""


def script(objective: str = "maspo") -> str:
    """The text of the launch script for an objective."""
    lines = {**RUN, **settings(objective)}
    return HEAD + "".join(f" \\\n    {key}={value}" for key, value in lines.items()) + ' \\\n    "$@"\n'


if __name__ == "__main__":
    SCRIPT.write_text(script(), encoding="utf-8")
