"""Expressions to canonical text, with the fewest brackets that read back as the same tree."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from maspo_dsl.language.tree import (
    Argument,
    Arithmetic,
    Call,
    Choices,
    Choose,
    Compare,
    Domain,
    Expression,
    Interval,
    Least,
    Logical,
    Name,
    Negate,
    Not,
    Number,
    Pipe,
    Stage,
    Text,
)


class Binds(IntEnum):
    """How tightly an expression binds: the rules of the grammar from `expr` down to `atom`."""

    PIPE = 0
    CHOICE = 1
    OR = 2
    AND = 3
    NOT = 4
    COMPARE = 5
    SUM = 6
    PRODUCT = 7
    NEGATE = 8
    POWER = 9
    ATOM = 10


_OPERATORS = {
    "+": (Binds.SUM, Binds.SUM, " + ", Binds.PRODUCT),
    "-": (Binds.SUM, Binds.SUM, " - ", Binds.PRODUCT),
    "*": (Binds.PRODUCT, Binds.PRODUCT, " * ", Binds.NEGATE),
    "/": (Binds.PRODUCT, Binds.PRODUCT, " / ", Binds.NEGATE),
    "^": (Binds.POWER, Binds.ATOM, " ^ ", Binds.NEGATE),
}
"""How tightly the result binds, the left side must bind; how it is written; how the right side must bind."""


def format_expression(node: Expression, binds: Binds = Binds.PIPE) -> str:
    """One line of text; in brackets if it binds less tightly than its place needs (`binds`)."""
    text, own = _text(node)
    return text if own >= binds else f"({text})"


def _text(node: Expression) -> tuple[str, Binds]:
    match node:
        case Number(text=text):
            return text, Binds.NEGATE if text.startswith("-") else Binds.ATOM
        case Text(value=value):
            return quoted(value), Binds.ATOM
        case Name():
            return node.text, Binds.ATOM
        case Call(function=function, arguments=arguments):
            return f"{function.text}({_arguments(arguments)})", Binds.ATOM
        case Negate(operand=operand):
            return f"-{format_expression(operand, Binds.NEGATE)}", Binds.NEGATE
        case Arithmetic(operator=operator, left=left, right=right):
            own, left_binds, written, right_binds = _OPERATORS[operator]
            first, second = format_expression(left, left_binds), format_expression(right, right_binds)
            return f"{first}{written}{second}", own
        case Compare(operands=operands, operators=operators):
            head, *rest = (format_expression(o, Binds.SUM) for o in operands)
            compared = (f" {op} {o}" for op, o in zip(operators, rest, strict=True))
            return head + "".join(compared), Binds.COMPARE
        case Not(operand=operand):
            return f"not {format_expression(operand, Binds.NOT)}", Binds.NOT
        case Logical(operator="and", operands=operands):
            return _joined(operands, " and ", Binds.NOT), Binds.AND
        case Logical(operands=operands):
            # `a and b or c` needs no brackets, but few readers are sure of that
            return _joined(operands, " or ", Binds.NOT), Binds.OR
        case Choose():
            return _choose(node), Binds.CHOICE
        case Least():
            return _least(node), Binds.CHOICE
        case Pipe(head=head, stages=stages):
            return f"{format_expression(head, Binds.SUM)}{format_stages(stages)}", Binds.PIPE


def _joined(operands: Iterable[Expression], separator: str, binds: Binds = Binds.PIPE) -> str:
    return separator.join(format_expression(operand, binds) for operand in operands)


def _choose(node: Choose) -> str:
    then = format_expression(node.then, Binds.OR)
    condition = format_expression(node.condition, Binds.OR)
    return f"{then} if {condition} else {format_expression(node.otherwise, Binds.CHOICE)}"


def _least(node: Least) -> str:
    low, high, step = (format_expression(part, Binds.SUM) for part in (node.low, node.high, node.step))
    condition = format_expression(node.condition, Binds.OR)
    otherwise = format_expression(node.otherwise, Binds.CHOICE)
    return f"least {node.name} in {low} .. {high} by {step} where {condition} else {otherwise}"


def _arguments(arguments: Iterable[Argument]) -> str:
    return ", ".join(
        format_expression(a.value) if a.keyword is None else f"{a.keyword} = {format_expression(a.value)}"
        for a in arguments
    )


def format_stage(stage: Stage) -> str:
    """`clip(0.8, 1.28) as gate when A > 0`."""
    text = stage.function.text
    if stage.arguments:
        text += f"({_arguments(stage.arguments)})"
    if stage.alias is not None:
        text += f" as {stage.alias}"
    if stage.guard is not None:
        text += f" when {format_expression(stage.guard, Binds.OR)}"
    return text


def format_stages(stages: Iterable[Stage]) -> str:
    """` |> stage |> stage`, with the blank before."""
    return "".join(f" |> {format_stage(stage)}" for stage in stages)


def format_arithmetic(node: Expression) -> str:
    """An expression where only arithmetic may stand: defaults, bounds, values of a sweep."""
    return format_expression(node, Binds.SUM)


def format_domain(domain: Domain) -> str:
    """`[0, inf)` or `{1, 2}`."""
    match domain:
        case Interval(low=low, high=high, low_closed=low_closed, high_closed=high_closed):
            opening, closing = "[" if low_closed else "(", "]" if high_closed else ")"
            return f"{opening}{format_arithmetic(low)}, {format_arithmetic(high)}{closing}"
        case Choices(values=values):
            return f"{{{_joined(values, ', ', Binds.SUM)}}}"


def quoted(text: str) -> str:
    """A text in double quotes; the language has no escapes, so a double quote inside becomes a single one."""
    return '"' + text.replace('"', "'").replace("\n", " ") + '"'
