"""Pretrained policies: any causal language model of the Hugging Face hub, or of a local folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from maspo_dsl.language.diagnostics import did_you_mean, nearest

from ..catalogue import MODELS
from ..config_error import ConfigError
from ..prompts import Prompt, is_begun, shown
from .policy import Policy


@dataclass(frozen=True)
class PretrainedTokenizer:
    """A Hugging Face tokenizer, with the chat template for prompts of messages.

    `strips` says whether texts are without special tokens, such as those around a chain of thought.
    """

    tokenizer: Any
    eos_ids: tuple[int, ...]
    pad_id: int
    strips: bool = False

    @cached_property
    def size(self) -> int:
        """Tokens from this number on have no text; a model may have some, to fill up its embedding."""
        return int(max(self.tokenizer.get_vocab().values())) + 1

    def encode(self, prompt: Prompt) -> list[int]:
        """Tokens of a prompt to be continued: a message of the assistant at its end is, others are answered.

        Nothing stands behind a prompt, whatever the tokenizer puts there. Raises ConfigError for messages if the
        model has no chat template.
        """
        if isinstance(prompt, str):
            return self._before_completion(prompt)
        if not getattr(self.tokenizer, "chat_template", None):
            raise ConfigError(
                f"the prompt {shown(prompt)} is messages, and the model has no chat template; "
                "use a chat model, or prompts of plain text (the task `addition`: `task_options.chat=false`)"
            )
        try:
            begun = is_begun(prompt)
            text = self.tokenizer.apply_chat_template(
                prompt, tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
            )
        except Exception as error:  # templates raise what they like, such as for a role they do not know
            raise ConfigError(
                f"the model's chat template refuses the prompt {shown(prompt)}: {error}"
            ) from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # the template wrote them

    def decode(self, ids: Sequence[int]) -> str:
        """Text with its special tokens, but those that end and pad."""
        left_out = {*self.eos_ids, self.pad_id}
        kept = [token for token in ids if token < self.size and token not in left_out]
        return str(self.tokenizer.decode(kept, skip_special_tokens=self.strips))

    def unended_turn(self) -> str | None:
        """The token that the chat template puts behind the assistant's words, if it ends no completion."""
        turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            text = str(self.tokenizer.apply_chat_template(turn, tokenize=False))
        except Exception:  # a template that refuses this conversation may take those of the task
            return None
        behind = list(self.tokenizer(text.rpartition("b")[2], add_special_tokens=False)["input_ids"])
        special = [token for token in behind if token in self.tokenizer.all_special_ids]
        if not special or special[0] in self.eos_ids:
            return None
        return str(self.tokenizer.convert_ids_to_tokens(special[0]))

    def hugging_face(self) -> Any:
        """The tokenizer itself."""
        return self.tokenizer

    def _before_completion(self, text: str) -> list[int]:
        """Tokens of a text with the special ones that a tokenizer puts before it, without those behind it."""
        whole = list(self.tokenizer(text)["input_ids"])
        plain = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return whole[: start + len(plain)]
        return whole


def load_pretrained(model: str) -> Policy:
    """The policy of a Hugging Face id or a local folder, in float32.

    Raises ConfigError if there is no such model, or if it cannot be loaded.
    """
    source = source_of(model)
    try:
        with without_progress_bars():
            network = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:
        raise ConfigError(_explained(model, Path(source).is_dir(), error)) from error
    return as_policy(network, tokenizer, model)


