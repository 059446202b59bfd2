"""Make what a user has already: a Hugging Face folder `base` with a small Llama, and prompts in `sums.parquet`."""

import random

import pyarrow
import pyarrow.parquet
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROWS = [
    {"question": f"What is {a} + {b}?", "solution": str(a + b), "level": "carries" if a + b > 9 else "plain"}
    for a in range(10)
    for b in range(10)
]
STEPS = 150


def main() -> None:
    """Make both; the model has read answers of which a third are right."""
    random.seed(0)
    torch.manual_seed(0)
    random.shuffle(ROWS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), "sums.parquet")
    tokenizer = made_tokenizer()
    tokenizer.save_pretrained("base")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,  # more than the tokenizer has, as in many models
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        answers = [row["solution"] if random.random() < 1 / 3 else str(random.randrange(19)) for row in ROWS]
        texts = [f"{row['question']} {answer}<end>" for row, answer in zip(ROWS, answers, strict=True)]
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained("base")


def made_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 60 tokens, trained on the prompts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<pad>", "<end>"], show_progress=False)
    made.train_from_iterator([f"{row['question']} {row['solution']}" for row in ROWS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>")


if __name__ == "__main__":
    main()
