"""Prompts and completions in the two forms that language models know: plain text and chat messages."""

from __future__ import annotations

from typing import TypeAlias

Messages: TypeAlias = list[dict[str, str]]
Prompt: TypeAlias = str | Messages


def is_begun(prompt: Prompt) -> bool:
    """Whether a prompt ends with words of the assistant, which a completion goes on with."""
    return not isinstance(prompt, str) and prompt[-1]["role"] == "assistant"


def asked(prompt: Prompt) -> Prompt:
    """A prompt without the words of the assistant at its end."""
    return prompt[:-1] if is_begun(prompt) else prompt


def as_completion(prompt: Prompt, text: str) -> str | Messages:
    """A sampled text in the form of its prompt: itself, or the assistant's message, from its beginning."""
    if isinstance(prompt, str):
        return text
    begun = prompt[-1]["content"] if is_begun(prompt) else ""
    return [{"role": "assistant", "content": begun + text}]


def completion_text(completion: str | Messages) -> str:
    """The words of a completion, whatever its form."""
    return (
        completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
    )


def shown(prompt: object, limit: int = 60) -> str:
    """A prompt or completion as an error message quotes it: on one line, and short."""
    text = repr(prompt)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
