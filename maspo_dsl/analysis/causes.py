"""Why an objective couples tokens: the parts that read the policy at other tokens, and where they say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.analysis.coupling import Coupling, Reach, coupling, reach_of
from maspo_dsl.analysis.trial import graph_of
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import PART_WORDS, SLOTS, When
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.terms import Term, walk


@dataclass(frozen=True)
class Cause:
    """A part that couples tokens as widely as the whole objective does, and its calls that gather over them.

    Without a call it is the number of tokens that the part leaves: an `exclude`.
    """

    part: str
    calls: tuple[str, ...]


def causes(objective: ResolvedObjective, found: Coupling) -> list[Cause]:
    """What makes a coupling as wide as it is; nothing where each token is for itself."""
    if found.reach is Reach.TOKEN:
        return []
    parts = objective.parts
    optional = [key for key in objective.flat.parts if PART_WORDS[key[0]].when is When.IN_LOSS]
    bare = parts.without(optional)
    slots = [
        (word, term) for word in SLOTS if (term := parts.get(word)) and PART_WORDS[word].when is When.IN_LOSS
    ]
    if coupling(graph_of(bare)).reach is not found.reach:
        alone = [(key, term) for key, term in parts.by_key.items() if key in optional]
        slots = [
            (" ".join(key), term)
            for key, term in alone
            if coupling(graph_of(bare.replaced({key: term}))).reach is found.reach
        ]
    found_causes = [Cause(name, tuple(_calls(term, found.reach))) for name, term in slots]
    return [cause for cause in found_causes if cause.calls or cause.part.startswith("exclude ")]


def _calls(term: Term, reach: Reach) -> Iterator[str]:
    """The calls that gather over what the reach names and read the current policy, as they are written."""
    texts = {
        " ".join(inner.span.text.split()): None
        for inner in walk(term)
        if _gathers(inner, reach) and _reads_policy(inner)
    }
    yield from texts


def _gathers(term: Term, reach: Reach) -> bool:
    scope = dict(term.attributes).get("scope")
    return isinstance(scope, Scope) and reach_of(scope.keys) is reach


def _reads_policy(term: Term) -> bool:
    """Whether a value is made of the current policy, `loss` apart: what `reduce` gathers it does so in any case."""
    return any(
        inner.op == "input" and inner.live and inner.attribute("name") != "loss" for inner in walk(term)
    )
