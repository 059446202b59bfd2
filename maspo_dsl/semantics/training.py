"""Whether anything is trained: numbers may rule out the whole policy term, and with it every gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.terms import Term, settings_of, static_truth, static_value

if TYPE_CHECKING:
    from maspo_dsl.semantics.assemble import Parts


def report_nothing_trained(flat: Flat, parts: Parts, report: Report) -> None:
    """Report what leaves a loss without gradient, whatever the batch: a rule that always holds, a factor of 0."""
    for term, span, what in _removes_everything(flat, parts):
        report.error("no-gradient", f"{what}, so nothing is trained", span, settings_of(term))
    others = [*parts.penalties.values(), *parts.bonuses.values()]
    if any(not vanishes(term) for term in others):
        return
    for term, span, what in _removes_policy_term(flat, parts):
        report.error("no-gradient", f"{what}, so nothing is trained", span, settings_of(term))


def _removes_everything(flat: Flat, parts: Parts) -> Iterator[tuple[Term, Span, str]]:
    if vanishes(parts.reduce):
        yield parts.reduce, flat.slots["reduce"].value.span, "`reduce` is always 0"
    for name, term in parts.excludes.items():
        if static_truth(term):
            yield term, _place(flat, "exclude", name), f"`exclude {name}` removes every token"


def _removes_policy_term(flat: Flat, parts: Parts) -> Iterator[tuple[Term, Span, str]]:
    if vanishes(parts.ratio):
        yield parts.ratio, flat.slots["ratio"].value.span, "`ratio` is always 0"
    for name, term in parts.weights.items():
        if vanishes(term):
            yield term, _place(flat, "weight", name), f"`weight {name}` is always 0"
    for name, term in parts.mutes.items():
        if static_truth(term):
            yield term, _place(flat, "mute", name), f"`mute {name}` removes the policy term of every token"


def _place(flat: Flat, word: str, name: str) -> Span:
    part = flat.parts[word, name]
    return part.condition.span if isinstance(part, tree.Rule) else part.value.span


def vanishes(term: Term) -> bool:
    """Whether a value is 0 whatever the batch, by a factor of 0."""
    if static_value(term) is not None:
        return static_value(term) == 0
    match term.op:
        case "mul":
            return any(vanishes(argument) for argument in term.args)
        case "add" | "sub":
            return all(vanishes(argument) for argument in term.args)
        case "div" | "neg" | "abs" | "detach" | "expand" | "reduce" | "next" | "discounted_sum":
            return vanishes(term.args[0])
        case "select":
            condition, then, otherwise = term.args
            truth = static_truth(condition)
            chosen = (then, otherwise) if truth is None else (then if truth else otherwise,)
            return all(vanishes(branch) for branch in chosen)
    return False
