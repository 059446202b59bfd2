"""Parts, stages, added terms, bounds and conditions without effect: taken out, every gradient is the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from maspo_dsl.analysis.alternatives import alternatives, values_with
from maspo_dsl.analysis.baseline import EVERYWHERE, OUTPUTS, Baseline, asked, of_tokens
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.leaving_out import without
from maspo_dsl.analysis.marks import Marked, Place, marked, numbered
from maspo_dsl.analysis.trial import GROUPS, graph_of
from maspo_dsl.graph.build import build
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.terms import Term, constant, static_truth, static_value, walk
from maspo_dsl.semantics.types import Kind

_VALUES = 6
"""How many other values each parameter of a place is given."""
_TINY = 1e-3
"""A smaller number that is added, or a bound nearer to 0, is a precaution."""
_FARTHEST = 65536
"""No completion, nor group, that is tried has more tokens; of a part that compares with more nothing is said."""
_COUNTED = frozenset({"length", "position"})
_HINT = "take it out, or look at its numbers: it may be meant for something else"


def dead_part_findings(
    objective: ResolvedObjective, baseline: Baseline, known: Collection[Span], dead: Collection[str]
) -> Iterator[Finding]:
    """A warning for everything written that could be left out.

    `known` are the places of other warnings of this kind, `dead` the parameters that move nothing: what has to do
    with them is passed over. A place that reads a parameter is tried with other values of it, too.
    """
    found = marked(objective)
    if found is None:
        return
    search = _Search(objective, baseline, found, dead)
    places = [place for place in found.places if not _touches(place.span, known)]
    holds = search.constant([place for place in places if place.kind == "condition"])
    spans: list[Span] = []
    for place in _order(objective, places) if search.trains() else ():
        if place.kind == "condition" or _inside(place.span, spans):
            continue
        if search.idle(place):
            spans.append(place.span)
            yield Finding("dead-part", _message(place, holds), place.span, _HINT)
    for place, truth in holds.items():
        if not _inside(place.span, spans):
            spans.append(place.span)
            yield Finding("dead-part", f"`{_text(place.span)}` {_truth(truth)}", place.span, _HINT)


def _order(objective: ResolvedObjective, places: list[Place]) -> list[Place]:
    """Whole parts first; of two places that do the same, the later one is at fault, and the spec's own."""
    own = objective.flat.header.span.source
    inherited = {place: place.span.source is not own for place in places}
    later = places[::-1]
    return sorted(later, key=lambda place: (inherited[place], place.kind != "part", place.kind == "term"))


def _touches(span: Span, others: Collection[Span]) -> bool:
    return any(span.within(other) or other.within(span) for other in others)


def _inside(span: Span, others: Collection[Span]) -> bool:
    return any(span.within(other) for other in others)


# ---- messages


def _message(place: Place, holds: dict[Place, bool]) -> str:
    said = f"`{' '.join(place.owner)}`" if place.kind == "part" else f"`{_text(place.span)}`"
    whole = [truth for other, truth in holds.items() if other.span.within(place.span)]
    if whole and not any(whole):
        return f"{said} has no effect: its condition never holds"
    same = "every gradient and every advantage is the same"
    if place.owner[0] in ("keep", "prompt", "step") or place.owner[1] in ("prompt", "step"):
        same = "everything is the same"
    return f"{said} has no effect: without it {same}"


def _text(span: Span) -> str:
    return " ".join(span.text.split())


def _truth(truth: bool) -> str:
    return "always holds" if truth else "never holds"


# ---- search


