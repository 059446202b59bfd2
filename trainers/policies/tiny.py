"""The embedded policy: a transformer of 135,040 weights that reads characters, made in seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ..config_error import ConfigError
from ..prompts import Prompt, shown
from ..tasks.task import Task
from ..warm_start import DEFAULT, WarmStart, load_weights, save_weights, warm_start
from .policy import Policy

ALPHABET = " 0123456789abcdefghijklmnopqrstuvwxyz=+-*/?.,:()#"


@dataclass(frozen=True)
class CharacterTokenizer:
    """One token a character, after the two that pad and end."""

    pad_id: int = 0
    eos_ids: tuple[int, ...] = (1,)
    size: int = len(ALPHABET) + 2

    def encode(self, prompt: Prompt) -> list[int]:
        """Tokens of a plain prompt. Raises ConfigError for messages and for characters it does not know."""
        if not isinstance(prompt, str):
            raise ConfigError(
                f"policy `tiny` reads plain text, and this prompt is messages: {shown(prompt)}; "
                "use a model with a chat template, such as `model=smollm2`"
            )
        unknown = sorted(set(prompt) - set(ALPHABET))
        if unknown:
            raise ConfigError(
                f"policy `tiny` has no token for {unknown[0]!r} of {shown(prompt)}; it knows {ALPHABET!r}. "
                "Use a pretrained model, such as `model=smollm2`"
            )
        return [ALPHABET.index(character) + 2 for character in prompt]

    def unended_turn(self) -> None:
        """It has no chat template."""

    def decode(self, ids: Sequence[int]) -> str:
        """The characters, without padding and ends."""
        return "".join(ALPHABET[token - 2] for token in ids if token >= 2)

    def hugging_face(self) -> Any:
        """The same as a tokenizer of transformers; other characters are left out.

        It splits bytes and merges none, as a tokenizer of the model's own kind could: that is what a saved one is read
        back as, whatever it was.
        """
        words = {word: number for number, word in enumerate(["<pad>", "<eos>", *map(_byte_level, ALPHABET)])}
        made = Tokenizer(models.BPE(words, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
        options = {"pad_token": "<pad>", "eos_token": "<eos>", "clean_up_tokenization_spaces": False}
        return PreTrainedTokenizerFast(tokenizer_object=made, **options)  # type: ignore[no-untyped-call]


def _byte_level(character: str) -> str:
    """How vocabularies of bytes write a character of the alphabet: those that cannot be seen are moved by 256."""
    return character if character > " " else chr(256 + ord(character))


def build_tiny(task: Task, *, seed: int, cache: Path, settings: WarmStart = DEFAULT) -> Policy:
    """The policy after its warm start on a task; kept in `cache` under a hash of all that determines it."""
    config = tiny_config()
    policy = Policy(_fresh(config, seed), CharacterTokenizer(), "tiny")
    path = cache / f"tiny-{_digest(config, task, seed, settings)}.pt"
    if not (path.exists() and load_weights(policy.model, path)):
        with torch.random.fork_rng(devices=[]):
            warm_start(policy, task, seed=seed, settings=settings)
        save_weights(policy.model, path)
    policy.model.eval()
    return policy


def tiny_config() -> Qwen2Config:
    """What the model is."""
    return Qwen2Config(
        vocab_size=len(ALPHABET) + 2,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def _fresh(config: Qwen2Config, seed: int) -> Qwen2ForCausalLM:
    """The model with seeded random weights; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def _digest(config: Qwen2Config, task: Task, seed: int, settings: WarmStart) -> str:
    """A hash of everything that the warm-started weights follow from."""
    parts = {
        "config": config.to_json_string(use_diff=False),
        "alphabet": ALPHABET,
        "task": task.fingerprint,
        "seed": seed,
        "settings": asdict(settings),
        "versions": [torch.__version__, transformers.__version__],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
