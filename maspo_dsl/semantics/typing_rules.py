"""The typing rules, one function a family of operations; each returns the term, or poison after reporting.

A term made of poison is poison, silently, so that one mistake is one message.
"""

from __future__ import annotations

from collections.abc import Sequence

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.distributions import EVEN, Distribution, DistributionWord
from maspo_dsl.semantics.operations import COMPARISONS, OPERATIONS
from maspo_dsl.semantics.poison import fail, poison, poisoned
from maspo_dsl.semantics.terms import Term, settings_of, static_value
from maspo_dsl.semantics.totals import is_total, reject_total, totals_stay_sums
from maspo_dsl.semantics.types import LOGARITHMIC, Axis, Kind
from maspo_dsl.semantics.vocabulary import EXPONENT_BOUND, LOG_RATIO_BOUND


def _axis(terms: Sequence[Term]) -> Axis:
    return max(term.axis for term in terms)


def _build(op: str, args: Sequence[Term], kind: Kind, span: Span) -> Term:
    live = kind is not Kind.BOOL and any(argument.live for argument in args)
    return Term(op, tuple(args), _axis(args), kind, live, span)


# ---- arithmetic


def arithmetic(report: DiagnosticCollector, op: str, args: Sequence[Term], span: Span) -> Term:
    """An operator or an elementwise primitive applied to numbers."""
    if any(poisoned(argument) for argument in args):
        return poison(span)
    for argument in args:
        if argument.kind is Kind.BOOL:
            return fail(
                report,
                "condition-as-number",
                "a condition is not a number",
                argument.span,
                "write (1 if condition else 0)",
            )
    if OPERATIONS[op].partials is None and any(argument.live for argument in args):
        return fail(
            report, "lost-gradient", f"`{op}` passes no gradient on", span, f"write {op}(detach(…), …)"
        )
    if not totals_stay_sums(op, args):
        return reject_total(report, span)
    if op == "div" and all(argument.kind is Kind.LOG_PROB for argument in args):
        return fail(
            report,
            "log-prob-quotient",
            "a quotient of log-probs is not an importance ratio",
            span,
            "write policy / old, or log(policy / old)",
        )
    match op:
        case "log":
            result = _log(args[0], span)
        case "exp":
            result = _exp(args[0], span)
        case "div" if _is_quotient_of_policies(args):
            result = quotient(args[0], args[1], span)
        case _:
            result = _build(op, args, _kind(op, args), span)
    return _finite(report, result, args)


def _finite(report: DiagnosticCollector, result: Term, args: Sequence[Term]) -> Term:
    """A value of numbers alone is a finite number, or a mistake."""
    if static_value(result) is not None or any(static_value(argument) is None for argument in args):
        return result
    return fail(report, "infinite-literal", "this is not a finite number", result.span, settings_of(*args))


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


def compare(report: DiagnosticCollector, operator: str, left: Term, right: Term, span: Span) -> Term:
    """`left operator right`, a condition."""
    if poisoned(left) or poisoned(right):
        return poison(span)
    if is_total(left) or is_total(right):
        return reject_total(report, span)
    for side in (left, right):
        if side.kind is Kind.BOOL:
            return fail(
                report,
                "condition-as-number",
                "a condition is not a number",
                side.span,
                "a condition is already true or false",
            )
    if {left.kind, right.kind} == {Kind.PROB, Kind.LOG_PROB}:
        return fail(
            report,
            "prob-with-log-prob",
            "a probability is compared with a log-prob",
            span,
            "write log(…) or exp(…) on one side",
        )
    return _build(COMPARISONS[operator], [left, right], Kind.BOOL, span)


def logical(report: DiagnosticCollector, operator: str, operands: Sequence[Term], span: Span) -> Term:
    """`and`, `or`, `not` of conditions; one operand of `and` is itself."""
    if any(poisoned(operand) for operand in operands):
        return poison(span)
    for operand in operands:
        if operand.kind is not Kind.BOOL:
            return _no_condition(report, operand)
    if operator == "not":
        return _build("not", operands, Kind.BOOL, span)
    result = operands[0]
    for operand in operands[1:]:
        result = _build(operator, [result, operand], Kind.BOOL, span)
    return result


