"""Whether anything is trained: numbers may rule out the whole policy term, and with it every gradient."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.language import tree
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.parts import Key, Parts
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.terms import Term, settings_of, static_truth, static_value, walk


def report_nothing_trained(flat: Flat, parts: Parts, report: DiagnosticCollector) -> None:
    """Report what leaves a loss without gradient, whatever the batch: a rule that always holds, a factor of 0."""
    if not _trains_the_policy(parts):
        message = "nothing here has a gradient to the policy: what else is live is trained beside it"
        report.error("no-gradient", message, flat.slots["ratio"].value.span)
    for term, span, what in _removes_everything(flat, parts):
        report.error("no-gradient", f"{what}, so nothing is trained", span, settings_of(term))
    if not all(is_flat(term) for term in parts.of(Role.ADDED, Role.SUBTRACTED).values()):
        return
    if not parts.has_policy_term:
        message = "without a policy term, what trains is a penalty or a bonus; none has a gradient here"
        report.error("no-gradient", message, flat.slots["ratio"].value.span)
        return
    for term, span, what in _removes_policy_term(flat, parts):
        report.error("no-gradient", f"{what}, so nothing is trained", span, settings_of(term))


def _trains_the_policy(parts: Parts) -> bool:
    """Whether a term of the loss is computed from the policy, and not from live inputs of the spec alone."""
    live = [term for term in walk(*parts.of(Role.RATIO, Role.ADDED, Role.SUBTRACTED).values()) if term.live]
    own = [("declared", True) in term.attributes for term in live if term.op == "input"]
    return not own or not all(own)


def _removes_everything(flat: Flat, parts: Parts) -> Iterator[tuple[Term, Span, str]]:
    reduction = parts.get("reduce")
    if reduction is not None and is_flat(reduction):
        yield reduction, flat.slots["reduce"].value.span, "`reduce` does not depend on any loss"
    for (word, name), term in parts.of(Role.REMOVES_TOKEN).items():
        if static_truth(term):
            yield term, _value_span(flat, (word, name)), f"`{word} {name}` removes every token"


def _removes_policy_term(flat: Flat, parts: Parts) -> Iterator[tuple[Term, Span, str]]:
    if is_flat(parts["ratio"]):
        yield parts["ratio"], flat.slots["ratio"].value.span, "`ratio` does not depend on the policy"
    for (word, name), term in parts.of(Role.FACTOR).items():
        if vanishes(term):
            yield term, _value_span(flat, (word, name)), f"`{word} {name}` is always 0"
    for (word, name), term in parts.of(Role.REMOVES_POLICY_TERM).items():
        if static_truth(term):
            what = f"`{word} {name}` removes the policy term of every token"
            yield term, _value_span(flat, (word, name)), what


def _value_span(flat: Flat, key: Key) -> Span:
    part = flat.parts[key]
    return part.condition.span if isinstance(part, tree.Rule) else part.value.span


def is_flat(root: Term) -> bool:
    """Whether numbers leave a value without gradient: by a factor of 0, an exponent of 0, a choice that they make."""
    flat: dict[int, bool] = {}
    for term, zero in _vanishing(root):
        then = _chosen(term)
        live = [argument for argument in (term.args if then is None else (then,)) if argument.live]
        flat[id(term)] = (
            not term.live
            or zero
            or (term.op == "pow" and static_value(term.args[1]) == 0)
            or (bool(term.args) and all(flat[id(argument)] for argument in live))
        )
    return flat[id(root)]


def vanishes(root: Term) -> bool:
    """Whether a value is 0 whatever the batch, by a factor of 0."""
    *_, (_, zero) = _vanishing(root)
    return zero


def _vanishing(root: Term) -> Iterator[tuple[Term, bool]]:
    """Every term below, arguments first, and whether it is 0 whatever the batch."""
    found: dict[int, bool] = {}
    for term in _arguments_first(root):
        zeros = [found[id(argument)] for argument in term.args]
        then = _chosen(term)
        match term.op:
            case "mul":
                zero = any(zeros)
            case "add" | "sub":
                zero = all(zeros)
            case "div" | "neg" | "abs" | "detach" | "expand":
                zero = zeros[0]
            case op if op in REDUCTIONS:
                zero = REDUCTIONS[op].of_zeros and zeros[0]
            case "select":
                zero = all(zeros[1:]) if then is None else found[id(then)]
            case _:
                zero = False
        found[id(term)] = zero if static_value(term) is None else static_value(term) == 0
        yield term, found[id(term)]


def _chosen(term: Term) -> Term | None:
    """What a choice made by numbers chooses."""
    truth = static_truth(term.args[0]) if term.op == "select" else None
    return None if truth is None else term.args[1 if truth else 2]


def _arguments_first(root: Term) -> Iterator[Term]:
    seen: set[int] = set()
    stack = [(root, False)]
    while stack:
        term, below = stack.pop()
        if below:
            yield term
        elif id(term) not in seen:
            seen.add(id(term))
            stack.append((term, True))
            stack.extend((argument, False) for argument in term.args)
