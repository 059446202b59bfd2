"""Words of TRL, verl and papers that have another name here, or none: what to write in their place."""

from __future__ import annotations

from collections.abc import Collection

from maspo_dsl.language.diagnostics import did_you_mean


def _named(meaning: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), meaning)


_DECLARED = "a number is declared first: param NAME = 0.2"
_SAMPLED = "the probability of the sampled token is `policy`, its log-prob log(policy)"

# By name, the names here that may be meant; those that a spec has are offered.
_NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ["pi", "pi_theta", "p_theta", "prob", "new_policy", "current_policy", "actor"], ("policy",)
    ),
    **dict.fromkeys(["pi_old", "pi_theta_old", "old_policy", "policy_old"], ("old",)),
    **dict.fromkeys(["pi_ref", "ref", "ref_policy", "policy_ref", "ref_model"], ("reference",)),
    **dict.fromkeys(["mu", "pi_mu", "behavior_policy", "behaviour_policy", "sampler"], ("rollout", "old")),
    **dict.fromkeys(["adv", "advantage", "a_hat", "hat_a", "a_t", "a_it"], ("A",)),
    **dict.fromkeys(
        ["r", "r_t", "rho", "rho_t", "coef_1", "importance_ratio", "importance_weight", "is_ratio"],
        ("ratio", "reward"),
    ),
    **dict.fromkeys(["score", "return", "token_level_reward", "token_level_score"], ("reward",)),
    **dict.fromkeys(["vpred"], ("value",)),
    **dict.fromkeys(["response_length", "completion_length", "seq_len", "seq_length"], ("length",)),
    **dict.fromkeys(["pg_loss", "per_token_loss", "policy_loss", "loss_mat"], ("loss",)),
    **dict.fromkeys(
        ["eps", "epsilon", "clip_ratio", "cliprange", "clip_eps", "eps_clip", "clip_param"],
        ("eps_low", "eps_high"),
    ),
    **dict.fromkeys(["epsilon_low", "clip_ratio_low", "cliprange_low"], ("eps_low",)),
    **dict.fromkeys(["epsilon_high", "clip_ratio_high", "cliprange_high"], ("eps_high",)),
    **dict.fromkeys(["delta", "clip_ratio_c"], ("cap", "delta")),
    **dict.fromkeys(["beta", "kl_coef", "kl_coeff", "kl_beta", "kl_ctl", "kl_loss_coef"], ("kl",)),
    **dict.fromkeys(["batch", "minibatch", "mini_batch", "global_batch", "optimizer_step"], ("window",)),
    **dict.fromkeys(["microbatch", "micro_batch"], ("micro",)),
    **dict.fromkeys(["prompt", "prompt_id", "query", "question"], ("group",)),
    **dict.fromkeys(["response", "completion", "trajectory", "episode", "sample"], ("sequence",)),
    **dict.fromkeys(["masked_mean", "nanmean", "average", "avg"], ("mean",)),
    **dict.fromkeys(["masked_sum", "nansum"], ("sum",)),
    **dict.fromkeys(
        ["masked_whiten", "normalize", "normalise", "standardize", "standardise", "zscore", "z_score"],
        ("whiten",),
    ),
    **dict.fromkeys(["stop_gradient", "stopgrad", "stop_grad", "sg", "no_grad"], ("detach",)),
    **dict.fromkeys(["minimum", "clamp_max"], ("min",)),
    **dict.fromkeys(["maximum", "clamp_min", "relu"], ("max",)),
    **dict.fromkeys(["ln"], ("log",)),
    **dict.fromkeys(["percentile", "median"], ("quantile",)),
    **dict.fromkeys(["kl", "d_kl", "kl_div", "kl_penalty", "kld", "approx_kl"], ("k3", "k2", "k1")),
}

