"""The parts of an objective as typed terms."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from maspo_dsl.semantics.part_words import PART_WORDS, Role, When
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.terms import Term, walk

Key: TypeAlias = tuple[str, str]
"""Word and name of a part; the name of a slot is empty."""


@dataclass(frozen=True)
class Parts:
    """The terms of an objective by word and name, in the order of PART_WORDS, of one word as they are declared.

    `advantage`, `ratio` and `reduce` are always there, but where `ratio = none`: then only those that are needed.
    """

    by_key: Mapping[Key, Term]

    def __getitem__(self, slot: str) -> Term:
        """The term of a slot that is there."""
        return self.by_key[slot, ""]

    def get(self, slot: str) -> Term | None:
        """The term of a slot, None if there is none."""
        return self.by_key.get((slot, ""))

    @property
    def has_policy_term(self) -> bool:
        """Whether the loss has a policy term."""
        return bool(self.of(Role.RATIO))

    def named(self, word: str) -> dict[str, Term]:
        """The parts of a word by name."""
        return {name: term for (other, name), term in self.by_key.items() if other == word}

    def of(self, *roles: Role) -> dict[Key, Term]:
        """The parts that have one of some roles."""
        return {key: term for key, term in self.by_key.items() if PART_WORDS[key[0]].role in roles}

    def terms(self, *when: When) -> Iterator[Term]:
        """The term of every part, or of those computed at some times; `terms.walk` goes below them."""
        return (term for (word, _), term in self.by_key.items() if not when or PART_WORDS[word].when in when)

    def scopes(self, purpose: str) -> list[Scope]:
        """What `loss`, `advantage`, `keep`, `prompt` or `step` reduces within; of the loss not what its `A` does."""
        found: dict[Scope, None] = {}
        for (word, _), part in self.by_key.items():
            row = PART_WORDS[word]
            before = "advantage" if row.role is Role.REWARD_TERM else word
            if purpose == ("loss" if row.when is When.IN_LOSS else before):
                said = (value for term in walk(part) for _, value in term.attributes)
                found |= {value: None for value in said if isinstance(value, Scope)}
        return list(found)

    def replaced(self, new: Mapping[Key, Term]) -> Parts:
        """With other terms for some parts, or with more of them."""
        by_key = {**self.by_key, **new}
        return Parts({key: by_key[key] for word in PART_WORDS for key in by_key if key[0] == word})

    def without(self, keys: Collection[Key]) -> Parts:
        """Without some parts."""
        return Parts({key: term for key, term in self.by_key.items() if key not in keys})
