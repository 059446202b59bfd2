"""What an option of another trainer means for the objective: one row an option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias

Settings: TypeAlias = Mapping[str, Any]
SET = ("set",)
"""In `needs`: any value but None, False and 0."""


class SettingsError(Exception):
    """Settings that cannot be imported; the message says why in the user's terms."""


class About(Enum):
    """What an option is about."""

    OBJECTIVE = "the spec says it"
    ADVANTAGE = "the spec says it, where it estimates the advantage"
    SAMPLER = "tokens are no longer drawn from the policy alone"
    RUN = "around the objective"
    REFUSED = "no spec can say it"


@dataclass(frozen=True)
class Option:
    """An option of a trainer.

    `default` is the trainer's; `says` is the line of .obj that means the option, with `{value}` in it; for a refused
    option, why no line does. `words` are the values of one that is a word, `synonyms` other values that mean one of
    them. `parts` are the words of the lines of a spec that decide instead of the option; none where the trainer still
    heeds it beside a spec. `optional` ones may be None. A number lies in [`low`, `high`]. `needs` names options without
    which this one does nothing, with the values that they need.
    """

    name: str
    default: Any
    kind: Literal["number", "count", "switch", "word", "numbers", "words", "anything"]
    about: About
    says: str
    words: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    optional: bool = False
    low: float = 0
    high: float = math.inf
    needs: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    synonyms: Mapping[Any, str] = field(default_factory=dict)

    def line(self, value: object) -> str:
        """The line of .obj that says the option at a value."""
        return self.says.replace("{value}", text(value))

    def idle(self, settings: Settings) -> str | None:
        """Why the option does nothing beside the others; None where it acts."""
        for name, values in self.needs.items():
            if values is SET:
                if not settings[name]:
                    return f"{name} is {text(settings[name])}"
            elif settings[name] not in values:
                return f"it acts with {name} {', '.join(map(text, values))} alone"
        return None


def table(*rows: Option) -> dict[str, Option]:
    """Options by name."""
    return {row.name: row for row in rows}


def text(value: object) -> str:
    """A value as the language and the command line write it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
