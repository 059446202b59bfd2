"""Versions of the language: since which one the words of an objective mean what they mean."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.terms import Term, walk


def language_version(parts: Parts) -> int:
    """The first version of the language in which the parts mean what they mean today.

    A text that an earlier version took for something else has this in its hash; one that it read alike does not.
    """
    return max(
        (version for (word, _), part in parts.by_key.items() for version in _versions(word, part)), default=1
    )


def _versions(word: str, part: Term) -> Iterator[int]:
    """Versions that a part, written with a word, needs: of what passes gradient on where it did not before."""
    for term in walk(part, into=lambda term: term.live):
        if term.op in REDUCTIONS:
            yield REDUCTIONS[term.op].since
