"""Every causal language model family of the installed transformers, tiny, of random weights.

`python -m tests.trainers.families` writes what the trainer makes of each into docs/models.md.
"""

import re
import sys
from pathlib import Path

import torch
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.policies.policy import Policy
from maspo_dsl.trainers.policies.pretrained import quieted
from maspo_dsl.trainers.policies.tiny import CharacterTokenizer
from maspo_dsl.trainers.sampler_check import checked_policy
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

FAMILIES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TABLE = re.compile(r"(<!-- families -->\n).*?(?=<!-- end of families -->)", re.DOTALL)
VOCABULARY = 64
LARGEST = 20_000_000
"""Weights of a tiny model; a family whose settings do not shrink to that is not made."""

_BY_VALUE = {
    VOCABULARY: "vocab_size vocab_size_per_layer_input index_topk",
    32: "hidden_size d_model n_embd dim emb_dim embedding_size word_embed_proj_dim lru_width attention_hidden_size",
    48: "intermediate_size ffn_dim n_inner encoder_ffn_dim decoder_ffn_dim dff d_inner ffn_hidden_size",
    24: "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size "
    "shared_intermediate_size expert_ffn_hidden_size",
    2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
    "num_key_value_heads num_kv_heads num_experts_per_tok moe_topk moe_k linear_num_key_heads index_n_heads "
    "eos_token_id",
    4: "num_attention_heads n_head n_heads encoder_attention_heads decoder_attention_heads num_experts "
    "n_routed_experts num_local_experts moe_num_experts linear_num_value_heads linear_num_heads mamba_dt_rank",
    8: "head_dim attention_head_size sliding_window attention_window qk_nope_head_dim qk_rope_head_dim v_head_dim "
    "linear_key_head_dim linear_value_head_dim state_size ssm_state_size mamba_d_state mamba_n_heads mamba_num_heads "
    "mamba_d_head mamba_head_dim num_heads hidden_size_per_layer_input index_head_dim",
    128: "max_position_embeddings n_positions max_seq_len max_target_positions context_length",
    16: "q_lora_rank kv_lora_rank",
    1: "bos_token_id n_group topk_group first_k_dense_replace zero_expert_num mamba_n_groups n_groups",
    0: "pad_token_id",
    0.5: "initializer_range init_std",
}
SMALL = {name: value for value, names in _BY_VALUE.items() for name in names.split()}

