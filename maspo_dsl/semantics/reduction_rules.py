"""The typing rules of reductions: of what, within what, with what arguments, and where they may stand."""

from __future__ import annotations

from collections.abc import Mapping

from maspo_dsl.language.source import Span
from maspo_dsl.semantics.cells import in_a_cell
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.context import Members
from maspo_dsl.semantics.part_words import PART_WORDS, before_advantage
from maspo_dsl.semantics.poison import fail, poison
from maspo_dsl.semantics.reductions import OF, REDUCTIONS, Reduction, ReductionArgument
from maspo_dsl.semantics.scopes import SEQUENCE, Scope
from maspo_dsl.semantics.terms import Attribute, Term, constant, static_value, walk
from maspo_dsl.semantics.totals import is_total, reject_total
from maspo_dsl.semantics.types import LOGARITHMIC, Axis, Kind
from maspo_dsl.semantics.typing_rules import logical


def scope_is_known(report: DiagnosticCollector, row: Reduction, scope: Scope, slot: str, span: Span) -> bool:
    """Whether a reduction can be computed within a scope, where it stands; reports it if not.

    Before the advantage there is the rollout and no optimizer window yet; afterwards a micro-batch or a window
    is all that is left of the rollout.
    """
    if row.scopes and scope not in row.scopes and not scope.declared:
        message = f"`{row.word}` is not known within `{scope.name}`"
        hint = f"it is within: {', '.join(one.name for one in row.scopes)}"
    elif before_advantage(slot) and not scope.rollout:
        message = f"`{slot}` is computed once a rollout, before there is a `{scope.name}`"
        hint = "the widest scope here is rollout_batch"
    elif not before_advantage(slot) and scope.declared and not scope.update:
        message = f"`{slot}` is computed for parts of a rollout, which may not have all of a `{scope.name}`"
        hint = "add sequence or group to its keys, or reduce within it in `advantage`"
    elif not before_advantage(slot) and not scope.update:
        message = f"`{slot}` is computed for an optimizer window, when the rollout is no longer together"
        early = [word for word in PART_WORDS if before_advantage(word)]
        hint = f"write window; rollout_batch is for {', '.join(early[:-1])} and {early[-1]}"
    else:
        return True
    fail(report, "no-such-scope", message, span, hint)
    return False


def reduction(
    report: DiagnosticCollector,
    row: Reduction,
    x: Term,
    given: Mapping[str, Term],
    members: Members,
    span: Span,
    written: str,
) -> Term:
    """A reduction of `x` within a scope, with the arguments that are given. `written` is the user's word.

    Where only some values take part, the last argument of the term is the condition for it, marked by `of`.
    """
    scope, of = members.scope, members.of
    if of is not None:
        given = {**given, OF.name: of}
    if any(is_total(value) for value in given.values()) or (row.along and is_total(x)):
        return reject_total(report, span)
    if row.values == "condition" and x.kind is not Kind.BOOL:
        return fail(report, "number-as-condition", f"`{written}` chooses from a condition", x.span)
    if row.values == "numbers" and x.kind is Kind.BOOL:
        if row.name != "sum":
            message = f"`{written}` needs numbers; this is a condition"
            return fail(report, "condition-as-number", message, x.span)
        one, zero = constant(1.0, span), constant(0.0, span)
        x = Term("select", (x, one, zero), x.axis, Kind.REAL, False, span)
    if x.axis in (Axis.GROUP, Axis.CELL) and _cells(x) is None:
        names = " and ".join(sorted(one.name for one in cells_of(x)))
        message = f"this has values for {names} at once: which are counted?"
        return fail(report, "axis", message, x.span, "to count tokens, write per_token(…)")
    if (found := _axis_fault(row, x, scope, written)) is not None:
        return fail(report, "axis", found[0], x.span, found[1])
    if any(not _fits(report, row, argument, given, x, scope, span) for argument in row.given):
        return poison(span)
    attributes: list[tuple[str, Attribute]] = [("scope", scope), ("over", x.axis)]
    if x.axis in (Axis.GROUP, Axis.CELL) and (cells := _cells(x)) is not None:
        attributes.append(("cells", cells))
        if (inside := in_a_cell(report, cells, span)) is not None:
            of = inside if of is None else logical(report, "and", [inside, of], span)
    values: list[Term] = [] if row.values == "mask" else [x]
    for argument in row.arguments:
        value = _value(argument, given, span)
        if argument.sort == "whole":
            attributes.append((argument.name, static_value(value) or 0.0))
        else:
            values.append(value)
    axis = x.axis if row.members else scope.axis
    live = row.passes_within(scope) and any(value.live for value in values)
    if of is not None:
        if row.additive and scope.gathered and not live and _reads_the_policy(of):
            return _moving_denominator(report, scope, of)
        values.append(of)
        attributes.append((OF.name, True))
    return Term(row.name, tuple(values), axis, _kind(row, x), live, span, tuple(attributes))


def _reads_the_policy(term: Term) -> bool:
    """Whether a value depends on what is trained, with gradient or without."""
    return any(below.live for below in walk(term) if below.op == "input")


def _moving_denominator(report: DiagnosticCollector, scope: Scope, of: Term) -> Term:
    message = (
        f"`of` reads the policy being trained, so how many there are within `{scope.name}` changes as a micro-batch "
        "is computed; all of them divide by that number"
    )
    hint = "mute takes the policy term of tokens away and leaves the number as it is; or read `old`"
    return fail(report, "moving-denominator", message, of.span, hint)


