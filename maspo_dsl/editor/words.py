"""Every word of the language with its sort and meaning, read from the tables; and highlighting made from them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

from maspo_dsl.language.keywords import EXPRESSION_WORDS, RESERVED_WORDS, SCOPE, STATEMENT_WORDS, TEACHER
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.quantities import INPUT_AXES, INPUT_KINDS, QUANTITIES
from maspo_dsl.semantics.scopes import KEPT_PER, SCOPES
from maspo_dsl.semantics.shipped import shipped_names, shipped_source
from maspo_dsl.semantics.vocabulary import PRIMITIVES, RUN_CONSTANTS, WARNINGS

_MEANING = re.compile(r'^objective[^\n]*\n"([^"\n]*)"', re.MULTILINE)


@dataclass(frozen=True)
class Word:
    """A word, what sort of thing it is, and what it means in a line."""

    text: str
    sort: str
    meaning: str = ""


def _words(sort: str, meanings: dict[str, str]) -> tuple[Word, ...]:
    return tuple(Word(text, sort, meaning) for text, meaning in meanings.items())


@cache
def language_words() -> dict[str, tuple[Word, ...]]:
    """The words of the language by sort."""
    return {
        "statement": _words("statement", dict.fromkeys([*STATEMENT_WORDS, TEACHER, SCOPE], "")),
        "word": _words("word", dict.fromkeys(sorted(EXPRESSION_WORDS), "")),
        "part": _words("part", {word: row.doc for word, row in PART_WORDS.items()}),
        "quantity": _words("quantity", {word: row.doc for word, row in QUANTITIES.items()}),
        "scope": _words("scope", {word: row.meaning for word, row in SCOPES.items()}),
        "primitive": _words("primitive", PRIMITIVES),
        "constant": _words("constant of a run", {word: row.meaning for word, row in RUN_CONSTANTS.items()}),
        "warning": _words("warning", WARNINGS),
        "axis": _words("axis", {word: axis.one_value for word, axis in INPUT_AXES.items()}),
        "kind": _words("kind", {word: row.doc for word, row in INPUT_KINDS.items()}),
        "per": _words("kept for each", {word: row.meaning for word, row in KEPT_PER.items()}),
    }


@cache
def shipped_words() -> tuple[Word, ...]:
    """The shipped objectives, with what they are."""
    meanings = ((name, _MEANING.search(shipped_source(name).text)) for name in shipped_names())
    return tuple(Word(name, "objective", found[1] if found else "") for name, found in meanings)


def is_reserved(name: str) -> bool:
    """Whether nothing can be called so."""
    return name in RESERVED_WORDS


def meaning_of(text: str, sorts: Collection[str] = ()) -> Iterator[Word]:
    """What a word means in the language, each sort that has it."""
    for sort, words in language_words().items():
        if not sorts or sort in sorts:
            yield from (word for word in words if word.text == text)
