"""The typing rules, one function a family of operations; each returns the term, or poison after reporting.

Poison is a term of op `poison`: whatever reads it is poison too, silently, so that one mistake is one message.
"""

from __future__ import annotations

from collections.abc import Sequence

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.report import Report
from maspo_dsl.semantics.terms import Term, constant, static_value
from maspo_dsl.semantics.types import LOGARITHMIC, Axis, Kind, Scope
from maspo_dsl.semantics.vocabulary import EXPONENT_BOUND, LOG_RATIO_BOUND

OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}
_COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


def poison(span: Span) -> Term:
    """What stands where a mistake was reported."""
    return Term("poison", (), Axis.SCALAR, Kind.REAL, False, span)


def poisoned(term: Term) -> bool:
    """Whether a mistake was reported inside."""
    return term.op == "poison"


def _fail(report: Report, code: str, message: str, span: Span, hint: str = "") -> Term:
    report.error(code, message, span, hint)
    return poison(span)


def _axis(terms: Sequence[Term]) -> Axis:
    return max(term.axis for term in terms)


def _build(op: str, args: Sequence[Term], kind: Kind, span: Span) -> Term:
    live = kind is not Kind.BOOL and any(argument.live for argument in args)
    return Term(op, tuple(args), _axis(args), kind, live, span)


# ---- arithmetic


def arithmetic(report: Report, op: str, args: Sequence[Term], span: Span) -> Term:
    """An operator or an elementwise primitive applied to numbers."""
    if any(poisoned(argument) for argument in args):
        return poison(span)
    for argument in args:
        if argument.kind is Kind.BOOL:
            return _fail(
                report,
                "condition-as-number",
                "a condition is not a number",
                argument.span,
                "write (1 if condition else 0)",
            )
    if (mixed := _mixed_axes(args)) is not None:
        return _fail(report, "axis", mixed, span)
    if op == "div" and all(argument.kind is Kind.LOG_PROB for argument in args):
        return _fail(
            report,
            "log-prob-quotient",
            "a quotient of log-probs is not an importance ratio",
            span,
            "write policy / old, or log(policy / old)",
        )
    match op:
        case "log":
            return _log(args[0], span)
        case "exp":
            return _exp(args[0], span)
        case "div" if _is_quotient_of_policies(args):
            return quotient(args[0], args[1], span)
    return _build(op, args, _kind(op, args), span)


def _mixed_axes(args: Sequence[Term]) -> str | None:
    """Group values and sequence values mix freely; only nothing is refused here yet a live total is."""
    for term in args:
        if term.axis is Axis.SCALAR and term.live and _axis(args) > Axis.SCALAR and _reads_window(term):
            return "a total over the window that carries gradient cannot feed single tokens: write detach(…)"
    return None


def _reads_window(term: Term) -> bool:
    seen: set[int] = set()
    stack = [term]
    while stack:
        node = stack.pop()
        if id(node) in seen or not node.live:
            continue
        seen.add(id(node))
        if node.op == "reduce" and node.attribute("scope") in (Scope.WINDOW, Scope.ROLLOUT_BATCH):
            return True
        stack.extend(node.args)
    return False


def _is_quotient_of_policies(args: Sequence[Term]) -> bool:
    return all(argument.kind is Kind.PROB and _log_of(argument) is not None for argument in args)


def _log_of(term: Term) -> Term | None:
    """The log-prob under a probability, through `detach`."""
    if term.op == "exp":
        return term.args[0]
    if term.op == "detach" and (inner := _log_of(term.args[0])) is not None:
        return Term("detach", (inner,), inner.axis, inner.kind, False, term.span)
    return None


def quotient(numerator: Term, denominator: Term, span: Span) -> Term:
    """A quotient of policies: exp of the difference of log-probs, which is bounded at ±20."""
    logs = [_log_of(numerator), _log_of(denominator)]
    args = [log for log in logs if log is not None]
    difference = _build("sub", args, Kind.LOG_RATIO, span)
    return _build("exp", [bound(difference, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)], Kind.RATIO, span)


def bound(term: Term, low: float, high: float) -> Term:
    """The term held inside [low, high]; the gradient outside is zero."""
    return Term("bound", (term,), term.axis, term.kind, term.live, term.span, (("low", low), ("high", high)))


def _log(x: Term, span: Span) -> Term:
    if (inner := _log_of(x)) is not None and x.kind in (Kind.PROB, Kind.RATIO):
        return inner
    kind = {Kind.PROB: Kind.LOG_PROB, Kind.RATIO: Kind.LOG_RATIO}.get(x.kind, Kind.REAL)
    return _build("log", [x], kind, span)


def _exp(x: Term, span: Span) -> Term:
    if x.kind is Kind.LOG_PROB:
        return _build("exp", [x], Kind.PROB, span)
    if x.kind is Kind.LOG_RATIO:
        return _build("exp", [bound(x, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)], Kind.RATIO, span)
    if static_value(x) is not None:
        return _build("exp", [x], Kind.REAL, span)
    return _build("exp", [bound(x, float("-inf"), EXPONENT_BOUND)], Kind.REAL, span)


