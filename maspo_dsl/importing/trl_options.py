"""Every option of TRL's GRPOConfig: what it means in a spec, read from grpo_config.py and grpo_trainer.py of 1.16.0."""

from __future__ import annotations

from maspo_dsl.importing.options import SET, About, Option, table

VERSION = "1.16.0"

CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
"""Values of loss_type that clip the ratio on both sides."""
LOSS_TYPES = ("grpo", "dapo", "dr_grpo", "bnpo", "luspo", "cispo", "sapo", "vespo")
LEVELS = ("token", "sequence")
MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
_OF_TOKENS = ("mute", "exclude")
_CORRECTION = ("weight", "mute", "exclude")
_VLLM = {"use_vllm": SET, "vllm_importance_sampling_correction": SET}
_ADAPTIVE = "the coefficient follows the entropy of past steps; a spec has no state"

OPTIONS = table(
    Option(
        "loss_type",
        "dapo",
        "word",
        About.OBJECTIVE,
        "ratio = … and reduce = …, such as reduce = loss |> mean(window) for dapo",
        words=LOSS_TYPES,
        parts=("ratio", "reduce"),
    ),
    Option(
        "epsilon",
        0.2,
        "number",
        About.OBJECTIVE,
        "param eps_low = {value}",
        needs={"loss_type": (*CLIPPED, "cispo")},
        parts=("ratio",),
    ),
    Option(
        "epsilon_high",
        None,
        "number",
        About.OBJECTIVE,
        "param eps_high = {value}; with loss_type cispo, param cap = {value}",
        optional=True,
        needs={"loss_type": (*CLIPPED, "cispo")},
        parts=("ratio",),
    ),
    Option(
        "delta",
        None,
        "number",
        About.OBJECTIVE,
        "param delta = {value} and before clip |> min(delta) as upper",
        optional=True,
        needs={"loss_type": CLIPPED},
        parts=("ratio",),
    ),
    Option(
        "importance_sampling_level",
        "token",
        "word",
        About.OBJECTIVE,
        "ratio = policy / old |> geomean(sequence) |> …",
        words=LEVELS,
        parts=("ratio",),
    ),
    Option(
        "beta",
        0.0,
        "number",
        About.OBJECTIVE,
        "param kl = {value} and penalty kl = kl * k3(policy, reference)",
        parts=("penalty",),
    ),
    Option(
        "use_bias_correction_kl",
        True,
        "switch",
        About.OBJECTIVE,
        "penalty kl = kl * k3(policy, reference) * (policy / old) if true, without the ratio if false",
        needs={"beta": SET},
        parts=("penalty",),
    ),
    Option(
        "sapo_temperature_pos",
        1.0,
        "number",
        About.OBJECTIVE,
        "param tau_pos = {value}",
        needs={"loss_type": ("sapo",)},
        parts=("ratio",),
    ),
    Option(
        "sapo_temperature_neg",
        1.05,
        "number",
        About.OBJECTIVE,
        "param tau_neg = {value}",
        needs={"loss_type": ("sapo",)},
        parts=("ratio",),
    ),
    Option(
        "vespo_k_pos",
        2.0,
        "number",
        About.OBJECTIVE,
        "param k_pos = {value}",
        needs={"loss_type": ("vespo",)},
        parts=("ratio",),
    ),
    Option(
        "vespo_lambda_pos",
        3.0,
        "number",
        About.OBJECTIVE,
        "param lambda_pos = {value}",
        needs={"loss_type": ("vespo",)},
        parts=("ratio",),
    ),
    Option(
        "vespo_k_neg",
        3.0,
        "number",
        About.OBJECTIVE,
        "param k_neg = {value}",
        needs={"loss_type": ("vespo",)},
        parts=("ratio",),
    ),
    Option(
        "vespo_lambda_neg",
        2.0,
        "number",
        About.OBJECTIVE,
        "param lambda_neg = {value}",
        needs={"loss_type": ("vespo",)},
        parts=("ratio",),
    ),
    Option(
        "off_policy_mask_threshold",
        None,
        "number",
        About.OBJECTIVE,
        "mute stale where A < 0 and mean(k1(old, policy), sequence) > {value}",
        optional=True,
        low=float("-inf"),
        parts=_OF_TOKENS,
    ),
    Option(
        "top_entropy_quantile",
        1.0,
        "number",
        About.OBJECTIVE,
        "param share = {value} and "
        "mute confident where entropy(policy) < quantile(entropy(policy), 1 - share, micro)",
        high=1,
        parts=_OF_TOKENS,
    ),
    Option(
        "entropy_coef",
        0.0,
        "number",
        About.OBJECTIVE,
        "bonus entropy = {value} * mean(entropy(policy), micro)",
        low=float("-inf"),
        parts=("bonus",),
    ),
    Option(
        "use_adaptive_entropy",
        False,
        "switch",
        About.REFUSED,
        _ADAPTIVE,
        parts=("bonus",),
    ),
    Option(
        "entropy_coef_min",
        0.0,
        "number",
        About.REFUSED,
        _ADAPTIVE,
        needs={"use_adaptive_entropy": SET},
        parts=("bonus",),
    ),
    Option(
        "entropy_coef_max",
        1.0,
        "number",
        About.REFUSED,
        _ADAPTIVE,
        needs={"use_adaptive_entropy": SET},
        parts=("bonus",),
    ),
    Option(
        "entropy_coef_delta",
        0.005,
        "number",
        About.REFUSED,
        _ADAPTIVE,
        needs={"use_adaptive_entropy": SET},
        parts=("bonus",),
    ),
    Option(
        "entropy_target",
        0.2,
        "number",
        About.REFUSED,
        _ADAPTIVE,
        needs={"use_adaptive_entropy": SET},
        parts=("bonus",),
    ),
    Option(
        "mask_truncated_completions",
        False,
        "switch",
        About.OBJECTIVE,
        "exclude cut where truncated; where sequences are averaged, mute cut where truncated",
        parts=_OF_TOKENS,
    ),
    Option(
        "vllm_importance_sampling_correction",
        True,
        "switch",
        About.OBJECTIVE,
        "let mismatch = old / rollout and weight correction = …",
        needs={"use_vllm": SET},
    ),
    Option(
        "vllm_importance_sampling_mode",
        "sequence_mask",
        "word",
        About.OBJECTIVE,
        "let mismatch = old / rollout |> prod(sequence) for sequence, without prod for token; "
        "weight correction = mismatch |> min(is_max) to truncate, mute disagreeing where mismatch > is_max to mask",
        words=MODES,
        needs=_VLLM,
        parts=_CORRECTION,
    ),
    Option(
        "vllm_importance_sampling_clip_max",
        3.0,
        "number",
        About.OBJECTIVE,
        "param is_max = {value}",
        optional=True,
        needs=_VLLM,
        parts=_CORRECTION,
    ),
    Option(
        "vllm_importance_sampling_clip_min",
        None,
        "number",
        About.OBJECTIVE,
        "param is_min = {value}",
        optional=True,
        needs=_VLLM,
        parts=_CORRECTION,
    ),
    Option(
        "vllm_importance_sampling_cap",
        None,
        "number",
        About.OBJECTIVE,
        "param is_max = {value}",
        optional=True,
        needs=_VLLM,
        parts=_CORRECTION,
    ),
    Option(
        "scale_rewards",
        "group",
        "word",
        About.ADVANTAGE,
        "advantage = reward |> center(group) |> scale(group, ddof = 1, eps = 1e-4) for group, "
        "reward |> center(group) for none, center(reward, group) / (std(reward, rollout_batch) + 1e-4) for batch",
        words=("group", "batch", "none"),
        parts=("advantage",),
        synonyms={True: "group", False: "none"},
        needs={"multi_objective_aggregation": ("sum_then_normalize",)},
    ),
    Option(
        "multi_objective_aggregation",
        "sum_then_normalize",
        "word",
        About.ADVANTAGE,
        "input reward_1 : sequence, … and advantage = … |> whiten(rollout_batch, 1, 1e-4)",
        words=("sum_then_normalize", "normalize_then_sum"),
        parts=("advantage",),
    ),
    Option(
        "reward_weights",
        None,
        "numbers",
        About.ADVANTAGE,
        "advantage = w_1 * … + w_2 * … for normalize_then_sum; else `reward` is the weighted sum already",
        optional=True,
        low=float("-inf"),
    ),
    Option("use_vllm", False, "switch", About.RUN, "the sampler; its log-probs are `rollout`"),
    Option(
        "max_completion_length",
        512,
        "count",
        About.RUN,
        "param max_length = {value} bind generation_limit, with loss_type dr_grpo",
        optional=True,
        low=1,
    ),
    Option("num_generations", 8, "count", About.RUN, "group_size", low=2),
    Option("temperature", 1.0, "number", About.RUN, "policies are of logits divided by it"),
    Option("num_iterations", 1, "count", About.RUN, "updates on one rollout", low=1),
    Option("gradient_accumulation_steps", 1, "count", About.RUN, "micro-batches of a window", low=1),
    Option(
        "steps_per_generation", None, "count", About.RUN, "micro-batches of a rollout", optional=True, low=1
    ),
    Option(
        "router_aux_loss_coef",
        None,
        "number",
        About.RUN,
        "TRL adds a mixture of experts' own balancing loss; it is the model's, not the objective's",
        optional=True,
    ),
    Option("top_p", 1.0, "number", About.SAMPLER, "only the most probable tokens are drawn", high=1),
    Option("top_k", 0, "count", About.SAMPLER, "only the most probable tokens are drawn"),
    Option("min_p", None, "number", About.SAMPLER, "improbable tokens are not drawn", optional=True, high=1),
    Option(
        "repetition_penalty", 1.0, "number", About.SAMPLER, "tokens that were drawn are made less probable"
    ),
    Option(
        "generation_kwargs", None, "anything", About.SAMPLER, "they may change what is drawn", optional=True
    ),
)

