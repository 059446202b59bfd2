"""Every option of verl that decides the objective: what it means in a spec.

Read from core_algos.py, rollout_corr_helper.py, losses.py and the yaml defaults of verl 0.9.1, whose V1 trainer is its
default.
"""

from __future__ import annotations

from maspo_dsl.importing.options import SET, About, Option, table

VERSION = "0.9.1"

ACTOR = "actor_rollout_ref.actor"
_LOSS = f"{ACTOR}.policy_loss"
_RC = "algorithm.rollout_correction"
MODE = f"{_LOSS}.loss_mode"
ESTIMATOR = "algorithm.adv_estimator"

_REAL = float("-inf")
RATIO_MODES = ("vanilla", "dppo_tv", "dppo_kl", "gspo", "geo_mean", "clip_cov", "cispo", "bypass_mode")
LOSS_MODES = (*RATIO_MODES, "sapo", "gpg", "kl_cov", "dro")
AGGREGATIONS = (
    "token-mean",
    "token-sum",
    "seq-mean-token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum-norm",
)
ESTIMATORS = (
    "gae",
    "grpo",
    "grpo_vectorized",
    "gdpo",
    "grpo_passk",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "rloo",
    "rloo_vectorized",
    "opo",
    "remax",
    "gpg",
    "optimal_token_baseline",
    "tir_optimal_token_baseline",
)
KL_TYPES = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3", "full")
_OBJECTIVE, _ADVANTAGE, _RUN, _REFUSED = About.OBJECTIVE, About.ADVANTAGE, About.RUN, About.REFUSED
_STD = {ESTIMATOR: ("grpo", "grpo_vectorized", "gdpo", "grpo_passk")}