_HINTS: dict[str, str] = {
    **_named(
        "the log-prob under the policy being trained is log(policy)",
        "logp log_prob logprob log_pi per_token_logp token_logp policy_logp new_logp new_log_prob",
    ),
    **_named(
        "the log-prob under the policy at rollout time is log(old)",
        "prox_logp proximal_logprob proximal_logp recompute_logprob logp_old "
        "old_logp old_log_prob old_logprob old_per_token_logp log_prob_old prev_log_prob",
    ),
    **_named(
        "the log-prob under the reference policy is log(reference)",
        "logp_ref ref_logp ref_log_prob ref_logprob ref_per_token_logp reference_log_prob",
    ),
    **_named(
        "the log-prob that the sampler computed is log(rollout)",
        "behav_logprob behavior_logprob behaviour_logprob rollout_logprob logp_rollout "
        "rollout_logp rollout_log_prob sampling_logp sampling_per_token_logp behavior_log_prob vllm_logp",
    ),
    **_named(
        "the difference of log-probs is log(policy / old)",
        "log_ratio logratio negative_approx_kl log_importance_weight",
    ),
    **_named(_SAMPLED, "logit softmax log_softmax gather"),
    **_named(
        "a divergence of two policies is k3(policy, reference); a weight of it is declared: param kl = 0.04",
        "kl d_kl kl_div kld kl_penalty kl_ctl use_kl_loss approx_kl ppo_kl kl_loss mean_kl",
    ),
    **_named("the entropy at a token is entropy(policy)", "entropies h"),
    **_named(
        'another policy is declared, and read like one: teacher NAME "…", log(NAME)',
        "teacher teacher_logp teacher_logprob teacher_log_prob teacher_prob expert_logp ema_logp",
    ),
    **_named(
        "a weight for what the sampler does otherwise is written: weight tis = min(old / rollout, cap)",
        "is_weight rollout_is_weight truncated_importance_sampling vllm_importance_sampling tis_weight",
    ),
    **_named(
        "its cap is declared, and used: param cap = 2, weight tis = min(old / rollout, cap)",
        "tis_threshold tis_imp_ratio_cap vllm_importance_sampling_cap rollout_is_threshold",
    ),
    **_named(
        "the ratio of whole completions is geomean(policy / old, sequence)",
        "importance_sampling_level coef_2 seq_ratio sequence_ratio s_i",
    ),
    **_named("a mean has a scope: mean(reward, group)", "group_mean mean_reward reward_mean"),
    **_named("a spread has a scope: std(reward, group)", "group_std std_reward reward_std scale_reward"),
    **_named("`length` counts a completion's trained tokens", "o_i t num_completion_token"),
    **_named("how many completions a group has is count(reward, group)", "g n n_samples group_size"),
    **_named("which token was sampled is not known to a loss", "completion_id response_id input_id token_id"),
    **_named(
        "how a run samples is its configuration's matter, not the objective's: rollout.temperature, …",
        "temperature top_p top_k min_p",
    ),
    **_named(
        "a share of tokens by entropy: mute low where entropy(policy) < quantile(entropy(policy), 0.8, window)",
        "top_entropy_quantile entropy_threshold",
    ),
    **_named(
        "leave them out by a rule: exclude cut where truncated",
        "mask_truncated_completion overlong_filtering overlong_filter",
    ),
    **_named(
        "overlong(…) is a part of the reward: reward overlong = overlong(length, limit, cache)",
        "overlong_buffer overlong_penalty soft_overlong",
    ),
    **_named(
        "how tokens become one number is `reduce`: loss |> mean(sequence) |> mean(window)",
        "loss_type loss_agg_mode seq_mean_token_mean seq_mean_token_sum token_mean",
    ),
    **_named("a group filter is a rule: keep mixed where std(reward, group) > 0", "filter_group"),
    **_named("a critic is trained by the trainer; its value is `value`", "vf_coef cliprange_value vf_loss"),
    **_named(
        _DECLARED, "eps epsilon clip_ratio cliprange clip_eps eps_clip clip_param epsilon_low epsilon_high"
    ),
    **_named(
        _DECLARED, "clip_ratio_low clip_ratio_high delta clip_ratio_c entropy_coef entropy_coeff gamma lam"
    ),
    **_named(_DECLARED, "beta kl_coef kl_coeff kl_beta kl_loss_coef alpha tau gae_lambda lambda eta zeta"),
    **_named(
        "the optimizer's, not the objective's: trainer.learning_rate; the slot `step` scales it",
        "lr learning_rate",
    ),
    **_named("what always holds, or never, has no word: leave the condition out", "true false"),
    **_named("what is not wanted is left out, or taken away: drop NAME", "none null nil nan"),
    **_named("a value a token needs no scope; a mean has one: mean(x, window)", "token tokens"),
    **_named(
        "tokens that are not trained never count; to leave out more: mute NAME where …, exclude NAME where …",
        "mask response_mask completion_mask loss_mask action_mask attention_mask",
    ),
    **_named(
        "how tokens are stored is the batch's matter; one in packed form has `sequence`, the row of each token",
        "cu_seqlen cu_seq_len seqlen position_id",
    ),
    **_named("`group` is a scope: mean(reward, group)", "uid index group_id group_index"),
    **_named(
        "what is counted has a scope: count(loss, window) in `reduce`, count(reward, group)",
        "num_items_in_batch batch_size bsz mini_batch_size micro_batch_size num_tokens num_generations rollout_n",
    ),
    **_named(
        "bind it to the run: param max_length = 4096 bind generation_limit",
        "max_completion_length max_response_length max_new_token max_token l_max",
    ),
    **_named("a memory counts: memory steps = steps + 1 start 0 per run", "global_step epoch iteration"),
    **_named("a choice is written: x if condition else y", "where sign sgn"),
    **_named("a power is written: x ^ 2", "pow power square"),
    **_named("it is std(x, scope) ^ 2", "var variance"),
    **_named("write the stages of `reduce`: loss |> mean(window)", "agg_loss"),
}

