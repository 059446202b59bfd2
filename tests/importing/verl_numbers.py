"""Numbers of verl's own code for a configuration: `python -m tests.importing.verl_numbers`, where verl 0.9.1 is.

Advantages, corrections and losses are those of core_algos.py and rollout_corr_helper.py, put together as ppo_loss of
losses.py does, with the counts that the V1 trainer gives: of all tokens, those that a rejection removed included.
Everything is float64.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from .trl_numbers import inputs

FOLDER = Path(__file__).parent / "golden"
GRPO = {"algorithm.adv_estimator": "grpo"}
CONFIGS = {
    "default": {},
    "grpo": GRPO,
    "grpo_kl": {**GRPO, "use_kl_loss": True, "kl_loss_coef": 0.05, "loss_agg_mode": "seq-mean-token-mean"},
    "grpo_straight_kl": {**GRPO, "use_kl_loss": True, "kl_loss_coef": 0.05, "kl_loss_type": "k3+"},
    "kl_kinds": {
        "adv_estimator": "rloo",
        "use_kl_loss": True,
        "kl_loss_coef": 0.05,
        "kl_loss_type": "abs",
        "entropy_coeff": 0.02,
        "loss_agg_mode": "seq-mean-token-sum",
    },
    "dr_grpo": {
        **GRPO,
        "norm_adv_by_std_in_grpo": False,
        "loss_agg_mode": "seq-mean-token-sum-norm",
        "loss_scale_factor": 20,
    },
    "dapo": {**GRPO, "clip_ratio_high": 0.28, "clip_ratio_c": 10.0},
    "only_clip_ratio": {**GRPO, "clip_ratio": 0.05, "clip_ratio_low": None, "clip_ratio_high": None},
    "gspo": {
        **GRPO,
        "loss_mode": "gspo",
        "clip_ratio_low": 0.03,
        "clip_ratio_high": 0.04,
        "loss_agg_mode": "seq-mean-token-mean",
    },
    "sapo_kl": {
        **GRPO,
        "loss_mode": "sapo",
        "tau_pos": 1.5,
        "use_kl_loss": True,
        "kl_loss_coef": 0.1,
        "entropy_coeff": 0.01,
    },
    "cispo": {**GRPO, "loss_mode": "cispo", "clip_ratio_low": 0.5, "clip_ratio_high": 0.3},
    "dppo_tv": {**GRPO, "loss_mode": "dppo_tv", "clip_ratio_low": 0.1, "clip_ratio_high": 0.05},
    "dppo_kl": {**GRPO, "loss_mode": "dppo_kl", "clip_ratio_low": 0.02, "clip_ratio_high": 0.01},
    "gmpo": {**GRPO, "loss_mode": "geo_mean", "clip_ratio_low": 0.4, "clip_ratio_high": 0.4},
    "gmpo_weighted": {
        **GRPO,
        "loss_mode": "geo_mean",
        "rollout_is": "token",
        "rollout_is_threshold": "0.9_1.1",
    },
    "gmpo_of_sequences": {
        **GRPO,
        "loss_mode": "geo_mean",
        "rollout_is": "sequence",
        "rollout_is_threshold": 1.1,
    },
    "kl_cov": {**GRPO, "loss_mode": "kl_cov", "kl_cov_ratio": 0.1, "ppo_kl_coef": 0.5, "rollout_is": "token"},
    "dro": {"adv_estimator": "opo", "loss_mode": "dro", "dro_beta": 0.3, "rollout_is": "sequence"},
    "gpg": {"adv_estimator": "gpg", "loss_mode": "gpg", "loss_agg_mode": "token-sum"},
    "reinforce_plus_plus": {
        "adv_estimator": "reinforce_plus_plus",
        "gamma": 0.9,
        "use_kl_in_reward": True,
        "kl_coef": 0.05,
        "kl_penalty": "low_var_kl",
    },
    "reinforce_plus_plus_baseline": {"adv_estimator": "reinforce_plus_plus_baseline"},
    "gae": {"adv_estimator": "gae", "gamma": 0.95, "lam": 0.9, "use_kl_in_reward": True, "kl_coef": 0.02},
    "rloo_reward_kl": {
        "adv_estimator": "rloo",
        "use_kl_in_reward": True,
        "kl_coef": 0.1,
        "kl_penalty": "mse",
    },
    "passk": {"adv_estimator": "grpo_passk"},
    "remax_kl": {"adv_estimator": "remax", "use_kl_in_reward": True, "kl_coef": 0.1},
    "tis": {**GRPO, "rollout_is": "token", "rollout_is_threshold": 1.1, "entropy_coeff": 0.01},
    "icepop": {**GRPO, "rollout_is": "token", "rollout_is_threshold": "0.9_1.1"},
    "sequence_is_rejection": {
        **GRPO,
        "rollout_is": "sequence",
        "rollout_is_threshold": 1.3,
        "rollout_rs": "seq_mean_k1",
        "rollout_rs_threshold": "0.97_1.05",
        "use_kl_loss": True,
        "kl_loss_coef": 0.1,
    },
    "token_rejection": {
        **GRPO,
        "rollout_rs": "token_k1,seq_max_k2",
        "rollout_rs_threshold": "0.85_1.2,0.05",
        "loss_agg_mode": "seq-mean-token-mean",
        "entropy_coeff": 0.05,
    },
    "k3_rejection": {**GRPO, "rollout_rs": "token_k3,seq_sum_k3", "rollout_rs_threshold": "0.01,0.06"},
    "bypass": {
        **GRPO,
        "bypass_mode": True,
        "rollout_rs": "token_k1",
        "rollout_rs_threshold": "0.5_2",
        "use_kl_loss": True,
        "kl_loss_coef": 0.1,
    },
    "bypass_of_rows": {
        **GRPO,
        "bypass_mode": True,
        "rollout_rs": "token_k2",
        "rollout_rs_threshold": 0.01,
        "loss_agg_mode": "seq-mean-token-mean",
        "use_kl_loss": True,
        "kl_loss_coef": 0.1,
        "entropy_coeff": 0.03,
    },
    "bypass_reinforce": {
        **GRPO,
        "bypass_mode": True,
        "rollout_correction.loss_type": "reinforce",
        "rollout_is": "token",
        "rollout_is_threshold": 1.5,
    },
}


def arrays() -> dict[str, np.ndarray]:
    """The completions of the TRL cases, with a critic's values and groups of unequal size, one of them alone."""
    random = np.random.default_rng(7)
    found = inputs(1)
    shape = found["mask"].shape
    found["value"] = random.standard_normal(shape)
    found["reward"] = found.pop("reward_1") + found.pop("reward_2")
    found["reward"][::5] = 0.0
    found["reward_greedy"] = random.random(shape[0])
    found["group"] = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 4])
    del found["truncated"]
    return found


