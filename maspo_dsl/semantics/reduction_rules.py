"""The typing rules of reductions, and of what goes along a completion: of what, within what, and where."""

from __future__ import annotations

from collections.abc import Sequence

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.poison import fail, poison
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.terms import Term, constant, static_value
from maspo_dsl.semantics.totals import is_total, refuse_total
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
    """A reduction of `values[0]` within a scope; `values[1]` is q, k or a share. `written` is the user's word."""
    x = values[0]
    if any(is_total(other) for other in (*values[1:], *keywords.values())):
        return refuse_total(report, span)
    if x.axis <= scope.axis:
        message = f"`{written}(…, {scope.value})` has nothing to reduce: its argument is {x.axis.one_value}"
        return fail(report, "axis", message, x.span)
    if name == "count":
        return Term("count", (), scope.axis, Kind.REAL, False, span, (("of", x.axis), ("scope", scope)))
    if name == "pick":
        return _pick(report, x, values[1], scope, keywords.get("seed", constant(0.0, span)), span)
    if name in ("kth", "rank") and x.axis is Axis.TOKEN:
        hint = f"reduce tokens first: {name}(mean(…, sequence), …)"
        return fail(report, "axis", f"`{name}` orders completions; this is one value a token", x.span, hint)
    if x.kind is Kind.BOOL:
        if name != "sum":
            return fail(
                report, "condition-as-number", f"`{written}` needs numbers; this is a condition", x.span
            )
        one, zero = constant(1.0, span), constant(0.0, span)
        x = Term("select", (x, one, zero), x.axis, Kind.REAL, False, span)
    attributes = (("scope", scope), ("over", x.axis))
    if name == "top":
        return _top(report, x, values[1], scope, span)
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
    """The draw depends on the token's old log-prob alone, so no order or padding of the batch changes it."""
    if condition.kind is not Kind.BOOL:
        return fail(report, "number-as-condition", "`pick` draws from a condition", condition.span)
    if condition.axis is not Axis.TOKEN:
        return fail(report, "axis", "`pick` draws tokens; this condition is not of tokens", condition.span)
    number = static_value(seed)
    if number is None:
        return fail(report, "not-static", "the seed of `pick` is one number", seed.span)
    if not _is_share(report, "the share of `pick`", share):
        return poison(span)
    key = Term("input", (), Axis.TOKEN, Kind.LOG_PROB, False, span, (("name", "old"),), label="logp_old")
    attributes = (("scope", scope), ("over", Axis.TOKEN), ("seed", number))
    return Term("pick", (condition, share, key), Axis.TOKEN, Kind.BOOL, False, span, attributes)


def _top(report: Report, x: Term, share: Term, scope: Scope, span: Span) -> Term:
    if x.axis is not Axis.TOKEN:
        hint = "write per_token(…) for one value a sequence"
        return fail(report, "axis", f"`top` chooses tokens; this is {x.axis.one_value}", x.span, hint)
    if not _is_share(report, "the share of `top`", share):
        return poison(span)
    attributes = (("scope", scope), ("over", Axis.TOKEN))
    return Term("top", (x, share), Axis.TOKEN, Kind.BOOL, False, span, attributes)


def _is_share(report: Report, name: str, share: Term) -> bool:
    """Whether a term is one number, and between 0 and 1 if it is known; reports it if not."""
    if share.kind is Kind.BOOL or share.axis is not Axis.SCALAR:
        fail(report, "not-static", f"{name} is one number", share.span)
        return False
    number = static_value(share)
    if number is not None and not 0 <= number <= 1:
        fail(report, "out-of-domain", f"{name} is from 0 to 1, not {number:g}", share.span)
        return False
    return True


def _quantile(report: Report, x: Term, q: Term, scope: Scope, keywords: dict[str, Term], span: Span) -> Term:
    if not _is_share(report, "the q of a quantile", q):
        return poison(span)
    chosen = keywords.get("of")
    if chosen is not None and chosen.kind is not Kind.BOOL:
        return fail(report, "number-as-condition", "`of` is a condition", chosen.span)
    if chosen is not None and chosen.axis > x.axis:
        message = f"`of` is {chosen.axis.one_value}, finer than what the quantile is of"
        return fail(report, "axis", message, chosen.span)
    if chosen is not None and "empty" not in keywords:
        return fail(
            report,
            "missing-argument",
            "nothing may satisfy `of`: say what the quantile is then",
            span,
            "add empty = …",
        )
    empty = keywords.get("empty", constant(0.0, span))
    if empty.kind is Kind.BOOL:
        return fail(report, "condition-as-number", "`empty` is a number; this is a condition", empty.span)
    if empty.axis > scope.axis:
        message = f"`empty` is {empty.axis.one_value}, finer than a quantile within `{scope.value}`"
        return fail(report, "axis", message, empty.span)
    everything = Term("const", (), Axis.SCALAR, Kind.BOOL, False, span, (("value", True),))
    empty = keywords.get("empty", constant(0.0, span))
    if empty.axis > scope.axis:
        message = f"`empty` is finer than a quantile within `{scope.value}`"
        return fail(report, "axis", message, empty.span)
    args = (x, q, chosen or everything, empty)
    return Term("quantile", args, scope.axis, x.kind, False, span, (("scope", scope), ("over", x.axis)))


def along_completions(report: Report, name: str, values: Sequence[Term], span: Span) -> Term:
    """`next(x)` and `discounted_sum(x, factor)`: from token to token of one completion, without gradient."""
    x = values[0]
    for value in values:
        if value.kind is Kind.BOOL:
            message = f"`{name}` needs numbers; this is a condition"
            return fail(report, "condition-as-number", message, value.span)
        if is_total(value):
            return refuse_total(report, span)
    if x.axis is not Axis.TOKEN:
        hint = "write at_end(…) to have it at the last token alone, per_token(…) to have it at every token"
        message = f"`{name}` goes from token to token; this is {x.axis.one_value}"
        return fail(report, "axis", message, x.span, hint)
    if len(values) > 1 and values[1].axis is Axis.TOKEN:
        message = f"the factor of `{name}` is one number, or one value a sequence"
        return fail(report, "axis", message, values[1].span)
    attributes = (("scope", Scope.SEQUENCE), ("over", Axis.TOKEN))
    return Term(name, tuple(values), Axis.TOKEN, Kind.REAL, False, span, attributes)
