"""A run of TRL's trainer that takes a second: a random model of a few thousand weights, built here."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer

from maspo_dsl.hosts.trl import ObjectiveGRPOTrainer

WORDS = ["<pad>", "<eos>", *"abcdefgh", " "]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "tie_word_embeddings": False,
    "initializer_range": 0.5,
}


@cache
def folder() -> str:
    """A saved model and tokenizer: TRL loads its reference from there."""
    where = mkdtemp(prefix="tiny-trl-")
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES)
    Qwen2ForCausalLM(config).save_pretrained(where)
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>").save_pretrained(
        where
    )
    return where


def mixture() -> MixtralForCausalLM:
    """A model with experts, two of four at a time."""
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4))


def prompts(count: int = 64) -> Dataset:
    return Dataset.from_dict(
        {"prompt": ["abcdefgh"[number % 8] * (1 + number % 3) for number in range(count)]}
    )


def letters(completions, **_):
    """A reward that differs within every group: how many a and b there are, less a little for length."""
    return [text.count("a") + 0.5 * text.count("b") - 0.1 * len(text) for text in completions]


def brevity(completions, **_):
    return [1.0 / (1 + len(text)) for text in completions]


class Gradients(TrainerCallback):
    """The gradient of every optimizer step, before it is clipped."""

    def __init__(self):
        self.found = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        weights = [each for each in model.parameters() if each.requires_grad]
        self.found.append(torch.cat([each.grad.flatten().clone() for each in weights]))


def arguments(where: Path, **options) -> GRPOConfig:
    defaults = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 5,
        "learning_rate": 0.05,
        "optim": "sgd",  # what has no gradient but rounding moves by nothing
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
        "bf16": False,
        "max_grad_norm": 1e9,
    }
    return GRPOConfig(str(where), **{**defaults, **options})


def trained(
    where,
    objective=None,
    *,
    params=None,
    rewards=(letters,),
    evaluate=False,
    lora=None,
    rollout_func=None,
    experts=False,
    train=True,
    **options,
):
    """What a run came to: losses, gradients, weights, logs and the trainer; TRL's own without an objective."""
    torch.manual_seed(0)
    model = mixture() if experts else Qwen2ForCausalLM.from_pretrained(folder(), dtype=torch.float32)
    gradients = Gradients()
    given = {
        "model": model,
        "reward_funcs": list(rewards),
        "args": arguments(where, **options),
        "train_dataset": prompts(),
        "eval_dataset": prompts(8),
        "processing_class": PreTrainedTokenizerFast.from_pretrained(folder()),
        "callbacks": [gradients],
        "peft_config": lora,
        "rollout_func": rollout_func,
    }
    if objective is None:
        trainer = GRPOTrainer(**given)
    else:
        trainer = ObjectiveGRPOTrainer(objective=objective, params=params, backend="eager", **given)
    if train:
        trainer.train()
    evaluated = trainer.evaluate() if evaluate else None
    trainer.gradients = gradients.found
    trainer.evaluated = evaluated
    return trainer
