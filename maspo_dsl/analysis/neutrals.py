"""`neutral` values that are none: outside what the `let` can be, or dropping it spoils an on-policy token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maspo_dsl.analysis.baseline import SOON, Baseline
from maspo_dsl.analysis.curves import short_number
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.policy_lints import off_at_one
from maspo_dsl.analysis.single_token import Numbers
from maspo_dsl.analysis.trial import assembled, copied, dropped, graph_of_values
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language import tree
from maspo_dsl.semantics.edits import Target
from maspo_dsl.semantics.objective import ResolvedObjective

_VALUE, _NEUTRAL = "value", "neutral"


def neutral_findings(
    objective: ResolvedObjective, baseline: Baseline, *, on_policy: bool
) -> Iterator[Finding]:
    """A warning for each `neutral` in use that is not one.

    `on_policy` says whether a token at ratio 1 weighs its advantage, as it then should without the `let`, too.
    """
    lets = [let for name, let in objective.flat.lets.items() if name in objective.used]
    for let in lets:
        # A `let` that was dropped is its neutral.
        if let.neutral is None or let.value == let.neutral:
            continue
        message = _outside(objective, baseline, let, let.neutral) or (
            _spoils(objective, let) if on_policy else ""
        )
        if message:
            yield Finding("not-neutral", message, let.neutral.span)


def _spoils(objective: ResolvedObjective, let: tree.Let) -> str:
    """A message if an on-policy token does not weigh its advantage once the `let` is dropped."""
    name = let.name.text
    parts = dropped(objective, Target("let", "let", name, ("let", name)))
    found = None if parts is None else off_at_one(parts, objective.own)
    if found is None:
        return ""
    return (
        f"without `{name}` the gradient weight of a token at ratio 1 is {short_number(found.weight)} A"
        f"{found.circumstances}; with it, it is A"
    )


# ---- what a `let` can be


def _outside(
    objective: ResolvedObjective, baseline: Baseline, let: tree.Let, neutral: tree.Expression
) -> str:
    """A message if the neutral value is never within what the `let` can be."""
    graph = _graph(objective, let, neutral)
    if graph is None:
        return ""
    value, other = np.zeros(0), np.zeros(0)
    for run in (run for stage in SOON for run in baseline.interpretations(graph, stage)):
        value, other = _with_values(value, run, _VALUE), _with_values(other, run, _NEUTRAL)
        if _meet(value, other):
            return ""
    if not value.size or not other.size:
        return ""
    name = let.name.text
    return f"the neutral of `{name}` {_range(other)}, but `{name}` itself {_range(value)}"


def _meet(value: Numbers, other: Numbers) -> bool:
    """Whether the ranges of two sets of numbers have one in common, or nearly."""
    if not value.size or not other.size:
        return False
    low, high = float(value.min()), float(value.max())
    margin = 1e-3 * max(1.0, min(abs(low), abs(high)))
    return bool(other.max() >= low - margin and other.min() <= high + margin)


def _range(values: Numbers) -> str:
    low, high = short_number(float(values.min())), short_number(float(values.max()))
    return f"is always {low}" if low == high else f"lies within {low} and {high}"


def _graph(objective: ResolvedObjective, let: tree.Let, neutral: tree.Expression) -> Graph | None:
    """A graph whose outputs are the value and its neutral; None for conditions, and what only the advantage reads."""
    flat, span = copied(objective), let.span
    # A rule that compares the two has both as terms.
    comparison = tree.Compare((tree.Name((let.name.text,), span), neutral), ("==",), span)
    rule, name = tree.Identifier("mute", span), tree.Identifier(_NEUTRAL, span)
    flat.parts["mute", _NEUTRAL] = tree.Rule(rule, name, comparison, span)
    parts = assembled(objective, flat)
    if parts is None:
        return None
    value, other = parts.named("mute")[_NEUTRAL].args
    return graph_of_values(objective.parts, {_VALUE: value, _NEUTRAL: other})


def _with_values(known: Numbers, run: Interpretation, name: str) -> Numbers:
    """Numbers, and the finite values of an output."""
    found = np.ravel(np.asarray(run.output(f"term:{name}"), dtype=float))
    return np.concatenate([known, np.extract(np.isfinite(found), found)])
