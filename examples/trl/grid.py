"""A grid in TRL: a training script like any other, and the command that runs it for every point and seed.

    maspo-dsl ablate maspo --leave-one-out --seeds 2 --run -o grids/trl \\
        --command 'python examples/trl/grid.py --objective {file} --seed {seed} --output_dir {run}'
    maspo-dsl report grids/trl

The model is random and of a few thousand weights, built here, so that a run takes seconds on a CPU; its reward is how
many of the letters of a completion are an `a`. For a real one, name a model and a data set in the two marked lines.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig

from maspo_dsl.hosts.trl import ObjectiveGRPOTrainer

WORDS = ["<pad>", "<eos>", *"abcdefgh"]


def main() -> None:
    """Train with the objective of a point."""
    options = read_options()
    trainer = ObjectiveGRPOTrainer(
        objective=options.objective,
        backend="eager",  # leave it out for runs of more than a minute: compiled, a step is faster
        model=tiny_model(options.output_dir, options.seed),  # or "Qwen/Qwen2.5-0.5B"
        reward_funcs=share_of_a,
        args=GRPOConfig(
            options.output_dir,
            seed=options.seed,
            max_steps=options.max_steps,
            learning_rate=0.02,
            per_device_train_batch_size=16,
            num_generations=4,
            num_iterations=2,
            max_completion_length=8,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=Dataset.from_dict(
            {"prompt": [letter * 2 for letter in "abcdefgh"] * 8}
        ),  # or load_dataset(…)
    )
    trainer.train()
    trainer.save_state()  # trainer_state.json, which `report` reads


def read_options() -> Namespace:
    """What the command says."""
    parser = ArgumentParser()
    parser.add_argument("--objective", required=True)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--max_steps", type=int, default=20)
    return parser.parse_args()


def share_of_a(completions: list[str], **_: object) -> list[float]:
    """The reward of each completion, 0 to 1."""
    return [text.count("a") / max(1, len(text)) for text in completions]


def tiny_model(run: str, seed: int) -> str:
    """A folder with a random model and its tokenizer, a letter a token."""
    where = Path(run) / "model"
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        initializer_range=0.3,
    )
    Qwen2ForCausalLM(config).save_pretrained(where)
    letters = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>")
    tokenizer.save_pretrained(where)
    return str(where)


if __name__ == "__main__":
    main()
