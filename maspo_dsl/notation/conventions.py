"""What the compiler decides for an objective: bounds, who counts, degenerate groups, denominators, gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.graph.needs import live_terms
from maspo_dsl.language import tree
from maspo_dsl.notation.calls import Defs, applied, arguments_of, calls_in, defaults_of
from maspo_dsl.notation.degenerate import degenerate_advantages
from maspo_dsl.notation.formula import Formula
from maspo_dsl.notation.plain import plain_text
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.operations import OPERATIONS
from maspo_dsl.semantics.part_words import Role, before_advantage
from maspo_dsl.semantics.reductions import OF
from maspo_dsl.semantics.scopes import MICRO
from maspo_dsl.semantics.terms import walk
from maspo_dsl.semantics.totals import is_averaged
from maspo_dsl.semantics.types import Axis
from maspo_dsl.semantics.vocabulary import EXPONENT_BOUND, LOG_RATIO_BOUND


@dataclass(frozen=True)
class Convention:
    """One decision: what it is about, and what is done."""

    about: str
    text: str


def conventions(objective: Objective, defs: Defs, formula: Formula) -> Iterator[Convention]:
    """Every decision that holds for this objective, the formula's own settings included."""
    resolved = objective.resolved
    yield from _bounds(resolved)
    yield from _counting(resolved)
    yield from _scopes(resolved)
    yield from (Convention(about, text) for about, text in degenerate_advantages(objective))
    yield from _settings(resolved, defs)
    yield from _denominators(resolved, defs)
    yield from _gradients(resolved, formula)
    yield from _once_a_rollout(resolved)
    yield from _kept(resolved)
    yield from _vanished(objective)


def _bounds(resolved: ResolvedObjective) -> Iterator[Convention]:
    bounds = {term.attribute("high") for term in walk(*resolved.parts.terms()) if term.op == "bound"}
    if LOG_RATIO_BOUND in bounds:
        yield Convention(
            "log-ratios",
            f"a quotient of policies is the exp of a difference of log-probs, held inside ±{LOG_RATIO_BOUND:g}; "
            "beyond it the gradient is 0 (the metric `clamped` is the share of such tokens)",
        )
    if EXPONENT_BOUND in bounds:
        yield Convention(
            "exponents", f"any other exp takes at most {EXPONENT_BOUND:g}, which float32 can hold"
        )


# ---- who counts


def _counting(resolved: ResolvedObjective) -> Iterator[Convention]:
    yield Convention(
        "trained tokens",
        "those where `mask` is true, in completions that have a reward; whatever a masked token holds, NaN included, "
        "touches neither loss nor gradient",
    )
    excluded = [name for _, name in resolved.parts.of(Role.REMOVES_TOKEN)]
    muted = [name for _, name in resolved.parts.of(Role.REMOVES_POLICY_TERM)]
    if excluded:
        yield Convention(
            "excluded tokens", f"{' and '.join(excluded)}: out of the loss and out of its denominators"
        )
    if muted:
        yield Convention(
            "muted tokens", f"{' and '.join(muted)}: no policy term, but counted, penalties untouched"
        )
    missing = "a completion whose reward is NaN is not trained, and is no part of its group"
    reads = any(
        term.op == "input" and term.attribute("name") in ("reward", "shaped_reward", "correct")
        for term in walk(*resolved.parts.terms())
    )
    yield Convention(
        "missing rewards", missing if reads else "nothing reads a reward: that it is NaN changes nothing"
    )
    yield Convention(
        "empty completions",
        "a sequence without a trained token is no part of its group, and in no denominator",
    )


def _scopes(resolved: ResolvedObjective) -> Iterator[Convention]:
    for scope in resolved.scopes.values():
        if scope.declared:
            none = f"; those whose {' or '.join(scope.own)} is negative are in none" if scope.own else ""
            yield Convention(f"a {scope.name}", f"{scope.meaning}{none}")


def _settings(resolved: ResolvedObjective, defs: Defs) -> Iterator[Convention]:
    """The parameters of called `def`s that have a default, given or not: what papers often leave unsaid."""
    flat = resolved.flat
    values = [slot.value for slot in flat.slots.values()]
    values += [p.condition if isinstance(p, tree.Rule) else p.value for p in flat.parts.values()]
    values += [let.value for name, let in flat.lets.items() if name in resolved.read]
    for call in (call for value in values for call in calls_in(value)):
        definition = defs.get(call.function.text)
        if definition is None or not (defaults := defaults_of(definition)):
            continue
        given = arguments_of(call, definition)
        scope = next(
            (v.text for v in given.values() if isinstance(v, tree.Name) and v.text in resolved.scopes), ""
        )
        settings = ", ".join(f"{name} = {plain_text(given[name])}" for name in defaults)
        meaning = f": {definition.doc}" if definition.doc else ""
        called = f"{definition.name.text}({scope})" if scope else definition.name.text
        yield Convention(called, settings + meaning)


# ---- denominators

_COUNTED = {Axis.SEQUENCE: "sequences with a trained token", Axis.GROUP: "groups"}