def cells_of(x: Term) -> set[Scope]:
    """The scopes whose cells a value coarser than tokens has one for each of: those of the reductions that made it."""
    found: set[Scope] = set()
    stack = [x]
    while stack:
        term = stack.pop()
        attributes = dict(term.attributes)
        scope = attributes.get("scope", attributes.get("cells"))
        row = REDUCTIONS.get(term.op)
        if isinstance(scope, Scope) and not (row is not None and row.members):
            found.update([scope] if scope.keys else [])
        elif term.axis is Axis.SEQUENCE:
            found.add(SEQUENCE)
        else:
            stack.extend(term.args)
    return found


def _cells(x: Term) -> Scope | None:
    """The scope that a value has one for each cell of, within whose cells all lie that it is made of.

    None for a value of tokens and one number for everything, and where there is no such scope.
    """
    if x.axis in (Axis.SCALAR, Axis.TOKEN):
        return None
    found = sorted(cells_of(x), key=lambda scope: (scope.axis, scope.name), reverse=True)
    return next((one for one in found if all(one.lies_in(other) for other in found)), None)


def _kind(row: Reduction, x: Term) -> Kind:
    if row.condition:
        return Kind.BOOL
    if row.differentiable and row.additive and x.kind in LOGARITHMIC:
        return Kind.LOG_RATIO
    return x.kind if row.keeps_kind else Kind.REAL


def _axis_fault(row: Reduction, x: Term, scope: Scope, written: str) -> tuple[str, str] | None:
    """What is wrong with the axis of a value, and a hint; None if nothing is."""
    cells = SEQUENCE if x.axis is Axis.SEQUENCE else _cells(x)
    have = x.axis.one_value if cells is None else f"one value a {cells.name}"
    if row.along and x.axis is not Axis.TOKEN:
        hint = "write at_end(…) to have it at the last token alone, per_token(…) to have it at every token"
        return f"`{written}` goes from token to token; this is {have}", hint
    if x.axis is Axis.SCALAR or (cells is not None and scope.lies_in(cells)):
        return f"`{written}(…, {scope.name})` has nothing to reduce: its argument is {have}", ""
    if cells is not None and not cells.lies_in(scope):
        message = f"`{written}(…, {scope.name})` has parts of its argument: that is {have}, no part of a {scope.name}"
        return message, "to count tokens, write per_token(…)"
    if not row.axes or x.axis in row.axes or (scope.declared and x.axis in (Axis.SEQUENCE, Axis.TOKEN)):
        return None
    if Axis.TOKEN in row.axes:
        return f"`{written}` chooses tokens; this is {have}", "write per_token(…) for one value a sequence"
    return (
        f"`{written}` orders completions; this is {have}",
        f"reduce tokens first: {row.word}(mean(…, sequence), …)",
    )


def _value(argument: ReductionArgument, given: Mapping[str, Term], span: Span) -> Term:
    """What an argument stands for: given, a quantity, or its default."""
    if argument.quantity:
        name = (("name", argument.quantity),)
        return Term("input", (), Axis.TOKEN, Kind.LOG_PROB, False, span, name, label=argument.name)
    if argument.name in given:
        return given[argument.name]
    return constant(float(argument.default or 0.0), span)


def _fits(
    report: DiagnosticCollector,
    row: Reduction,
    argument: ReductionArgument,
    given: Mapping[str, Term],
    x: Term,
    scope: Scope,
    span: Span,
) -> bool:
    """Whether what is given for an argument is of its sort; reports it if not."""
    if argument.name not in given:
        return True
    value, name = given[argument.name], f"the {argument.name} of `{row.word}`"
    if argument.default is not None and argument.sort != "whole":
        name = f"`{argument.name}`"
    if argument.sort == "condition" and value.kind is not Kind.BOOL:
        fail(report, "number-as-condition", f"{name} is a condition", value.span)
        return False
    match argument.sort:
        case "share":
            return _is_share(report, name, value)
        case "whole":
            number = static_value(value)
            if number is None or number < argument.lowest or number != int(number):
                fail(report, "not-static", f"{name} is a whole number from {argument.lowest}", value.span)
                return False
            return True
        case "number" if value.kind is Kind.BOOL:
            fail(report, "condition-as-number", f"{name} is a number; this is a condition", value.span)
            return False
    widest = x.axis if argument.by_value else scope.axis
    if value.axis > widest:
        within = f"a {row.word} within `{scope.name}`"
        limit = "what is reduced" if argument.by_value else within
        fail(report, "axis", f"{name} is {value.axis.one_value}, finer than {limit}", value.span)
        return False
    return True


def _is_share(report: DiagnosticCollector, name: str, share: Term) -> bool:
    """Whether a term is one number, and between 0 and 1 if it is known; reports it if not."""
    if share.kind is Kind.BOOL or share.axis is not Axis.SCALAR:
        fail(report, "not-static", f"{name} is one number", share.span)
        return False
    number = static_value(share)
    if number is not None and not 0 <= number <= 1:
        fail(report, "out-of-domain", f"{name} is from 0 to 1, not {number:g}", share.span)
        return False
    return True