def _kind(op: str, args: Sequence[Term]) -> Kind:
    kinds = [argument.kind for argument in args]
    logarithmic = [argument.kind in LOGARITHMIC for argument in args]
    if op in ("add", "sub") and all(logarithmic):
        return Kind.LOG_RATIO
    if op in ("mul", "div") and all(logarithmic):
        return Kind.REAL
    if op in ("neg", "min", "max", "mul", "div") and any(logarithmic):
        others = [a for a, log in zip(args, logarithmic, strict=True) if not log]
        if op == "div" and not logarithmic[0]:
            return Kind.REAL
        return (
            Kind.LOG_RATIO
            if all(other.axis is not Axis.TOKEN or op in ("min", "max") for other in others)
            else Kind.REAL
        )
    if op in ("min", "max") and Kind.RATIO in kinds:
        return Kind.RATIO
    return Kind.REAL


# ---- conditions


def compare(report: Report, operator: str, left: Term, right: Term, span: Span) -> Term:
    """`left operator right`, a condition."""
    if poisoned(left) or poisoned(right):
        return poison(span)
    for side in (left, right):
        if side.kind is Kind.BOOL:
            return _fail(
                report,
                "condition-as-number",
                "a condition is not a number",
                side.span,
                "a condition is already true or false",
            )
    if {left.kind, right.kind} == {Kind.PROB, Kind.LOG_PROB}:
        return _fail(
            report,
            "prob-with-log-prob",
            "a probability is compared with a log-prob",
            span,
            "write log(…) or exp(…) on one side",
        )
    return _build(_COMPARISONS[operator], [left, right], Kind.BOOL, span)


def logical(report: Report, operator: str, operands: Sequence[Term], span: Span) -> Term:
    """`and`, `or`, `not` of conditions; one operand of `and` is itself."""
    if any(poisoned(operand) for operand in operands):
        return poison(span)
    for operand in operands:
        if operand.kind is not Kind.BOOL:
            return _fail(
                report,
                "number-as-condition",
                f"a condition is expected, this is a {operand.kind.value}",
                operand.span,
                "compare it with something",
            )
    if operator == "not":
        return _build("not", operands, Kind.BOOL, span)
    result = operands[0]
    for operand in operands[1:]:
        result = _build(operator, [result, operand], Kind.BOOL, span)
    return result


def choose(report: Report, condition: Term, then: Term, otherwise: Term, span: Span) -> Term:
    """`then if condition else otherwise`."""
    if any(poisoned(part) for part in (condition, then, otherwise)):
        return poison(span)
    if condition.kind is not Kind.BOOL:
        return _fail(
            report,
            "number-as-condition",
            f"a condition is expected, this is a {condition.kind.value}",
            condition.span,
            "compare it with something",
        )
    if (then.kind is Kind.BOOL) is not (otherwise.kind is Kind.BOOL):
        return _fail(report, "mixed-branches", "one branch is a condition and the other a number", span)
    kind = then.kind if then.kind is otherwise.kind else Kind.REAL
    live = then.live or otherwise.live
    args = (condition, then, otherwise)
    return Term("select", args, _axis(args), kind, live and kind is not Kind.BOOL, span)


# ---- reductions and the rest


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
        return _fail(
            report,
            "axis",
            f"`{written}(…, {scope.value})` has nothing to reduce: its argument is {have[x.axis]}",
            x.span,
        )
    if name == "count":
        return Term("count", (), scope.axis, Kind.REAL, False, span, (("of", x.axis), ("scope", scope)))
    if x.kind is Kind.BOOL:
        if name != "sum":
            return _fail(
                report, "condition-as-number", f"`{name}` needs numbers; this is a condition", x.span
            )
        one, zero = constant(1.0, span), constant(0.0, span)
        x = Term("select", (x, one, zero), x.axis, Kind.REAL, False, span)
    attributes = (("scope", scope), ("over", x.axis))
    if name == "quantile":
        return _quantile(report, x, values[1], scope, keywords, span)
    if name == "kth":
        place = static_value(values[1])
        if place is None or place < 1 or place != int(place):
            return _fail(
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


def _quantile(report: Report, x: Term, q: Term, scope: Scope, keywords: dict[str, Term], span: Span) -> Term:
    if q.axis is not Axis.SCALAR:
        return _fail(report, "axis", "the q of a quantile is one number", q.span)
    chosen = keywords.get("of")
    if chosen is not None and chosen.kind is not Kind.BOOL:
        return _fail(report, "number-as-condition", "`of` is a condition", chosen.span)
    if chosen is not None and "empty" not in keywords:
        return _fail(
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


def special(report: Report, name: str, x: Term, span: Span) -> Term:
    """`detach`, `entropy`, `per_token`."""
    if x.kind is Kind.BOOL:
        return _fail(report, "condition-as-number", f"`{name}` needs a number", x.span)
    if name == "detach":
        return Term("detach", (x,), x.axis, x.kind, False, span) if x.live else x
    if name == "per_token":
        if x.axis is Axis.TOKEN:
            return _fail(report, "axis", "it is already one value a token", x.span)
        return Term("expand", (x,), Axis.TOKEN, x.kind, x.live, span)
    if x.label != "policy" or x.kind is not Kind.PROB:
        return _fail(
            report, "not-a-policy", "the entropy is known for `policy` alone", x.span, "write entropy(policy)"
        )
    return Term("input", (), Axis.TOKEN, Kind.REAL, True, span, (("name", "entropy"),), label="entropy")