def load_tokenizer(model: str) -> PretrainedTokenizer:
    """The tokenizer of a Hugging Face id or a local folder, without the model. Raises ConfigError."""
    source = source_of(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:
        raise ConfigError(_explained(model, Path(source).is_dir(), error)) from error
    return PretrainedTokenizer(tokenizer, (), -1)


def source_of(model: str) -> str:
    """What transformers loads a model by. Raises ConfigError if it cannot be there."""
    local = Path(model).expanduser()
    if local.is_dir():
        return str(_model_folder(model, local))
    if local.exists():
        raise ConfigError(f"`model={model}` is a file; expected a folder that a model was saved in")
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ConfigError(f"`model={model}`: there is no such folder")
    return _known_id(model)


def _model_folder(model: str, folder: Path) -> Path:
    """The folder itself, or the model that a run left in it. Raises ConfigError where there is neither."""
    for found in (folder, folder / "model"):
        if (found / "config.json").is_file():
            return found
    if (folder / "spec.obj").is_file():
        raise ConfigError(
            f"`model={model}` is a run that has written no model yet; `maspo-dsl export {model} DIR` does"
        )
    raise ConfigError(f"`model={model}`: the folder has no config.json, so no model was saved there")


def as_policy(model: Any, tokenizer: Any, name: str) -> Policy:
    """A policy of a loaded model and tokenizer. Raises ConfigError if neither knows how a completion ends."""
    ends = {tokenizer.eos_token_id, *_as_list(getattr(model.generation_config, "eos_token_id", None))} - {
        None
    }
    if not ends:
        raise ConfigError(
            f"`model={name}`: neither the model nor its tokenizer names an end-of-sequence token"
        )
    eos_ids = tuple(sorted(ends, key=lambda token: (token != tokenizer.eos_token_id, token)))
    size = int(model.get_input_embeddings().weight.shape[0])
    _check_vocabulary(name, tokenizer, size, eos_ids)
    # Which token pads makes no difference: it is masked everywhere.
    padding = tokenizer.pad_token_id
    pad_id = padding if padding is not None and padding < size else eos_ids[0]
    return Policy(
        without_dropout(quieted(model)).eval(), PretrainedTokenizer(tokenizer, eos_ids, pad_id), name
    )


def with_options(tokenizer: PretrainedTokenizer, *, strips: bool, end: str | None) -> PretrainedTokenizer:
    """A tokenizer whose texts are stripped of special tokens, and with one more token that ends a completion.

    Raises ConfigError for a token that it does not have.
    """
    vocabulary = tokenizer.tokenizer.get_vocab()
    if end is not None and end not in vocabulary:
        raise ConfigError(
            f"`tokenizer.end={end}`: the model has no such token; {did_you_mean(end, vocabulary)}"
        )
    more = () if end is None else (vocabulary[end],)
    return replace(tokenizer, strips=strips, eos_ids=tuple(dict.fromkeys((*tokenizer.eos_ids, *more))))


def _check_vocabulary(name: str, tokenizer: Any, size: int, ends: Sequence[int]) -> None:
    """Raise ConfigError for a tokenizer whose tokens a model has no embedding for, but one that only pads."""
    tokens = {token: id for token, id in tokenizer.get_vocab().items() if id != tokenizer.pad_token_id}
    beyond = {token: id for token, id in tokens.items() if id >= size}
    if beyond or max(ends) >= size:
        token = min(beyond, key=lambda each: beyond[each], default=str(max(ends)))
        raise ConfigError(
            f"`model={name}`: its tokenizer has {max(tokens.values()) + 1} tokens and the model embeds {size}, so "
            f"that it cannot read `{token}`; the two do not belong together, or the embedding is to be resized"
        )


def quieted(model: Any) -> Any:
    """The model without what it computes besides logits: outputs of routers, for a loss that is not computed here."""
    for part in (model.config, model.config.get_text_config(decoder=True)):
        if hasattr(part, "output_router_logits"):
            part.output_router_logits = False
    return model


def without_dropout(model: nn.Module) -> nn.Module:
    """The model with every dropout set to 0, in place.

    Old and current log-probs must be of the same network: else the ratio of a policy with itself is not 1.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for attribute in ("attention_dropout", "dropout"):  # those that attention passes on as numbers
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
    return model


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for work of a second; a run draws its own."""
    shown_before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown_before:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _known_id(model: str) -> str:
    """A hub id, unless it looks like a misspelt embedded policy."""
    match = nearest(model, MODELS)
    if match is not None and "/" not in model:
        raise ConfigError(f"there is no model `{model}`; did you mean `{match}`?")
    return model


def _explained(model: str, local: bool, error: Exception) -> str:
    """Why a model cannot be loaded, in the user's terms."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    reason = f"{type(error).__name__}: {lines[0]}"
    if local:
        return f"`model={model}`: the folder cannot be loaded as a causal language model ({reason})"
    return (
        f"`model={model}`: it is not one of {', '.join(MODELS)}, there is no such folder, and it could not be "
        f"loaded from the Hugging Face hub: no network, no such model, or no access to it ({reason})"
    )


def _as_list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
