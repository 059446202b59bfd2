"""What a policy is: a causal language model with the tokenizer that speaks to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from ..prompts import Prompt

if TYPE_CHECKING:
    from ..engine import Engine


class Tokenizer(Protocol):
    """Text to tokens and back, reduced to what sampling needs."""

    @property
    def pad_id(self) -> int:
        """Fills rows up to one length; may be one of `eos_ids`, so that masks never look for it."""

    @property
    def size(self) -> int:
        """Tokens from this number on have no text; a model may have some."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Tokens of a prompt, ready to be continued. Raises ConfigError for one it cannot read."""

    def unended_turn(self) -> str | None:
        """The token that a chat template puts behind the assistant's words, if it ends no completion."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion, without the tokens that end and pad."""

    def hugging_face(self) -> Any:
        """The same as a tokenizer of transformers."""


@dataclass(frozen=True)
class Policy:
    """A causal language model, float32 and without dropout, its tokenizer, and what logs call it.

    One that is not `cached` is sampled by reading whole sequences for each token, one with an `engine` by that.
    `adapter` is peft's wrapper of a model with LoRA.
    """

    model: nn.Module
    tokenizer: Tokenizer
    name: str
    cached: bool = True
    engine: Engine | None = None
    adapter: Any = None