OPTIONS = table(
    Option(MODE, "vanilla", "word", _OBJECTIVE, "ratio = …", words=LOSS_MODES),
    Option(
        f"{ACTOR}.clip_ratio",
        0.2,
        "number",
        _OBJECTIVE,
        "param eps_low, eps_high = {value}, where clip_ratio_low and clip_ratio_high are null",
    ),
    Option(
        f"{ACTOR}.clip_ratio_low",
        0.2,
        "number",
        _OBJECTIVE,
        "param eps_low = {value}",
        optional=True,
        needs={MODE: RATIO_MODES},
    ),
    Option(
        f"{ACTOR}.clip_ratio_high",
        0.2,
        "number",
        _OBJECTIVE,
        "param eps_high = {value}",
        optional=True,
        needs={MODE: RATIO_MODES},
    ),
    Option(
        f"{ACTOR}.clip_ratio_c",
        3.0,
        "number",
        _OBJECTIVE,
        "param cap = {value} and after clip |> min(cap) as dual when A < 0",
        needs={MODE: ("vanilla", "dppo_tv", "dppo_kl", "bypass_mode")},
    ),
    Option(f"{ACTOR}.tau_pos", 1.0, "number", _OBJECTIVE, "param tau_pos = {value}", needs={MODE: ("sapo",)}),
    Option(
        f"{ACTOR}.tau_neg", 1.05, "number", _OBJECTIVE, "param tau_neg = {value}", needs={MODE: ("sapo",)}
    ),
    Option(
        f"{_LOSS}.clip_cov_ratio",
        0.0002,
        "number",
        _OBJECTIVE,
        "param share = {value}",
        needs={MODE: ("clip_cov",)},
        high=1,
    ),
    Option(
        f"{_LOSS}.clip_cov_lb",
        1.0,
        "number",
        _OBJECTIVE,
        "param cov_low = {value}",
        needs={MODE: ("clip_cov",)},
        low=_REAL,
    ),
    Option(
        f"{_LOSS}.clip_cov_ub",
        5.0,
        "number",
        _OBJECTIVE,
        "param cov_high = {value}",
        needs={MODE: ("clip_cov",)},
        low=_REAL,
    ),
    Option(
        f"{_LOSS}.kl_cov_ratio",
        0.0002,
        "number",
        _OBJECTIVE,
        "param share = {value}",
        needs={MODE: ("kl_cov",)},
        high=1,
    ),
    Option(
        f"{_LOSS}.ppo_kl_coef", 0.1, "number", _OBJECTIVE, "param beta = {value}", needs={MODE: ("kl_cov",)}
    ),
    Option(
        f"{_LOSS}.dro_beta",
        None,
        "number",
        _OBJECTIVE,
        "param beta = {value} and penalty drift = beta * k2(policy, old)",
        optional=True,
        needs={MODE: ("dro",)},
    ),
    Option(
        f"{ACTOR}.loss_agg_mode",
        "token-mean",
        "word",
        _OBJECTIVE,
        "reduce = loss |> mean(window) for token-mean, loss |> mean(sequence) |> mean(window) for seq-mean-token-mean",
        words=AGGREGATIONS,
    ),
    Option(
        f"{ACTOR}.loss_scale_factor",
        None,
        "number",
        _OBJECTIVE,
        "reduce = loss / {value} |> sum(sequence) |> mean(window)",
        optional=True,
        needs={f"{ACTOR}.loss_agg_mode": ("seq-mean-token-sum-norm",)},
        low=1e-9,
    ),
    Option(
        f"{ACTOR}.entropy_coeff",
        0.0,
        "number",
        _OBJECTIVE,
        "bonus entropy = {value} * entropy(policy)",
        low=_REAL,
    ),
    Option(f"{ACTOR}.use_kl_loss", False, "switch", _OBJECTIVE, "penalty kl = kl * k3(policy, reference)"),
    Option(
        f"{ACTOR}.kl_loss_coef",
        0.001,
        "number",
        _OBJECTIVE,
        "param kl = {value}",
        needs={f"{ACTOR}.use_kl_loss": SET},
        low=_REAL,
    ),
    Option(
        f"{ACTOR}.kl_loss_type",
        "low_var_kl",
        "word",
        _OBJECTIVE,
        "penalty kl = kl * min(k3(policy, reference), 10)",
        words=(*KL_TYPES, *(f"{kind}+" for kind in KL_TYPES)),
        needs={f"{ACTOR}.use_kl_loss": SET},
    ),
    Option(
        f"{_RC}.rollout_is",
        None,
        "word",
        _OBJECTIVE,
        "let mismatch = old / rollout and weight correction = mismatch |> min(cap)",
        words=("token", "sequence"),
        optional=True,
    ),
    Option(
        f"{_RC}.rollout_is_threshold",
        2.0,
        "anything",
        _OBJECTIVE,
        "param is_max = {value}; low_high masks instead",
        needs={f"{_RC}.rollout_is": SET},
    ),
    Option(
        f"{_RC}.rollout_is_batch_normalize",
        False,
        "switch",
        _REFUSED,
        "the mean of the weights is over a rollout, and a weight cannot read that",
        needs={f"{_RC}.rollout_is": SET},
    ),
    Option(
        f"{_RC}.rollout_rs",
        None,
        "anything",
        _OBJECTIVE,
        "mute rejected where …, with every token in the denominator",
        optional=True,
    ),
    Option(
        f"{_RC}.rollout_rs_threshold",
        None,
        "anything",
        _OBJECTIVE,
        "param rs_min, rs_max = {value}",
        optional=True,
        needs={f"{_RC}.rollout_rs": SET},
    ),
    Option(f"{_RC}.bypass_mode", False, "switch", _OBJECTIVE, "`rollout` in the place of `old`"),
    Option(
        f"{_RC}.loss_type",
        "ppo_clip",
        "word",
        _OBJECTIVE,
        "ratio = … in bypass mode",
        words=("ppo_clip", "reinforce"),
        needs={f"{_RC}.bypass_mode": SET},
    ),
    Option(ESTIMATOR, "gae", "word", _ADVANTAGE, "advantage = …", words=ESTIMATORS),
    Option(
        "algorithm.norm_adv_by_std_in_grpo",
        True,
        "switch",
        _ADVANTAGE,
        "advantage = … / (std(reward, group) + 1e-6)",
        needs=_STD,
    ),
    Option(
        "algorithm.gamma",
        1.0,
        "number",
        _ADVANTAGE,
        "param gamma = {value}",
        needs={ESTIMATOR: ("gae", "reinforce_plus_plus")},
        high=1,
    ),
    Option(
        "algorithm.lam",
        1.0,
        "number",
        _ADVANTAGE,
        "param lambda = {value}",
        needs={ESTIMATOR: ("gae",)},
        high=1,
    ),
    Option(
        "algorithm.gdpo_reward_keys",
        None,
        "words",
        _ADVANTAGE,
        "input KEY : sequence",
        optional=True,
        needs={ESTIMATOR: ("gdpo",)},
    ),
    Option(
        "algorithm.gdpo_reward_weights",
        None,
        "numbers",
        _ADVANTAGE,
        "advantage = w_1 * … + w_2 * …",
        optional=True,
        needs={ESTIMATOR: ("gdpo",)},
        low=_REAL,
    ),
    Option(
        "algorithm.use_kl_in_reward",
        False,
        "switch",
        _ADVANTAGE,
        "advantage = at_end(reward) - kl * k1(old, reference)",
    ),
    Option(
        "algorithm.kl_penalty",
        "kl",
        "word",
        _ADVANTAGE,
        "k1(old, reference) for kl",
        words=(*KL_TYPES, *(f"{kind}+" for kind in KL_TYPES)),
        needs={"algorithm.use_kl_in_reward": SET},
    ),
    Option(
        "algorithm.kl_ctrl.kl_coef",
        0.001,
        "number",
        _ADVANTAGE,
        "param kl_reward = {value}",
        needs={"algorithm.use_kl_in_reward": SET},
        low=_REAL,
    ),
    Option(
        "algorithm.kl_ctrl.type",
        "fixed",
        "word",
        _REFUSED,
        "the weight follows the KL of past steps; a spec has no state",
        words=("fixed", "adaptive"),
        needs={"algorithm.use_kl_in_reward": SET},
    ),
    Option(
        "algorithm.filter_groups.enable",
        False,
        "switch",
        _ADVANTAGE,
        "keep mixed where std(reward, group) > 0 or count(reward, group) == 1",
    ),
    Option(
        "algorithm.filter_groups.metric",
        "reward",
        "word",
        _ADVANTAGE,
        "keep mixed where std(METRIC, group) > 0 or count(METRIC, group) == 1",
        optional=True,
        needs={"algorithm.filter_groups.enable": SET},
    ),
    Option(
        "algorithm.use_pf_ppo",
        False,
        "switch",
        _REFUSED,
        "completions are drawn again by their rewards; a spec draws none",
        needs={ESTIMATOR: ("gae",)},
    ),
    Option("data.max_response_length", 512, "count", _RUN, "generation_limit", low=1),
    Option("actor_rollout_ref.rollout.n", 1, "count", _RUN, "group_size", low=1),
    Option(
        "actor_rollout_ref.rollout.calculate_log_probs", True, "switch", _RUN, "whether there is a `rollout`"
    ),
    Option(
        "trainer.use_v1",
        True,
        "switch",
        _RUN,
        "the trainer; the older one divides by the tokens that are left",
    ),
)
