"""Prompts of the user's own: a file with one JSON object a line, as in TRL.

`{"prompt": "…" or [{"role": "user", "content": "…"}], "answer": …, …}`. Every column besides `prompt` goes
to the reward; one that a line lacks is None there.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from maspo_dsl.language.diagnostics import did_you_mean

from ..config_error import ConfigError
from ..prompts import Prompt, shown
from ..rewards import RewardFunction, exact_match
from .task import Example

# A column of this name could not be told from an argument that every reward function gets.
_RESERVED = ("prompts", "completions")


@dataclass(frozen=True)
class JsonlTask:
    """Prompts of a file, shuffled anew in every epoch; its last tenth, or another file, is held out."""

    name: str
    fingerprint: str
    training: tuple[Example, ...] = field(repr=False)
    measured: tuple[Example, ...] = field(repr=False)

    @property
    def reward(self) -> RewardFunction:
        """Exact match with the `answer` column. Raises ConfigError without that column."""
        examples = self.training + self.measured
        missing = sum(example.columns.get("answer") is None for example in examples)
        if missing:
            lacking = (
                "no `answer` column" if missing == len(examples) else f"no `answer` in {missing} of its lines"
            )
            raise ConfigError(
                f"{self.name} has {lacking}, which the default reward compares completions with; "
                "name a reward function: `reward=module.function`"
            )
        return exact_match

    @property
    def examples(self) -> tuple[Example, ...]:
        """Every line, to be looked at before a run."""
        return self.training + self.measured

    def train(self, seed: int) -> Iterator[Example]:
        """Endless examples; each epoch is a permutation of the training lines."""
        source = random.Random(f"{self.fingerprint} {seed}")
        while True:
            yield from source.sample(self.training, len(self.training))

    def held_out(self, count: int) -> list[Example]:
        """The first `count` held-out lines, in the order of the file."""
        return list(self.measured[:count])


def read_jsonl_task(path: Path, *, held_out: str | None = None) -> JsonlTask:
    """The task that a file describes.

    Raises ConfigError naming file and line of the first line that cannot be used. Training lines whose
    prompt is also held out are left out, with a warning.
    """
    examples = _read(path)
    if held_out is not None:
        measured = _read(Path(str(held_out)))
    else:
        if len(examples) < 2:
            raise ConfigError(
                f"{path} has one prompt; a task needs at least two, since the last tenth is held out"
            )
        cut = len(examples) - max(1, len(examples) // 10)
        examples, measured = examples[:cut], examples[cut:]
    known = {_key(example.prompt) for example in measured}
    training = [example for example in examples if _key(example.prompt) not in known]
    if not training:
        raise ConfigError(f"every training prompt of {path} is also held out; nothing is left to train on")
    if len(training) < len(examples):
        repeated = len(examples) - len(training)
        warnings.warn(f"{path}: {repeated} training lines left out, their prompts are held out", stacklevel=2)
    training, measured = _completed(training, measured)
    content = json.dumps([[e.prompt, dict(e.columns)] for e in [*training, *measured]], sort_keys=True)
    fingerprint = f"jsonl {blake2b(content.encode(), digest_size=16).hexdigest()}"
    return JsonlTask(str(path), fingerprint, tuple(training), tuple(measured))


def _read(path: Path) -> list[Example]:
    """The examples of one file."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; expected a file with one JSON object a line")
    if not path.exists():
        siblings = [str(other) for other in path.parent.glob("*.jsonl")] if path.parent.is_dir() else []
        hint = did_you_mean(str(path), siblings) if siblings else "there is no .jsonl file in that folder"
        raise ConfigError(f"there is no file {path}; {hint}")
    examples = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    examples.append(_example(line, f"{path}:{number}"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8; expected one JSON object a line") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if not examples:
        raise ConfigError(f"{path} is empty; expected one JSON object a line, with a `prompt`")
    return examples


def _example(line: str, place: str) -> Example:
    """The example on one line; `place` is its file:line."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, column {error.colno}"
        raise ConfigError(f"{place}: not JSON ({reason}); expected one object a line") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: a number too long or a nesting too deep for JSON to be read") from error
    if not isinstance(row, dict):
        raise ConfigError(
            f'{place}: expected an object, as in {{"prompt": "…", "answer": "…"}}, found {shown(row)}'
        )
    if "prompt" not in row:
        raise ConfigError(f"{place}: the object has no `prompt`; its keys: {', '.join(row) or 'none'}")
    for column in _RESERVED:
        if column in row:
            raise ConfigError(
                f"{place}: a column cannot be called `{column}`: rewards have an argument of that name"
            )
    return Example(_prompt(row.pop("prompt"), place), row)


def _prompt(prompt: object, place: str) -> Prompt:
    """A prompt as read, checked."""
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(_is_message(message) for message in prompt):
        return prompt
    raise ConfigError(
        f"{place}: `prompt` is {shown(prompt)}; "
        'expected text, or messages as in [{"role": "user", "content": "…"}]'
    )


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _key(prompt: Prompt) -> str:
    """A prompt as something that can be looked up."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)


def _completed(*parts: list[Example]) -> list[list[Example]]:
    """The examples, each with every column that any of them has."""
    names = {name: None for part in parts for example in part for name in example.columns}
    return [[Example(example.prompt, {**names, **example.columns}) for example in part] for part in parts]