def _no_condition(report: DiagnosticCollector, term: Term) -> Term:
    message = f"a condition is expected, this is {term.kind.word}"
    return fail(report, "number-as-condition", message, term.span, "compare it with something")


def choose(report: DiagnosticCollector, condition: Term, then: Term, otherwise: Term, span: Span) -> Term:
    """`then if condition else otherwise`."""
    if any(poisoned(part) for part in (condition, then, otherwise)):
        return poison(span)
    if is_total(then) or is_total(otherwise):
        return reject_total(report, span)
    if condition.kind is not Kind.BOOL:
        return _no_condition(report, condition)
    if (then.kind is Kind.BOOL) is not (otherwise.kind is Kind.BOOL):
        return fail(report, "mixed-branches", "one branch is a condition and the other a number", span)
    kind = then.kind if then.kind is otherwise.kind else Kind.REAL
    live = then.live or otherwise.live
    args = (condition, then, otherwise)
    return Term("select", args, _axis(args), kind, live and kind is not Kind.BOOL, span)


# ---- reductions and the rest


def special(report: DiagnosticCollector, name: str, x: Term, span: Span) -> Term:
    """`detach`, `per_token`."""
    if x.kind is Kind.BOOL:
        return fail(report, "condition-as-number", f"`{name}` needs a number", x.span)
    if name == "detach" and is_total(x):
        return reject_total(report, span)
    if name == "detach":
        return Term("detach", (x,), x.axis, x.kind, False, span) if x.reads_live else x
    return x if x.axis is Axis.TOKEN else Term("expand", (x,), Axis.TOKEN, x.kind, x.live, span)


def policy_name(x: Term) -> str | None:
    """The policy whose probability a value is, whatever it is called; None if it is no policy's."""
    inner = x.args[0] if x.op == "exp" else x
    bare = x is not inner and inner.op == "input" and inner.kind is Kind.LOG_PROB
    return str(inner.attribute("name")) if bare else None


def distribution(
    report: DiagnosticCollector,
    row: DistributionWord,
    policies: Sequence[Term],
    weight: Term | None,
    span: Span,
) -> Term:
    """A function of whole distributions: a tensor of the batch."""
    names = []
    for x in policies:
        name = policy_name(x)
        if name is None:
            message = f"`{row.word}` is of whole distributions, and this is no policy"
            return fail(report, "not-a-policy", message, x.span, _how_to_call(row))
        names.append(name)
    if len(set(names)) < len(names):
        message = f"`{row.word}` of `{names[0]}` and itself is 0"
        return fail(report, "not-a-policy", message, span, "name two policies")
    share = EVEN if weight is None else static_value(weight)
    if weight is not None and share is None:
        message = "the weight is one number, known before there is a batch"
        return fail(report, "not-static", message, weight.span)
    if weight is not None and not 0 < (share or 0) < 1:
        message = f"the weight is above 0 and below 1, not {share:g}"
        ends = f"{row.word} is 0 at either end; its slopes there are kl(q, p) and kl(p, q)"
        hint = "; ".join(filter(None, (settings_of(weight), ends)))
        return fail(report, "out-of-domain", message, weight.span, hint)
    found = Distribution(row.word, tuple(names), EVEN if share is None else share)
    attributes = (("name", found.tensor), ("distribution", found))
    return Term("input", (), Axis.TOKEN, Kind.REAL, found.live, span, attributes, label=found.tensor)


def _how_to_call(row: DistributionWord) -> str:
    """How a word is called, and what is meant where a token's own probability is given."""
    example = f"{row.word}({'policy' if row.policies == 1 else 'policy, reference'})"
    estimates = "; of the sampled token alone, k1, k2 and k3 estimate it: k3(policy, reference)"
    return f"write {example}" + (estimates if row.policies == 2 else "")
