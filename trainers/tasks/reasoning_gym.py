"""Tasks of reasoning-gym: procedural data sets, each with a judge of its own, by `task_options.dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import count
from typing import Any

from maspo_dsl.language.diagnostics import did_you_mean

from ..config_error import ConfigError
from ..prompts import Messages, Prompt, completion_text
from .task import Example

# Examples of one data set; the next has other seeds. Example k of a data set has its seed plus k.
_SIZE = 1000
_HELD_OUT_SEED = 2**30
_BETWEEN_RUNS = 1_000_003


class ReasoningGymTask:
    """A data set of reasoning-gym; every other option is one of its configuration, such as `min_terms`.

    `chat`: whether prompts are messages. `system` names one of reasoning-gym's prompts, such as `default`, which ask
    for the answer between `<answer>` and `</answer>`; what stands there is judged, else the whole completion.
    """

    name = "reasoning_gym"

    def __init__(self, dataset: str = "", *, chat: bool = True, system: str = "", **options: Any) -> None:
        """Look at the options. Raises ConfigError: the package is not there, or has no such thing."""
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
            from reasoning_gym.utils import SYSTEM_PROMPTS, extract_answer
        except ImportError as error:
            raise ConfigError(
                "task=reasoning_gym needs reasoning-gym: pip install 'maspo-dsl[reasoning-gym]'"
            ) from error
        if dataset not in DATASETS:
            raise ConfigError(
                f"`task_options.dataset={dataset}`: reasoning-gym has no such data set; "
                f"{did_you_mean(dataset, DATASETS)}"
            )
        if system and system not in SYSTEM_PROMPTS:
            raise ConfigError(
                f"`task_options.system={system}`: no such prompt; {did_you_mean(system, SYSTEM_PROMPTS)}"
            )
        if system and not chat:
            raise ConfigError("`task_options.system` is a message: it needs `task_options.chat=true`")
        self._create, self._extract = reasoning_gym.create_dataset, extract_answer
        self._dataset, self._options, self._chat = dataset, options, chat
        self._system = SYSTEM_PROMPTS[system] if system else ""
        self._judge = self._made(0, 1)
        shown = " ".join(f"{key}={value}" for key, value in sorted(options.items()))
        made_by = f"reasoning-gym {version('reasoning-gym')}"
        self.fingerprint = f"{made_by} {dataset} chat={chat} system={system} {shown}"

    def reward(
        self, completions: Sequence[str | Messages], entry: Sequence[Mapping[str, Any]], **columns: object
    ) -> list[float | None]:
        """The data set's own score of each answer, from 0 to 1."""
        texts = [completion_text(completion) for completion in completions]
        answers = [self._extract(text) or text.strip() for text in texts]
        return [
            float(self._judge.score_answer(answer, dict(each)))
            for answer, each in zip(answers, entry, strict=True)
        ]

    def train(self, seed: int) -> Iterator[Example]:
        """Endless examples, none of which is held out. Raises ConfigError where all are."""
        for start in count((seed + 1) * _BETWEEN_RUNS, _SIZE):
            entries = [each for each in self._made(start, _SIZE) if each["question"] not in self._held_out]
            if not entries:
                raise ConfigError(f"{self._dataset} of reasoning-gym has too few questions to hold some out")
            yield from map(self._example, entries)

    def held_out(self, count: int) -> list[Example]:
        """The first examples of a seed that no training has."""
        return [self._example(each) for each in list(self._held_out.values())[:count]]

    @cached_property
    def _held_out(self) -> dict[str, Any]:
        """What is held out, by its question."""
        return {each["question"]: each for each in self._made(_HELD_OUT_SEED, _SIZE // 4)}

    def _made(self, seed: int, size: int) -> Any:
        """A data set. Raises ConfigError for options that it does not have, or does not take."""
        try:
            return self._create(self._dataset, seed=seed, size=size, **self._options)
        except (TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"{self._dataset} of reasoning-gym refuses its options: {error}") from error

    def _example(self, entry: Mapping[str, Any]) -> Example:
        question = str(entry["question"])
        prompt: Prompt = f"{question}\n"
        if self._chat:
            before = [{"role": "system", "content": self._system}] if self._system else []
            prompt = [*before, {"role": "user", "content": question}]
        return Example(prompt, {"answer": entry["answer"], "entry": dict(entry)})