_STATEMENTS: dict[str, str] = {
    **_named(
        "the loss is made of parts: ratio, weight, penalty, bonus; `reduce` makes one number of it",
        "loss policy_loss pg_loss objective_function",
    ),
    **_named("write penalty NAME = …", "aux_loss auxiliary_loss regularizer regularization constraint"),
    **_named("write reward NAME = …", "overlong reward_shaping length_penalty shaping bonus_reward"),
    **_named("write def NAME(x) = …", "fn function func lambda"),
    **_named("write let NAME = …", "var const set"),
    **_named("a base stands on the first line: objective NAME extends BASE", "import from include use"),
    **_named(
        "a critic is trained by the trainer, not by the loss of the policy", "critic value_loss vf_loss"
    ),
    **_named("write penalty kl = …", "kl kl_loss kl_penalty kl_term"),
    **_named("write bonus entropy = …", "entropy entropy_bonus entropy_loss"),
    **_named("write advantage = …", "advantages adv adv_estimator advantage_estimator baseline a"),
    **_named(
        "write ratio = policy / old |> clip(…)",
        "clip clipping surrogate importance_ratio clip_ratio_low clip_ratio_high",
    ),
    **_named(
        "write reduce = loss |> …", "aggregate aggregation reduction loss_agg_mode loss_type normalization"
    ),
    **_named("write keep NAME where …", "filter filter_group group_filter dynamic_sampling"),
    **_named(
        "write mute NAME where …, or exclude NAME where …", "mask ignore reject rejection skip truncate"
    ),
    **_named(
        "write weight NAME = …",
        "weights is_weight importance_weight importance_sampling rollout_correction tis",
    ),
    **_named(
        "write param NAME = …",
        "beta epsilon eps gamma lam alpha tau kl_coef clip_ratio hyperparameter parameter",
    ),
}


def meant(word: str, known: Collection[str]) -> str:
    """A hint for a word that nothing has: what it is called here, else the nearest of the known names."""
    hints = (_HINTS[key] for key in _keys(word) if key in _HINTS)
    return named_here(word, known) or next(hints, "") or did_you_mean(word, known)


def named_here(word: str, known: Collection[str]) -> str:
    """A hint: the known names that have the meaning of a word of others; empty if there are none."""
    names = [name for key in _keys(word) for name in _NAMES.get(key, ()) if name in known and name != word]
    return f"did you mean {' or '.join(f'`{name}`' for name in dict.fromkeys(names))}?" if names else ""


def meant_statement(word: str) -> str:
    """A hint for a word that no statement begins with; empty if there is none."""
    return next((_STATEMENTS[key] for key in _keys(word) if key in _STATEMENTS), "")


def _keys(word: str) -> tuple[str, ...]:
    """A word as it may stand in a table: in small letters, one or many."""
    small = word.lower()
    return small, small.removesuffix("s")
