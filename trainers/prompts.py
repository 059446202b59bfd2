"""Prompts and completions in the two forms that language models know: plain text and chat messages."""

from __future__ import annotations

from typing import TypeAlias

Messages: TypeAlias = list[dict[str, str]]
Prompt: TypeAlias = str | Messages


def as_completion(prompt: Prompt, text: str) -> str | Messages:
    """A sampled text in the form of its prompt: itself, or one message of the assistant."""
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def completion_text(completion: str | Messages) -> str:
    """The words of a completion, whatever its form."""
    return (
        completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
    )


def shown(prompt: object, limit: int = 60) -> str:
    """A prompt or completion as an error message quotes it: on one line, and short."""
    text = repr(prompt)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
