"""Parts without effect: whatever could be dropped is, and nothing is different; a rule always holds, or never."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

import numpy as np

from maspo_dsl.analysis.alternatives import alternatives, values_with
from maspo_dsl.analysis.baseline import EVERYWHERE, SOON, Baseline, asked, decided, of_tokens
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.thresholds import beyond
from maspo_dsl.analysis.trial import dropped, graph_of, graph_of_values
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.language.walking import Node, names_in
from maspo_dsl.semantics.edits import Target, neutral_targets, statement_of
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import PART_WORDS, Role, before_advantage
from maspo_dsl.semantics.parts import Key, Parts
from maspo_dsl.semantics.terms import Term, constant, static_truth, walk
from maspo_dsl.semantics.types import Axis, Kind

_VALUES = 6
"""How many other values each parameter of a part is given."""
_NEUTRAL = {Role.FILTER: True, Role.STEP_SCALE: 1.0, Role.PROMPT_SCORE: 0.0}
"""Values of the parts that are outputs of their own, where there is no such part."""
_HINT = "take it out, or look at its numbers: it may be meant for something else"


def dead_part_findings(
    objective: ResolvedObjective, baseline: Baseline, known: Collection[Span], dead: Collection[str]
) -> Iterator[Finding]:
    """A warning for each rule that always holds, or never, and for each part that could as well be dropped.

    `known` are the places of other warnings of this kind, `dead` the parameters that move nothing: what has to do
    with them is passed over. A part that reads a parameter is tried with other values of it, too. Of two parts that
    do the same, the later one is at fault, and the spec's own rather than an inherited one.
    """
    spans = list(known)
    flat = objective.flat
    for (word, name), holds in _constant_rules(objective, baseline, dead).items():
        span = flat.parts[word, name].span
        if not _touches(span, spans):
            spans.append(span)
            always = "always" if holds else "never"
            yield Finding("dead-part", f"the condition of `{word} {name}` {always} holds", span, _HINT)
    if not _trains(baseline):
        # That is not for want of any one part.
        return
    gone: list[Target] = []
    for target in _by_fault(objective):
        node = _node(flat, target)
        own = any(target.key == other.key and other.family != "stage" for other in gone)
        if own or _touches(node.span, spans) or _reached(flat, node) & set(dead):
            continue
        if _is_idle(objective, baseline, [*gone, target]):
            gone.append(target)
            yield Finding("dead-part", _message(target, node), node.span, _HINT)


def _by_fault(objective: ResolvedObjective) -> list[Target]:
    """What could be dropped, but for a `let` that is its neutral already."""
    flat = objective.flat
    source = flat.header.span.source
    targets = neutral_targets(flat, objective.used)
    neutral = {name for name, let in flat.lets.items() if let.value == let.neutral}
    later_first = [t for t in targets if t.family != "let" or t.name not in neutral][::-1]
    return sorted(
        later_first,
        key=lambda target: (_node(flat, target).span.source is not source, target.family != "part"),
    )


def _node(flat: Flat, target: Target) -> tree.Stage | tree.Let | tree.Slot | tree.Part | tree.Rule:
    if target.family == "stage":
        pipe = statement_of(flat, target.key).value
        assert isinstance(pipe, tree.Pipe)
        return pipe.stages[target.index]
    return flat.parts[target.key] if target.family == "part" else statement_of(flat, target.key)


def _touches(span: Span, others: Collection[Span]) -> bool:
    return any(span.within(other) or other.within(span) for other in others)


def _reached(flat: Flat, node: Node) -> set[str]:
    """Every name that something written reads, through what the names stand for."""
    found, fresh = set[str](), names_in(node)
    meanings: dict[str, Node] = {**flat.lets, **flat.slots, **flat.defs}
    while fresh:
        found |= fresh
        fresh = {name for other in fresh if other in meanings for name in names_in(meanings[other])} - found
    return found


def _message(target: Target, node: tree.Stage | tree.Let | tree.Slot | tree.Part | tree.Rule) -> str:
    match target.family:
        case "stage":
            text = " ".join(node.span.text.split())
        case "part":
            text = f"{target.owner} {target.name}"
        case _:
            text = target.name
    without = "with its neutral value" if target.family == "let" else "without it"
    same = "every gradient and every advantage is the same"
    if target.word in PART_WORDS and PART_WORDS[target.word].role in _NEUTRAL:
        same = "everything is the same"
    return f"`{text}` has no effect: {without} {same}"


# ---- without a part


def _trains(baseline: Baseline) -> bool:
    """Whether the policy term, or the loss where there is none, has a gradient at all."""
    loss = "policy_loss" if "policy_loss" in baseline.graph.outputs else "loss"
    stages = ("alone",) if loss == "policy_loss" else SOON
    trials = (trial for stage in stages for trial in baseline.trials(baseline.graph, stage))
    return any(np.any(trial.interpretation.gradient(loss)) for trial in trials)


def _is_idle(objective: ResolvedObjective, baseline: Baseline, targets: list[Target]) -> bool:
    """Whether nothing is different without some targets, of which all but the last are known to be idle."""
    target, shorter = targets[-1], dropped(objective, *targets)
    if shorter is None or beyond(*_terms(objective.parts, target)):
        return False
    other = graph_of(_comparable(shorter, objective.parts))
    names = _reached(objective.flat, _node(objective.flat, target)) & set(objective.parameters)
    # At another value of a parameter that switches something off, the part may be needed.
    names |= {
        name for name in objective.used & set(objective.parameters) if objective.parameters[name].value == 0
    }
    early = before_advantage(target.word)
    stages = [stage for stage in EVERYWHERE if not (early and of_tokens(stage))]
    return not any(
        _differs(baseline, other, stage, params) for params in _settings(objective, names) for stage in stages
    )


def _differs(baseline: Baseline, other: Graph, stage: str, params: dict[str, float]) -> bool:
    outputs = [name for name in decided(baseline.graph)[::-1] if name in other.outputs]
    # A token alone has no large numbers of others to be rounded with.
    floor = 0.0 if of_tokens(stage) else 1e-13
    pairs = zip(
        baseline.trials(baseline.graph, stage, params),
        baseline.interpretations(other, stage, params),
        strict=True,
    )
    return any(trial.differs(changed, asked(stage, outputs), floor=floor) for trial, changed in pairs)


def _settings(objective: ResolvedObjective, names: Collection[str]) -> Iterator[dict[str, float]]:
    """Values for parameters: their own, then others of each one."""
    yield {}
    for name in sorted(names):
        for value in islice(alternatives(objective, name), _VALUES):
            yield values_with(objective, name, value) or {}


def _comparable(shorter: Parts, parts: Parts) -> Parts:
    """With the neutral value of what is an output of its own in place of those that are gone."""
    gone = {key: term for key, term in parts.of(*_NEUTRAL).items() if key not in shorter.by_key}
    return shorter.replaced(
        {
            key: Term(
                "const",
                (),
                Axis.SCALAR,
                term.kind,
                False,
                term.span,
                (("value", _NEUTRAL[PART_WORDS[key[0]].role]),),
            )
            for key, term in gone.items()
        }
    )


def _terms(parts: Parts, target: Target) -> Iterator[Term]:
    """The terms of the part that a target is or stands in; of a `let` all that might be."""
    family, name = target.key
    if family == "let":
        return walk(*parts.terms())
    return walk(parts[name] if family == "slot" else parts.by_key[target.key])


# ---- rules


def _constant_rules(
    objective: ResolvedObjective, baseline: Baseline, dead: Collection[str]
) -> dict[Key, bool]:
    """The rules whose condition always holds, or never, whatever it is asked of."""
    parts = objective.parts
    conditions = {}
    for key, term in parts.of(Role.FILTER, Role.REMOVES_POLICY_TERM, Role.REMOVES_TOKEN).items():
        numbers_decide = static_truth(term) is not None
        if not (numbers_decide or beyond(term) or _parameters(term) & set(dead)):
            conditions[key] = term
    if not conditions:
        return {}
    seen: dict[Key, set[bool]] = {key: set() for key in conditions}
    names = {name for term in conditions.values() for name in _parameters(term)}
    outputs = {f"{number}": key for number, key in enumerate(conditions)}
    graph = graph_of_values(parts, {output: _as_number(conditions[key]) for output, key in outputs.items()})
    for params in _settings(objective, names):
        for stage in EVERYWHERE:
            for interpretation in baseline.interpretations(graph, stage, params):
                for output, key in outputs.items():
                    if len(seen[key]) < 2 and not (before_advantage(key[0]) and of_tokens(stage)):
                        seen[key] |= _truths(interpretation, f"term:{output}")
            if all(len(truths) == 2 for truths in seen.values()):
                return {}
    return {key: min(truths) for key, truths in seen.items() if len(truths) == 1}


def _parameters(term: Term) -> set[str]:
    return {str(inner.attribute("name")) for inner in walk(term) if inner.op == "param"}


def _truths(interpretation: Interpretation, output: str) -> set[bool]:
    """What a rule says of tokens, and of completions that have some."""
    values = interpretation.output(output)
    if values.ndim:
        known = interpretation.batch["mask" if values.ndim == 2 else "present"].astype(bool)
        values = np.broadcast_to(values, known.shape)[known]
    return {truth for truth, seen in ((True, np.any(values)), (False, not np.all(values))) if seen}


def _as_number(condition: Term) -> Term:
    one, zero = constant(1.0, condition.span), constant(0.0, condition.span)
    return Term("select", (condition, one, zero), condition.axis, Kind.REAL, False, condition.span)
