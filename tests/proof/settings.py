"""The parameters that each objective is proven with: no two equal, and every threshold within the batches' reach."""

LENGTHS = {"max_length": 7, "cache": 3}
CLIP = {"eps_low": 0.15, "eps_high": 0.35}
DAPO = {**CLIP, **LENGTHS}
GATE = {"sigma_base": 0.3, "alpha": 0.45, "beta_pos": 0.55, "beta_neg": 0.4}
BAND = {"low": 0.96, "high": 1.05}
WIDE_BAND = {"low": 0.7, "high": 1.6}
SEARCH = {
    "low_start": 0.55,
    "low_max": 0.88,
    "low_step": 0.1,
    "high_start": 1.15,
    "high_max": 2.1,
    "high_step": 0.3,
}

SETTINGS: dict[str, dict[str, float]] = {
    "a2po": {"beta": 0.3},
    "aspo": {"eps_low_entropy": 0.15, "eps_high_entropy": 0.45, "q": 0.6, "cap": 1.7},
    "asymre": {"delta": -0.3},
    "bapo": {**SEARCH, "target": 1.3, "cap": 2.5},
    "bapo_paper": {**SEARCH, "share": 0.45},
    "bnpo": CLIP,
    "ce_gppo": {**CLIP, "beta_low": 0.6, "beta_high": 1.7, "cap": 1.8},
    "cfpo": {"eps": 0.45},
    "chord": {**CLIP, "mu": 0.6},
    "cispo": {"cap": 1.4},
    "cispo_two_sided": CLIP,
    "clip_cov": {**CLIP, "share": 0.12, "cov_low": 0.3, "cov_high": 2.5},
    "ctpo": {"eps_low": 0.15, "eps_high": 0.2, "cap": 0.6, "power": 0.7},
    "dapo": DAPO,
    "dcpo": {"eps_low": 0.06, "eps_high": 0.23, "cap": 12},
    "dcpo_paper": {"eps_low": 0.06, "eps_high": 0.23},
    "decoupled_ppo": {**CLIP, "cap": 1.05},
    "deepseek_v32": {**CLIP, "delta": 0.06, "kl": 0.3},
    "dgpo": {**CLIP, "n": 1.3, "m": 2.4},
    "dppo_kl": {"d_low": 0.02, "d_high": 0.07, "cap": 1.6},
    "dppo_kl_paper": {"d_low": 0.02, "d_high": 0.07, "cap": 1.6},
    "dppo_tv": {"d_low": 0.04, "d_high": 0.09, "cap": 1.6},
    "dppo_tv_paper": {"d_low": 0.04, "d_high": 0.09, "cap": 1.6},
    "dr_grpo": {**CLIP, "max_length": 7},
    "dro": {"beta": 0.3},
    "dvo": {"beta": 0.3, "cap": 1.7},
    "entropy_advantage": {**CLIP, "alpha": 0.45, "kappa": 2.4},
    "fipo": {**DAPO, "half": 1.7, "width": 0.2, "cap": 1.25, "safe": 1.3},
    "flash_reinforce": {**CLIP, "delta": 0.004},
    "gdpo": {**CLIP, "w_reward": 0.7, "w_format": 1.6},
    "gfpo": {**CLIP, "k": 3},
    "gigpo": {**CLIP, "w_step": 0.6},
    "gmpo": {"eps_low": 0.3, "eps_high": 0.55},
    "flowrl": {"beta": 0.7, "cap": 1.7},
    "gpg": {},
    "gpg_paper": {},
    "group_ppo": CLIP,
    "goldilocks": {**CLIP, "kl": 0.3},
    "grpo": {**CLIP, "kl": 0.3},
    "grpo_lead": {**CLIP, "alpha": 0.6, "long": 3, "low": 0.3, "high": 1.7, "mid": 0.55, "steep": 4},
    "grpo_leave_one_out": CLIP,
    "grpo_opsm": {**CLIP, "delta": 0.06},
    "grpo_passk": CLIP,
    "gspo": {"eps_low": 0.08, "eps_high": 0.13},
    "gspo_token": {"eps_low": 0.08, "eps_high": 0.13},
    "kl_cov": {"share": 0.12, "beta": 0.3},
    "lite_ppo": CLIP,
    "gvpo": {"beta": 0.3},
    "luspo": {"eps_low": 0.08, "eps_high": 0.13},
    "luffy": {"shape": 0.3, "max_length": 7},
    "m2po": {**CLIP, "cap": 1.05, "tau": 0.01},
    "magistral": {**DAPO, "price": 0.6},
    "maspo": GATE,
    "maspo_dapo": {**GATE, **LENGTHS},
    "maspo_paper": GATE,
    "max_rl": CLIP,
    "mis": {**DAPO, **BAND},
    "mis_geometric": {**DAPO, **BAND},
    "mis_product": {**DAPO, **WIDE_BAND},
    "molt": {**CLIP, "cap": 1.3, "low": 0.97, "high": 1.04, "kl": 0.3},
    "mopd": {"alpha": 0.6, "low": 0.97, "high": 1.04},
    "nsr": {**CLIP, "positive": 0.45},
    "oapl": {"beta_value": 0.7, "beta": 0.3},
    "olmo3": {**CLIP, "cap": 1.05},
    "opd": {},
    "opo": CLIP,
    "optimal_token_baseline": CLIP,
    "passk_training": {**CLIP, "k": 3},
    "ppo": {**CLIP, "gamma": 0.95, "lambda": 0.6},
    "ppo_dual_clip": {**DAPO, "cap": 1.8},
    "prime_default": {"d_low": 0.04, "d_high": 0.09, "tau": 0.3},
    "pspo": {"alpha": 0.35},
    "qae": {**CLIP, "k": 0.55},
    "rae": {**CLIP, "decay": 0.6},
    "reinforce_plus_plus": {**CLIP, "kl": 0.6, "gamma": 0.9},
    "reinforce_plus_plus_baseline": CLIP,
    "real": {"tau": 0.7},
    "rejection": {**DAPO, **BAND},
    "rejection_geometric": {**DAPO, **BAND},
    "rejection_product": {**DAPO, **WIDE_BAND},
    "remax": CLIP,
    "ripo": {"delta_low": 0.003, "delta_high": 0.02},
    "rloo": CLIP,
    "sapo": {"tau_pos": 0.7, "tau_neg": 1.9},
    "scale_rl": {"cap": 1.15},
    "soft_exponential": {**CLIP, "rate": 1.4},
    "spo": {**CLIP, "cap": 1.8, "rho": 0.6},
    "stapo": {**CLIP, "tau_p": 0.42, "q": 0.6},
    "stapo_maspo": {**GATE, "tau_p": 0.42, "q": 0.6},
    "stapo_goldilocks": {**CLIP, "tau_p": 0.42, "q": 0.6},
    "stapo_v1": {**CLIP, "tau_p": 0.42, "q": 0.6},
    "target_po": {"temperature": 0.7},
    "tis": {**DAPO, "cap": 1.05},
    "tis_geometric": {**DAPO, "cap": 1.03},
    "tis_product": {**DAPO, "cap": 1.2},
    "top_entropy": {**DAPO, "share": 0.4},
    "topr": {"cap": 0.6},
    "two_sided_clip": {**CLIP, "delta": 1.6},
    "vapo": {**CLIP, "gamma": 0.95, "alpha": 0.45, "mu": 0.6},
    "vcpo": {"cap": 1.2, "ess_base": 0.8},
    "vespo": {"k_pos": 1.4, "lambda_pos": 0.9, "k_neg": 1.8, "lambda_neg": 0.7},
}

