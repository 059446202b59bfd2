"""Prompts of the user's own: rows of a file or a data set, as in TRL.

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
from .tables import FORMATS, rows_of
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


def read_table_task(
    source: str,
    *,
    held_out: str | None = None,
    prompt: str = "prompt",
    answer: str = "answer",
    split: str = "train",
) -> JsonlTask:
    """The task that a file or a data set describes; `prompt` and `answer` are the columns with these, dotted if nested.

    Raises ConfigError naming file and line of the first row that cannot be used. Training rows whose
    prompt is also held out are left out, with a warning.
    """
    path = source
    examples = _read(source, split, prompt, answer)
    if held_out is not None:
        measured = _read(str(held_out), split, prompt, answer)
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
    content = json.dumps(
        [[e.prompt, dict(e.columns)] for e in [*training, *measured]], sort_keys=True, default=str
    )
    fingerprint = f"jsonl {blake2b(content.encode(), digest_size=16).hexdigest()}"
    return JsonlTask(str(path), fingerprint, tuple(training), tuple(measured))


def _read(source: str, split: str, prompt: str, answer: str) -> list[Example]:
    """The examples of one file or data set."""
    path = Path(source)
    if path.is_file() and path.suffix not in FORMATS:
        raise ConfigError(f"task `{source}`: expected a file of {', '.join(FORMATS)}")
    examples = [_example(row, place, prompt, answer) for row, place in rows_of(source, split)]
    if not examples:
        raise ConfigError(f"{source} is empty; expected rows with a `{prompt}`")
    if answer != "answer" and all(example.columns["answer"] is None for example in examples):
        columns = [name for name in examples[0].columns if name != "answer"]
        raise ConfigError(
            f"`task_options.answer={answer}`: {source} has no such column; {did_you_mean(answer, columns)}"
        )
    return examples


def _example(row: dict[str, object], place: str, prompt: str, answer: str) -> Example:
    """The example of one row."""
    columns = dict(row)
    asked = _column(columns, prompt)
    if asked is None and prompt not in columns:
        raise ConfigError(
            f"{place}: the object has no `{prompt}`; its keys: {', '.join(columns) or 'none'}"
            + ("; `task_options.prompt=COLUMN` names another" if prompt == "prompt" else "")
        )
    columns.pop(prompt, None)
    if answer != "answer":
        columns["answer"] = _column(columns, answer)
    for column in _RESERVED:
        if column in columns:
            raise ConfigError(
                f"{place}: a column cannot be called `{column}`: rewards have an argument of that name"
            )
    return Example(_prompt(asked, place), columns)


def _column(row: object, path: str) -> object:
    """A column, or what lies in one by dots; None without it."""
    if isinstance(row, dict) and path in row:
        return row[path]
    first, dot, rest = path.partition(".")
    return _column(row[first], rest) if dot and isinstance(row, dict) and first in row else None


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