def _denominators(resolved: ResolvedObjective, defs: Defs) -> Iterator[Convention]:
    if "reduce" not in resolved.flat.slots:
        return
    value = resolved.flat.slots["reduce"].value
    steps = value.stages if isinstance(value, tree.Pipe) else ()
    calls = [applied(stage, tree.Name(("it",), stage.span)) for stage in steps] or calls_in(value)[::-1]
    kind = "trained tokens"
    said: list[str] = []
    for call in calls:
        scopes = [
            resolved.scopes[a.value.text]
            for a in call.arguments
            if isinstance(a.value, tree.Name) and a.value.text in resolved.scopes
        ]
        if not scopes:
            continue
        scope, name = scopes[0], call.function.text
        of = next((plain_text(a.value) for a in call.arguments if a.keyword == OF.name), "")
        over = f"over the {kind} of {scope.cell}" + (f" where {of}" if of else "")
        if name == "sum":
            said.append(f"the sum {over}, divided by nothing")
        elif name in defs and _is_mean(defs[name]):
            said.append(f"the sum {over}, divided by their number (at least 1)")
        else:
            said.append(f"{name} {over}")
        kind = f"{scope.name}s" if scope.declared else _COUNTED.get(scope.axis, "values")
    if said:
        yield Convention("reduction", "; then ".join(said))
        yield Convention(
            "partition",
            _partition(resolved),
        )


def _partition(resolved: ResolvedObjective) -> str:
    """What the cut of a window into micro-batches does."""
    if not any(("scope", MICRO) in term.attributes for term in walk(*resolved.parts.terms())):
        return "however a window is cut into micro-batches, their gradients add up to the window's gradient"
    averaged = any(is_averaged(term) for term in resolved.parts.of(Role.REDUCTION).values())
    of_all = "; the window has the mean over its micro-batches" if averaged else ""
    return f"depends on the size of the micro-batch, because the spec says `micro`{of_all}"


def _is_mean(definition: tree.Def) -> bool:
    """Whether a `def` says sum(x, scope) / max(count(x, scope), 1), whatever it is called."""
    names = [tree.Name((parameter.name.text,), definition.span) for parameter in definition.parameters]
    if len(names) != 2:
        return False

    def call(function: str, *values: tree.Expression) -> tree.Call:
        arguments = tuple(tree.Argument(None, value, definition.span) for value in values)
        return tree.Call(tree.Name((function,), definition.span), arguments, definition.span)

    one = tree.Number(1.0, "1", definition.span)
    count = call("max", call("count", *names), one)
    return definition.body == tree.Arithmetic("/", call("sum", *names), count, definition.span)


# ---- gradients


def _gradients(resolved: ResolvedObjective, formula: Formula) -> Iterator[Convention]:
    live = [
        *(word for word, _ in resolved.parts.of(Role.RATIO)),
        *(name for _, name in resolved.parts.of(Role.ADDED, Role.SUBTRACTED)),
    ]
    yield Convention(
        "with gradient", f"π, where it stands in {' and '.join(dict.fromkeys(live))}; nothing else"
    )
    stopped = [text for line in formula.lines if line.note != "weight" for text in detached_in(line.text)]
    always = [
        *(["A"] if resolved.parts.of(Role.ADVANTAGE) else []),
        *(name for _, name in resolved.parts.of(Role.FACTOR)),
        "every other policy",
    ]
    yield Convention("without gradient", ", ".join([*dict.fromkeys(stopped), *always]))


def detached_in(text: str) -> Iterator[str]:
    """What stands inside each outermost `sg[…]` of a formula."""
    opening = OPERATIONS["detach"].plain.partition("$x")[0]
    start = text.find(opening)
    while start >= 0:
        depth, end = 1, start + len(opening)
        while depth and end < len(text):
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        yield text[start + len(opening) : end - 1]
        start = text.find(opening, end)


def _once_a_rollout(resolved: ResolvedObjective) -> Iterator[Convention]:
    early = [key for key in resolved.parts.by_key if before_advantage(key[0]) and key[0] != "advantage"]
    estimated = bool(resolved.parts.of(Role.ADVANTAGE))
    once = [*(["the advantage"] if estimated else []), *(" ".join(key).strip() for key in early)]
    if once:
        yield Convention(
            "once a rollout", f"{', '.join(once)}: computed before the first update on it, never in the loss"
        )
    if estimated:
        yield Convention(
            "given advantage", "a batch that brings `advantage` replaces the estimator, reward terms and all"
        )


def _kept(resolved: ResolvedObjective) -> Iterator[Convention]:
    for memory in resolved.memories.values():
        yield Convention(
            f"memory {memory.name}",
            f"the same for all updates on a rollout, and {number_text(memory.start)} before the first one; "
            f"`loss.memory(rollout)` gives the next value, one for each {memory.per}, from all completions that have a "
            "reward, those that `keep` leaves out among them; where there is none it stays. The training loop keeps it",
        )


def _vanished(objective: Objective) -> Iterator[Convention]:
    """Terms of weight 0, which are not computed."""
    terms = {name.removeprefix("term:") for name in live_terms(objective.graph)}
    for _, name in objective.resolved.parts.of(Role.ADDED, Role.SUBTRACTED):
        if name not in terms:
            yield Convention(
                "vanished", f"{name} has weight 0: it is not computed, and what it alone reads is not needed"
            )
