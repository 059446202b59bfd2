"""Versions of the language: since which one the words of an objective mean what they mean."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.scopes import MICRO
from maspo_dsl.semantics.terms import Term, walk
from maspo_dsl.semantics.totals import is_averaged


def language_version(parts: Parts) -> int:
    """The first version of the language in which the parts mean what they mean today.

    A text that an earlier version took for something else has this in its hash; one that it read alike does not.
    """
    return max(
        (version for (word, _), part in parts.by_key.items() for version in _versions(word, part)), default=1
    )


def _versions(word: str, part: Term) -> Iterator[int]:
    """Versions that a part, written with a word, needs.

    Of what passes gradient on where it did not before; of a number of each micro-batch, which was summed.
    """
    if is_averaged(part):
        yield MICRO.since
    for term in walk(part, into=lambda term: term.live):
        if term.op in REDUCTIONS:
            yield REDUCTIONS[term.op].since