SECOND: dict[str, dict[str, float]] = {
    "ctpo": {**SETTINGS["ctpo"], "eps_high": 0.7, "cap": 0.3},
    "dcpo": {**SETTINGS["dcpo"], "cap": 7},
    "spo": {**SETTINGS["spo"], "eps_high": 0.6, "cap": 1.2},
}
"""A cap that is above the bound which is at least 10 shows what another below it does not, and the other way round."""

POOLED = frozenset({"stapo", "stapo_goldilocks", "stapo_maspo", "stapo_v1", "top_entropy"})
"""A quantile within the window needs all its values at once, which ranks cannot add up."""

BY_PROMPT = frozenset({"magistral", "scale_rl"})
"""The loss is averaged over groups, which no micro-batch may cut."""
WITHIN_GROUPS = frozenset({"gvpo", "real", "target_po"})
"""Completions of a group are compared in the loss, which no micro-batch may cut."""
ASKED_IN_LOSS = {
    "vapo": "reward",
    "luffy": "expert",
    "chord": "expert",
    "flowrl": "log_z",
    **dict.fromkeys(BY_PROMPT | WITHIN_GROUPS, "group"),
}
"""What the loss itself reads of completions, whether or not the batch brings an advantage."""

MEAN_OF_MICRO = frozenset({"bapo", "bnpo"})
"""Every micro-batch is averaged by itself, as the sources do, and those means once more."""
SEARCHED_IN_MICRO = frozenset({"bapo_paper", "clip_cov", "kl_cov", "m2po"})
"""Something is computed within the micro-batch; the loss is a mean over the window's tokens."""
