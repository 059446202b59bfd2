"""Numbers of TRL's own code for a GRPOConfig: `python -m tests.importing.trl_numbers`, where trl 1.16 is installed.

Loss, gradients and advantage come from GRPOTrainer's methods on a stand-in for the trainer, and from the blocks of its
`_generate_and_score_completions` that compute the advantage and the correction for vLLM, executed as they stand.
Everything is float64: TRL makes tensors of its constants in the default dtype.
"""

import inspect
import json
import math
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden"
CONFIGS = {
    "default": {},
    "deepseekmath": {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
    "grpo_kl": {"loss_type": "grpo", "beta": 0.04},
    "default_kl": {"beta": 0.001},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": False, "max_completion_length": 12},
    "dapo_recipe": {"epsilon_high": 0.28, "mask_truncated_completions": True},
    "bnpo": {"loss_type": "bnpo"},
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
    },
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "cispo_default": {"loss_type": "cispo"},
    "sapo": {"loss_type": "sapo"},
    "sapo_sequence_vllm": {
        "loss_type": "sapo",
        "importance_sampling_level": "sequence",
        "sapo_temperature_pos": 2.0,
        "use_vllm": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_min": 0.9,
        "vllm_importance_sampling_clip_max": 1.1,
        "mask_truncated_completions": True,
        "beta": 0.1,
    },
    "intellect2": {"loss_type": "grpo", "delta": 4.0, "beta": 0.001},
    "delta_below_the_clip": {"loss_type": "dr_grpo", "delta": 1.1, "epsilon_high": 0.4},
    "vllm_default": {"use_vllm": True},
    "vllm_token_mask": {
        "loss_type": "bnpo",
        "use_vllm": True,
        "vllm_importance_sampling_mode": "token_mask",
        "vllm_importance_sampling_clip_min": 0.9,
        "vllm_importance_sampling_cap": 1.2,
        "off_policy_mask_threshold": 0.02,
        "scale_rewards": "batch",
    },
    "vllm_off": {
        "use_vllm": True,
        "vllm_importance_sampling_correction": False,
        "off_policy_mask_threshold": 0.0,
    },
    "top_entropy": {"top_entropy_quantile": 0.2},
    "top_entropy_bonus_cut": {
        "loss_type": "grpo",
        "top_entropy_quantile": 0.4,
        "entropy_coef": 0.05,
        "mask_truncated_completions": True,
        "off_policy_mask_threshold": 0.1,
        "beta": 0.05,
    },
    "bonus_cut": {"entropy_coef": 0.05, "mask_truncated_completions": True, "top_entropy_quantile": 0.5},
    "luspo": {
        "loss_type": "luspo",
        "importance_sampling_level": "sequence",
        "epsilon": 0.05,
        "beta": 0.02,
        "entropy_coef": 0.01,
    },
    "luspo_token_cut": {"loss_type": "luspo", "delta": 1.5, "mask_truncated_completions": True, "beta": 0.02},
    "vespo": {"loss_type": "vespo", "vespo_k_pos": 1.5, "beta": 0.1},
    "vespo_mask": {
        "loss_type": "vespo",
        "use_vllm": True,
        "vllm_importance_sampling_mode": "token_mask",
        "vllm_importance_sampling_clip_max": 1.3,
        "off_policy_mask_threshold": 0.1,
    },
    "vespo_truncate": {
        "loss_type": "vespo",
        "use_vllm": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_min": 0.8,
        "vllm_importance_sampling_clip_max": 1.3,
    },
    "two_rewards": {
        "multi_objective_aggregation": "normalize_then_sum",
        "reward_weights": [0.5, 2.0],
        "importance_sampling_level": "sequence",
        "epsilon": 0.01,
    },
}


# What the methods read of the trainer that it copies from its configuration.
_READ = (
    "beta entropy_coef importance_sampling_level loss_type max_completion_length multi_objective_aggregation "
    "off_policy_mask_threshold scale_rewards top_entropy_quantile use_adaptive_entropy use_vllm "
    "vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min vllm_importance_sampling_correction "
    "vllm_importance_sampling_mode"
)
READ = _READ.split()


def inputs(seed: int, rows: int = 16, columns: int = 9) -> dict[str, np.ndarray]:
    """Completions whose ratios are on both sides of every bound, with truncated rows and groups of four."""
    random = np.random.default_rng(seed)
    old = -random.exponential(1.0, (rows, columns)) - 0.05
    lengths = random.integers(2, columns + 1, rows)
    spread = np.resize([0.02, 0.1, 0.4, 0.8], rows)[:, None]
    apart = spread * random.standard_normal((rows, columns))
    mask = np.arange(columns) < lengths[:, None]
    mask[3, 1] = False
    rewards = random.random((2, rows))
    return {
        "logp": np.minimum(old + apart, -1e-3),
        "logp_old": old,
        "logp_ref": np.minimum(old + 0.3 * random.standard_normal(old.shape), -1e-3),
        "logp_rollout": np.minimum(old + 0.1 * random.standard_normal(old.shape), -1e-3),
        "entropy": random.random(old.shape) * 2 + 0.1,
        "mask": mask,
        "truncated": np.resize([False, False, True, False, False], rows),
        "reward_1": rewards[0].round(1),
        "reward_2": rewards[1].round(1),
        "group": np.arange(rows) // 4,
    }