# What a family needs besides: sizes that must fit each other, and layers of every kind that it has.
_LATENT = (
    *("axk1", "axk2", "bailing_hybrid", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note"),
    *("dots3_note_text", "glm4_moe_lite", "glm_moe_dsa", "kimi_linear", "longcat_flash", "minicpm3", "youtu"),
)
_ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
_QWEN4 = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
    "hc_lowrank": 8,
    "ple_embed_dim": 32,
    "ngram_vocab_size_base": 100,
    "heads_per_ngram": 2,
    "make_ngram_vocab_size_divisible_by": 8,
    "split_ngram_parts": 4,
}
_ZAMBA = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    "attention_head_dim": 16,
    "attention_hidden_size": 64,
}
_DOTS = {"num_key_value_heads": 4, "head_dim": 16, "swa_head_dim": 16, "swa_num_key_value_heads": 4}
OWN = {
    **{kind: {"num_key_value_heads": 4} for kind in _LATENT},
    **{kind: {"head_dim": 8} for kind in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    **{kind: {"rotary_dim": 8} for kind in ("codegen", "gptj")},
    "bamba": {"attn_layer_indices": [1]},
    "bailing_hybrid": {"num_key_value_heads": 4, "num_experts": 16},
    "cohere_compass_text": {"rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), _ROPE)},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_key_value_heads": 4, "num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "dots3_note": {
        "text_config": _DOTS,
        "vision_config": {"adapter_in_dim": 32, "adapter_input_size": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": _DOTS,
    "gemma3n_text": {"num_kv_shared_layers": 0, "laurel_rank": 8},
    "kimi_linear": {"num_key_value_heads": 4, "num_experts": 16},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "nemotron": {"num_key_value_heads": 2},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 16]},
    "zamba": {**_ZAMBA, "n_mamba_heads": 2},
    "zamba2": {**_ZAMBA, "n_mamba_heads": 8, "mamba_headdim": 8, "hybrid_layer_ids": [1, 3]},
    "zaya": {"num_experts_per_tok": 1},
}


SOME = (
    *(
        "gpt2",
        "llama",
        "qwen2",
        "qwen3",
        "gemma3_text",
        "mistral",
        "phi3",
        "opt",
        "bloom",
        "gpt_oss",
        "deepseek_v3",
    ),
    *("qwen3_moe", "mixtral", "olmoe", "qwen3_5_text", "qwen3_next", "jamba", "bamba", "falcon_h1", "lfm2"),
    *(
        "granitemoehybrid",
        "nemotron_h",
        "mamba",
        "mamba2",
        "recurrent_gemma",
        "rwkv",
        "minimax",
        "bert",
        "marian",
    ),
)
"""Those that the fast tests try: each kind of attention, of memory, and of refusal."""


def tiny(kind, **settings):
    """A model of a family, in evaluation mode."""
    own = {**OWN.get(kind, {}), **settings}
    made = CONFIG_MAPPING[kind](**merged(shrunk(_settings(kind)), own))
    with torch.device("meta"):
        size = AutoModelForCausalLM.from_config(made).num_parameters()
    if size > LARGEST:
        raise ValueError(f"{size} weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(made).float().eval()


def _settings(kind):
    """The settings that a family has by itself; some have none that are valid."""
    try:
        return CONFIG_MAPPING[kind]().to_dict()
    except Exception:
        return {}


def merged(settings, own):
    """Settings under those of one's own, in the configurations within them too."""
    nested = {name: value for name, value in own.items() if isinstance(value, dict) and name in settings}
    return {**settings, **own, **{name: merged(settings[name], value) for name, value in nested.items()}}


def shrunk(settings):
    """The settings of a configuration that make it small."""
    small = {}
    for name, value in settings.items():
        if name in SMALL and value is not None:
            small[name] = SMALL[name]
        elif name == "layer_types" and isinstance(value, list):
            kinds = list(dict.fromkeys(value))
            small[name] = kinds[:2] if len(kinds) > 1 else kinds * 2
        elif name.endswith("_config") and isinstance(value, dict):
            small[name] = shrunk(value)
    return small


def prompts_of(lengths):
    """Prompts of tokens, of given lengths."""
    return [[3 + (7 * n) % 60 for n in range(length)] for length in lengths]


def policy_of(kind, **settings):
    """A policy of a tiny model."""
    return Policy(quieted(tiny(kind, **settings)), CharacterTokenizer(), kind)


def verdict(kind):
    """What becomes of a family: right, with or without a cache, or refused, and why; or that it could not be made."""
    try:
        policy = policy_of(kind)
    except Exception as error:  # a configuration that does not shrink fails in as many ways as there are
        return f"not made: {type(error).__name__}: {error}"
    said = []
    try:
        checked_policy(policy, prompts_of((5, 11)), temperature=1.0, precision="32-true", log=said.append)
    except ConfigError as error:
        return f"refused: {error}"
    return f"without a cache: {said[0]}" if said else "right"


KINDS = {
    "right": "right",
    "without a cache": "right, sampled without a cache: slower",
    "leave out the padding": "prompts of one length only: padding before a prompt changes what these say",
    "no causal": "refused: as loaded, what these say of a token depends on later ones",
    "cannot be sampled": "refused: these fail as they are made here",
    "not made": "not tried: these have no tiny configuration here",
}
"""What the page says of a verdict that holds some words."""


def kind_of(verdict):
    return next(text for words, text in KINDS.items() if words in verdict)


def table(page):
    """What the page says of each family."""
    rows = re.findall(r"^\| ([^|]+) \| (`[^|]+) \|$", page, re.MULTILINE)
    return {family: text for text, families in rows for family in re.findall(r"`([^`]+)`", families)}


def written(page):
    """The page with what becomes of each family now."""
    found = {family: kind_of(verdict(family)) for family in FAMILIES}
    lines = ["| what a run makes of it | model types |", "| --- | --- |"]
    for text in KINDS.values():
        families = [f"`{family}`" for family in FAMILIES if found[family] == text]
        lines += [f"| {text} | {' '.join(families)} |"] if families else []
    block = "\n".join(lines)
    return TABLE.sub(lambda match: f"{match[1]}\n{block}\n\n", page)


if __name__ == "__main__":
    if sys.argv[1:]:
        print("\n".join(f"{kind}: {verdict(kind)}" for kind in sys.argv[1:]))
    else:
        PAGE.write_text(written(PAGE.read_text()))
