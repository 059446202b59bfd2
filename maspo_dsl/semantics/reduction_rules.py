"""The typing rules of reductions: what can be reduced, within what, and where in an objective."""

from __future__ import annotations

from collections.abc import Sequence

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.poison import fail
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.terms import Term, constant, static_value
from maspo_dsl.semantics.types import LOGARITHMIC, Axis, Kind, Scope
from maspo_dsl.semantics.vocabulary import BEFORE_ADVANTAGE, REDUCTION_SCOPES


def scope_is_known(report: Report, name: str, scope: Scope, slot: str, span: Span) -> bool:
    """Whether a reduction can be computed within a scope, where it stands; reports it if not.

    Before the advantage there is the rollout and no optimizer window yet; afterwards a micro-batch or a window
    is all that is left of the rollout.
    """
    allowed = REDUCTION_SCOPES.get(name)
    if allowed is not None and scope not in allowed:
        words = ", ".join(one.value for one in allowed)
        fail(
            report,
            "no-such-scope",
            f"`{name}` is not known within `{scope.value}`",
            span,
            f"it is within: {words}",
        )
        return False
    if slot in BEFORE_ADVANTAGE and scope in (Scope.MICRO, Scope.WINDOW):
        message = f"`{slot}` is computed once a rollout, before there is a `{scope.value}`"
        fail(report, "no-such-scope", message, span, "the widest scope here is rollout_batch")
        return False
    if slot not in BEFORE_ADVANTAGE and scope is Scope.ROLLOUT_BATCH:
        message = f"`{slot}` is computed for an optimizer window, when the rollout is no longer together"
        hint = "write window; rollout_batch is for reward, keep, prompt and advantage"
        fail(report, "no-such-scope", message, span, hint)
        return False
    return True


def reduction(
    report: Report,
    name: str,
    values: Sequence[Term],
    scope: Scope,
    keywords: dict[str, Term],
    span: Span,
    written: str,
) -> Term:
    """A reduction of `values[0]` within a scope; `values[1]` is q or k. `written` is the word the user wrote."""
    x = values[0]
    if x.axis <= scope.axis:
        have = {
            Axis.SCALAR: "one number for everything",
            Axis.GROUP: "one value a group",
            Axis.SEQUENCE: "one value a sequence",
        }
        return fail(
            report,
            "axis",
            f"`{written}(…, {scope.value})` has nothing to reduce: its argument is {have[x.axis]}",
            x.span,
        )
    if name == "count":
        return Term("count", (), scope.axis, Kind.REAL, False, span, (("of", x.axis), ("scope", scope)))
    if name == "pick":
        return _pick(report, x, values[1], scope, keywords.get("seed", constant(0.0, span)), span)
    if x.kind is Kind.BOOL:
        if name != "sum":
            return fail(
                report, "condition-as-number", f"`{written}` needs numbers; this is a condition", x.span
            )
        one, zero = constant(1.0, span), constant(0.0, span)
        x = Term("select", (x, one, zero), x.axis, Kind.REAL, False, span)
    attributes = (("scope", scope), ("over", x.axis))
    if name == "quantile":
        return _quantile(report, x, values[1], scope, keywords, span)
    if name == "kth":
        place = static_value(values[1])
        if place is None or place < 1 or place != int(place):
            return fail(
                report, "not-static", "which one `kth` takes must be a whole number from 1", values[1].span
            )
        return Term("kth", (x,), scope.axis, x.kind, False, span, (*attributes, ("k", place)))
    if name == "rank":
        return Term("rank", (x,), x.axis, Kind.REAL, False, span, attributes)
    keep = x.kind in LOGARITHMIC or (name in ("min", "max"))
    kind = (Kind.LOG_RATIO if x.kind in LOGARITHMIC else x.kind) if keep else Kind.REAL
    op = "reduce" if name == "sum" else f"reduce_{name}"
    live = x.live and op == "reduce"
    return Term(op, (x,), scope.axis, kind, live, span, attributes)


def _pick(report: Report, condition: Term, share: Term, scope: Scope, seed: Term, span: Span) -> Term:
    """The draw depends on the token's old log-prob alone, so no cut, order or padding of the batch changes it."""
    if condition.kind is not Kind.BOOL:
        return fail(report, "number-as-condition", "`pick` draws from a condition", condition.span)
    if condition.axis is not Axis.TOKEN:
        return fail(report, "axis", "`pick` draws tokens; this condition is not of tokens", condition.span)
    number = static_value(seed)
    if share.axis is not Axis.SCALAR or number is None:
        return fail(report, "not-static", "the share and the seed of `pick` are one number each", span)
    key = Term("input", (), Axis.TOKEN, Kind.LOG_PROB, False, span, (("name", "old"),), label="logp_old")
    attributes = (("scope", scope), ("over", Axis.TOKEN), ("seed", number))
    return Term("pick", (condition, share, key), Axis.TOKEN, Kind.BOOL, False, span, attributes)


def _quantile(report: Report, x: Term, q: Term, scope: Scope, keywords: dict[str, Term], span: Span) -> Term:
    if q.axis is not Axis.SCALAR:
        return fail(report, "axis", "the q of a quantile is one number", q.span)
    chosen = keywords.get("of")
    if chosen is not None and chosen.kind is not Kind.BOOL:
        return fail(report, "number-as-condition", "`of` is a condition", chosen.span)
    if chosen is not None and "empty" not in keywords:
        return fail(
            report,
            "missing-argument",
            "nothing may satisfy `of`: say what the quantile is then",
            span,
            "add empty = …",
        )
    everything = Term("const", (), Axis.SCALAR, Kind.BOOL, False, span, (("value", True),))
    empty = keywords.get("empty", constant(0.0, span))
    args = (x, q, chosen or everything, empty)
    return Term("quantile", args, scope.axis, x.kind, False, span, (("scope", scope), ("over", x.axis)))