def block(function: object, first: str, last: str) -> str:
    """The lines of a function from that which starts with `first` up to that which starts with `last`."""
    lines = inspect.getsource(function).splitlines()
    start = next(place for place, line in enumerate(lines) if line.strip().startswith(first))
    stop = next(place for place, line in enumerate(lines) if place > start and line.strip().startswith(last))
    return textwrap.dedent("\n".join(lines[start:stop]))


def numbers(config: dict, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Advantage, loss and gradients as TRL computes them in one micro-batch."""
    from trl import GRPOConfig, GRPOTrainer
    from trl.trainer.utils import nanstd

    args = GRPOConfig(output_dir="trl_numbers", report_to=[], use_cpu=True, **config)
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    mask = tensors["mask"].int()
    if args.mask_truncated_completions:
        mask = mask * (~tensors["truncated"]).unsqueeze(1).int()
    trainer = SimpleNamespace(
        **{name: getattr(args, name) for name in READ},
        args=args,
        accelerator=SimpleNamespace(
            num_processes=1,
            sync_gradients=True,
            gather=lambda x: x,
            reduce=lambda x, reduction: x,
            pad_across_processes=lambda x, dim, pad_index: x,
        ),
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=args.entropy_coef != 0,
        _metrics={"train": defaultdict(list)},
        epsilon_low=args.epsilon,
        reward_weights=torch.tensor(args.reward_weights or [1.0, 1.0]),
        reward_funcs=[None, None],
        num_generations=4,
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
        get_gamma_weights=GRPOTrainer.get_gamma_weights,
    )
    trainer.epsilon_high = args.epsilon if args.epsilon_high is None else args.epsilon_high
    trainer.args.steps_per_generation = 1
    trainer.get_high_entropy_mask = lambda *given: GRPOTrainer.get_high_entropy_mask(trainer, *given)
    scope = {
        "self": trainer,
        "torch": torch,
        "math": math,
        "nanstd": nanstd,
        "device": torch.device("cpu"),
        "num_generations": 4,
        "rewards_per_func": torch.stack([tensors["reward_1"], tensors["reward_2"]], 1),
        "completion_mask": mask,
        "tool_mask": None,
        "old_per_token_logps": tensors["logp_old"],
        "sampling_per_token_logps": tensors["logp_rollout"],
    }
    whole = GRPOTrainer._generate_and_score_completions
    exec(block(whole, "unscorable_mask =", "# Slice to keep"), scope)
    given = {"advantages": scope["advantages"], "old_per_token_logps": tensors["logp_old"]}
    if args.use_vllm:
        given["sampling_per_token_logps"] = tensors["logp_rollout"]
        if args.vllm_importance_sampling_correction:
            exec(
                block(
                    whole, "# Compute the importance sampling ratio when", "# Compute the per-token log prob"
                ),
                scope,
            )
            given["importance_sampling_ratio"] = scope["vllm_importance_sampling_ratio"]
    logp, entropy = (tensors[name].clone().requires_grad_() for name in ("logp", "entropy"))
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: (logp, entropy, None)
    ids = torch.zeros_like(mask)
    given |= {"prompt_ids": ids[:, :0], "prompt_mask": ids[:, :0], "completion_ids": ids}
    given |= {"completion_mask": mask, "num_items_in_batch": mask.sum().double()}
    given |= {"ref_per_token_logps": tensors["logp_ref"]}
    loss = GRPOTrainer._compute_loss(trainer, None, given)
    loss.backward()
    weights = trainer.reward_weights.double()
    found = {
        "reward": weights[0] * tensors["reward_1"] + weights[1] * tensors["reward_2"],
        "advantage": scope["advantages"],
        "loss": loss,
        "dloss_dlogp": logp.grad,
        "dloss_dentropy": torch.zeros_like(entropy) if entropy.grad is None else entropy.grad,
    }
    return {name: value.detach().numpy() for name, value in found.items()}


def main() -> None:
    """Write the inputs once, the numbers of every configuration, and the configurations."""
    torch.set_default_dtype(torch.float64)
    arrays = inputs(0)
    FOLDER.mkdir(exist_ok=True)
    saved = dict(arrays)
    for name, config in CONFIGS.items():
        saved |= {f"{name}.{key}": value for key, value in numbers(config, arrays).items()}
    np.savez_compressed(FOLDER / "trl.npz", **saved)
    (FOLDER / "trl.json").write_text(json.dumps({"trl": "1.16.0", "configs": CONFIGS}, indent=1) + "\n")
    print(f"{len(CONFIGS)} configurations", file=sys.stderr)


if __name__ == "__main__":
    main()