class _Search:
    """Leaves places out, and looks whether anything is different."""

    def __init__(
        self, objective: ResolvedObjective, baseline: Baseline, found: Marked, dead: Collection[str]
    ) -> None:
        self.objective = objective
        self.baseline = baseline
        self.parts = found.parts
        self.dead = dead
        self.graph = graph_of(found.parts)

    def trains(self) -> bool:
        """Whether the policy term has a gradient at all; if not, that is not for want of any one place."""
        runs = self.baseline.runs(self.graph, "alone")
        return any(np.any(run.interpretation.gradient("policy_loss")) for run in runs)

    def idle(self, place: Place) -> bool:
        """Whether a place has no effect; if so, it is left out from here on."""
        shorter = without(self.parts, place)
        if shorter is None:
            return False
        written = self._written(place)
        names = _parameters(written) | self._switched_off(place)
        if names & set(self.dead) or _beyond(written) or self._precaution(place, written):
            return False
        graph = graph_of(shorter)
        outputs = [name for name in OUTPUTS[::-1] if name in self.graph.outputs and name in graph.outputs]
        if place.kind == "term" and place.owner == ("slot", "ratio"):
            outputs.append("policy_term")
        early = place.owner[0] in ("reward", "keep") or place.owner[1] in ("advantage", "prompt")
        stages = [stage for stage in EVERYWHERE if not (early and of_tokens(stage))]
        if self._differs(graph, stages, outputs, {}):
            return False
        for name in sorted(names):
            for value in islice(alternatives(self.objective, name), _VALUES):
                params = values_with(self.objective, name, value) or {}
                if self._differs(graph, stages, outputs, params):
                    return False
        self.parts = shorter
        return True

    def _differs(self, graph: Graph, stages: list[str], outputs: list[str], params: dict[str, float]) -> bool:
        for stage in stages:
            others = self.baseline.interpretations(graph, stage, params)
            runs = self.baseline.runs(self.graph, stage, params)
            # A token alone has no large numbers of others to be rounded with.
            floor = 0.0 if of_tokens(stage) else 1e-13
            pairs = zip(runs, others, strict=True)
            if any(run.differs(other, asked(stage, outputs), floor=floor) for run, other in pairs):
                return True
        return False

    def _written(self, place: Place) -> list[Term]:
        """What is left out with a place: its terms down to the value without it."""
        if place.kind == "part":
            word, name = place.owner
            term = getattr(self.parts, GROUPS[word]).get(name)
            return [] if term is None else list(walk(term))
        marks = numbered(self.parts)
        kept = {id(term) for term in walk(*marks.get(place.rest, []))}
        return [term for term in walk(*marks.get(place.whole, [])) if id(term) not in kept]

    def _switched_off(self, place: Place) -> set[str]:
        """Parameters of value 0 in what a place is applied to: at another value it may be needed."""
        names = _parameters(list(walk(*numbered(self.parts).get(place.whole, []))))
        return {name for name in names if self.objective.parameters[name].value == 0}

    def _precaution(self, place: Place, written: list[Term]) -> bool:
        """Against division by 0, say: a tiny number, or what is written without a gradient on purpose."""
        if place.kind == "part" or place.owner[0] not in ("slot", "let", *GROUPS):
            return False
        if place.kind == "term" and place.span.text.startswith("detach("):
            return True
        numbers = [static_value(term) for term in written if term.op in ("const", "param")]
        known = [abs(number) for number in numbers if number is not None]
        return bool(known) and max(known) < _TINY

    # ---- conditions

    def constant(self, places: list[Place]) -> dict[Place, bool]:
        """The conditions that always hold, or never, whatever they are asked of."""
        marks = numbered(self.parts)
        asked_of = {
            place: terms
            for place in places
            if (terms := marks.get(place.whole))
            and all(static_truth(term) is None for term in terms)
            and not _parameters(list(walk(*terms))) & set(self.dead)
            and not _beyond(list(walk(*terms)))
        }
        seen: dict[Place, set[bool]] = {place: set() for place in asked_of}
        numbers = {str(index): place for index, place in enumerate(asked_of)}
        graph = self._graph_of_conditions({key: asked_of[place] for key, place in numbers.items()})
        self._see(graph, numbers, seen, {})
        for name in sorted(_parameters([term for terms in asked_of.values() for term in walk(*terms)])):
            for value in islice(alternatives(self.objective, name), _VALUES):
                self._see(graph, numbers, seen, values_with(self.objective, name, value) or {})
        return {place: min(truths) for place, truths in seen.items() if len(truths) == 1}

    def _see(
        self, graph: Graph, numbers: dict[str, Place], seen: dict[Place, set[bool]], params: dict[str, float]
    ) -> None:
        for stage in EVERYWHERE:
            if all(len(truths) == 2 for truths in seen.values()):
                return
            for run in self.baseline.interpretations(graph, stage, params):
                for output in graph.outputs:
                    key = output.removeprefix("term:").split(".")[0]
                    if key in numbers and len(seen[numbers[key]]) < 2:
                        seen[numbers[key]] |= _truths(run, output, numbers[key])

    def _graph_of_conditions(self, terms: dict[str, list[Term]]) -> Graph:
        """A graph of which each condition is an output: what is added to the loss is one."""
        numbers = {
            f"{key}.{index}": _as_number(term)
            for key, found in terms.items()
            for index, term in enumerate(found)
        }
        return build(replace(self.parts, penalties=numbers, bonuses={}))


def _truths(run: Interpretation, output: str, place: Place) -> set[bool]:
    """What a condition is; a rule is not asked about completions without tokens, a precaution is."""
    values = run.output(output)
    if place.owner[0] in ("keep", "mute", "exclude") and values.ndim:
        known = run.batch["mask" if values.ndim == 2 else "present"].astype(bool)
        values = np.broadcast_to(values, known.shape)[known]
    return {truth for truth, seen in ((True, np.any(values)), (False, not np.all(values))) if seen}


def _as_number(condition: Term) -> Term:
    one, zero = constant(1.0, condition.span), constant(0.0, condition.span)
    return Term("select", (condition, one, zero), condition.axis, Kind.REAL, False, condition.span)


def _parameters(terms: Collection[Term]) -> set[str]:
    return {str(term.attribute("name")) for term in terms if term.op == "param"}


def _beyond(terms: Collection[Term]) -> bool:
    """Whether something that is counted is compared with more than is ever tried."""
    counted = any(
        term.op in ("count", "sum", "rank", "discounted_sum")
        or (term.op == "input" and term.attribute("name") in _COUNTED)
        for term in terms
    )
    numbers = [abs(value) for term in terms if (value := static_value(term)) is not None]
    return counted and max(numbers, default=0.0) > _FARTHEST