_RUN_KEYS = """
    accelerator_config activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2 adam_epsilon
    attn_implementation auto_find_batch_size average_tokens_across_devices batch_eval_metrics bf16 bf16_full_eval
    bnb_4bit_quant_storage bnb_4bit_quant_type cache_implementation cast_lm_head_to_fp32 chat_template_kwargs
    data_seed dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers
    dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor dataset_config dataset_name
    dataset_streaming dataset_test_split dataset_train_split ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb
    ddp_find_unused_parameters ddp_static_graph ddp_timeout debug deepspeed disable_dropout disable_tqdm do_eval
    do_predict do_train ds3_gather_for_generation dtype enable_jit_checkpoint eval_accumulation_steps eval_delay
    eval_do_concat_batches eval_on_start eval_steps eval_strategy eval_use_gather_object fp16 fp16_full_eval fsdp
    fsdp_config full_determinism generation_batch_size gradient_checkpointing gradient_checkpointing_kwargs
    greater_is_better hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy hub_token
    ignore_bias_buffers ignore_data_skip include_for_metrics include_num_input_tokens_seen label_names
    label_smoothing_factor learning_rate length_column_name liger_kernel_config load_best_model_at_end load_in_4bit
    load_in_8bit local_rank log_completions log_completions_hub_repo log_level log_level_replica log_multimodal
    log_on_each_node log_unique_prompts logging_first_step logging_nan_inf_filter logging_steps logging_strategy
    lora_alpha lora_dropout lora_modules_to_save lora_r lora_target_modules lora_target_parameters lora_task_type
    lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps max_tool_calling_iterations metric_for_best_model
    model_init_kwargs model_name_or_path model_revision neftune_noise_alpha num_completions_to_print
    num_generations_eval num_train_epochs optim optim_args optim_target_modules output_dir pad_to_multiple_of
    parallelism_config per_device_eval_batch_size per_device_train_batch_size prediction_loss_only project
    push_to_hub ref_model_mixup_alpha ref_model_sync_steps remove_unused_columns report_to reward_funcs
    restore_callback_states_from_checkpoint resume_from_checkpoint run_name save_on_each_node save_only_model
    save_steps save_strategy save_total_limit seed shuffle_dataset skip_memory_metrics sync_ref_model tf32
    torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps trackio_bucket_id
    trackio_space_id trackio_static_space_id train_sampling_strategy transformers_continuous_batching_config
    trust_remote_code use_bnb_nested_quant use_cache use_cpu use_dora use_liger_kernel use_peft use_rslora
    use_transformers_continuous_batching use_transformers_paged vllm_enable_sleep_mode
    vllm_gpu_memory_utilization vllm_group_port vllm_max_model_length vllm_mode vllm_model_impl
    vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout
    vllm_structured_outputs_regex vllm_tensor_parallel_size warmup_steps weight_decay
"""
RUN_KEYS = frozenset(_RUN_KEYS.split())
"""All other keys of GRPOConfig and of TRL's own script: how a run is made, which changes no objective."""