def numbers(config: dict, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Advantage, loss and gradients as verl computes them for one update."""
    from verl.trainer.config import AlgoConfig
    from verl.trainer.ppo import core_algos as core
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask
    from verl.workers.config import FSDPActorConfig, PolicyLossConfig

    given = {
        key.rpartition(".")[2]: value
        for key, value in config.items()
        if key != "rollout_correction.loss_type"
    }
    tensors = {name: torch.tensor(value) for name, value in data.items()}
    mask = tensors["mask"].double()
    bypass = given.pop("bypass_mode", False)
    old = tensors["logp_rollout"] if bypass else tensors["logp_old"]
    correction = {name: given.pop(name) for name in list(given) if name.startswith("rollout_")}
    estimator = given.pop("adv_estimator", "gae")
    algorithm = {
        name: given.pop(name) for name in ("gamma", "lam", "norm_adv_by_std_in_grpo") if name in given
    }
    kl_in_reward, kl_coef = given.pop("use_kl_in_reward", False), given.pop("kl_coef", 0.001)
    kl_kind = given.pop("kl_penalty", "kl")

    rewards = torch.zeros_like(mask)
    last = mask.cumsum(1).argmax(1)
    rewards[torch.arange(len(rewards)), last] = tensors["reward"]
    if kl_in_reward:
        rewards = rewards - kl_coef * core.kl_penalty(old, tensors["logp_ref"], kl_kind) * mask
    left, weights = mask, None
    if correction and not bypass:
        proto, left, _ = compute_rollout_correction_and_rejection_mask(
            old_log_prob=old, rollout_log_prob=tensors["logp_rollout"], response_mask=mask, **correction
        )
        weights = proto.batch["rollout_is_weights"] if proto is not None else None
    algo = AlgoConfig(adv_estimator=estimator, **algorithm)
    if estimator == "gae":
        advantage, _ = core.compute_gae_advantage_return(
            rewards, tensors["value"], left, algo.gamma, algo.lam
        )
    else:
        kwargs = {"norm_adv_by_std_in_grpo": algo.norm_adv_by_std_in_grpo} if estimator == "grpo" else {}
        kwargs |= {"reward_baselines": tensors["reward_greedy"]} if estimator == "remax" else {}
        rows = slice(0, 15) if estimator == "grpo_passk" else slice(None)
        advantage = torch.zeros_like(rewards)
        kwargs = {name: value[rows] if torch.is_tensor(value) else value for name, value in kwargs.items()}
        advantage[rows], _ = core.get_adv_estimator_fn(estimator)(
            token_level_rewards=rewards[rows].clone(),
            response_mask=left[rows],
            index=data["group"][rows],
            config=algo,
            **kwargs,
        )
    names = set(PolicyLossConfig.__dataclass_fields__)
    policy = {name: given.pop(name) for name in list(given) if name in names}
    if bypass:
        from verl.trainer.config import RolloutCorrectionConfig

        kind = config.get("rollout_correction.loss_type", "ppo_clip")
        correction.setdefault("rollout_is", None)
        policy = {"loss_mode": "bypass_mode"}
        policy["rollout_correction"] = RolloutCorrectionConfig(bypass_mode=True, loss_type=kind, **correction)
    actor = FSDPActorConfig(
        rollout_n=4, ppo_micro_batch_size_per_gpu=1, policy_loss=PolicyLossConfig(**policy), **given
    )
    counts = {"dp_size": 1, "batch_num_tokens": mask.sum(), "global_batch_size": len(mask)}
    actor.global_batch_info.update(**counts, loss_scale_factor=actor.loss_scale_factor)
    logp, entropy = (tensors[name].clone().requires_grad_() for name in ("logp", "entropy"))
    loss, _ = core.get_policy_loss_fn(actor.policy_loss.loss_mode)(
        old_log_prob=old,
        log_prob=logp,
        advantages=advantage,
        response_mask=left,
        loss_agg_mode=actor.loss_agg_mode,
        config=actor,
        rollout_is_weights=weights,
    )
    info = actor.global_batch_info
    loss = loss - actor.entropy_coeff * core.agg_loss(entropy, left, actor.loss_agg_mode, **info)
    if actor.use_kl_loss:
        kl = core.kl_penalty(logp, tensors["logp_ref"], actor.kl_loss_type)
        loss = loss + actor.kl_loss_coef * core.agg_loss(kl, left, actor.loss_agg_mode, **info)
    loss.backward()
    found = {"advantage": advantage, "loss": loss, "dloss_dlogp": logp.grad, "dloss_dentropy": entropy.grad}
    return {name: value.detach().numpy() for name, value in found.items()}


def main() -> None:
    """Write the inputs once, the numbers of every configuration, and the configurations."""
    torch.set_default_dtype(torch.float64)
    data = arrays()
    saved = dict(data)
    for name, config in CONFIGS.items():
        saved |= {f"{name}.{key}": value for key, value in numbers(config, data).items()}
    np.savez_compressed(FOLDER / "verl.npz", **saved)
    (FOLDER / "verl.json").write_text(json.dumps({"verl": "0.9.1", "configs": CONFIGS}, indent=1) + "\n")
    print(f"{len(CONFIGS)} configurations", file=sys.stderr)


if __name__ == "__main__":
    main()
