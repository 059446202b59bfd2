"""The one printer of expressions: which brackets a tree needs. How each node is written is data, a `Style`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from maspo_dsl.language.tree import (
    Argument,
    Arithmetic,
    Call,
    Choose,
    Compare,
    Expression,
    Least,
    Logical,
    Name,
    Negate,
    Not,
    Number,
    Pipe,
    Text,
)


class Precedence(IntEnum):
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


Written: TypeAlias = tuple[str, Precedence]
"""A text, and how tightly it binds."""

Sides: TypeAlias = tuple[Precedence, Precedence]
"""How tightly what stands left and right of an operator must bind."""

ARITHMETIC: dict[str, tuple[Precedence, Sides]] = {
    "+": (Precedence.SUM, (Precedence.SUM, Precedence.PRODUCT)),
    "-": (Precedence.SUM, (Precedence.SUM, Precedence.PRODUCT)),
    "*": (Precedence.PRODUCT, (Precedence.PRODUCT, Precedence.NEGATE)),
    "/": (Precedence.PRODUCT, (Precedence.PRODUCT, Precedence.NEGATE)),
    "^": (Precedence.POWER, (Precedence.ATOM, Precedence.NEGATE)),
}
"""How tightly an operation binds, and its sides must, for a text that reads back as the same tree."""


@dataclass(frozen=True)
class Style:
    """How expressions are written.

    `number` and `name` take what stands in the tree. `operators` put two sides together; `sides` are those that need
    other brackets than `ARITHMETIC` says, since the sign itself groups or a sum of sums needs none. `comparisons` are
    the signs that differ. `negation` and `logical` stand before and between conditions. `least` has the fields of the
    node by their names. `argument` has a keyword and a value. What has a form of its own in a style is a function of
    the node and the style.
    """

    number: Callable[[str], Written]
    text: Callable[[str], str]
    name: Callable[[str], str]
    minus: str
    operators: Mapping[str, Callable[[str, str], str]]
    sides: Mapping[str, Sides]
    comparisons: Mapping[str, str]
    negation: str
    logical: str
    least: str
    argument: str
    brackets: tuple[str, str]
    call: Callable[[Call, Style], Written]
    choose: Callable[[Choose, Style], str]
    pipe: Callable[[Pipe, Style], Written]

    def bracketed(self, text: str) -> str:
        """A text in the brackets of the style."""
        return text.join(self.brackets)


def write(node: Expression, style: Style, needed: Precedence = Precedence.PIPE) -> str:
    """One line of text; in brackets if it binds less tightly than its place needs."""
    text, own = written(node, style)
    return text if own >= needed else style.bracketed(text)


def written(node: Expression, style: Style) -> Written:
    """The text of a node without brackets around it, and how tightly it binds."""
    match node:
        case Number(text=text):
            return style.number(text)
        case Text(value=value):
            return style.text(value), Precedence.ATOM
        case Name():
            return style.name(node.text), Precedence.ATOM
        case Call():
            return style.call(node, style)
        case Negate(operand=operand):
            return style.minus + write(operand, style, Precedence.NEGATE), Precedence.NEGATE
        case Arithmetic(operator=operator, left=left, right=right):
            own, exact = ARITHMETIC[operator]
            before, after = style.sides.get(operator, exact)
            return style.operators[operator](write(left, style, before), write(right, style, after)), own
        case Compare(operands=operands, operators=operators):
            head, *rest = (write(operand, style, Precedence.SUM) for operand in operands)
            signs = (style.comparisons.get(sign, sign) for sign in operators)
            compared = "".join(f" {sign} {text}" for sign, text in zip(signs, rest, strict=True))
            return head + compared, Precedence.COMPARE
        case Not(operand=operand):
            return style.negation + write(operand, style, Precedence.NOT), Precedence.NOT
        case Logical(operator=word, operands=operands):
            # `a and b or c` needs no brackets, but few readers are sure of that
            parts = (write(operand, style, Precedence.NOT) for operand in operands)
            own = Precedence.AND if word == "and" else Precedence.OR
            return style.logical.format(word).join(parts), own
        case Choose():
            return style.choose(node, style), Precedence.CHOICE
        case Least():
            return _least(node, style), Precedence.CHOICE
        case Pipe():
            return style.pipe(node, style)


def _least(node: Least, style: Style) -> str:
    low, high, step = (write(part, style, Precedence.SUM) for part in (node.low, node.high, node.step))
    return style.least.format(
        name=style.name(node.name),
        low=low,
        high=high,
        step=step,
        condition=write(node.condition, style, Precedence.OR),
        otherwise=write(node.otherwise, style, Precedence.CHOICE),
    )


def in_words(node: Choose, style: Style) -> str:
    """`then if condition else otherwise`."""
    then, condition = write(node.then, style, Precedence.OR), write(node.condition, style, Precedence.OR)
    return f"{then} if {condition} else {write(node.otherwise, style, Precedence.CHOICE)}"


def write_arguments(arguments: tuple[Argument, ...] | list[Argument], style: Style) -> str:
    """The arguments of a call, without the brackets around them."""
    return ", ".join(
        write(a.value, style)
        if a.keyword is None
        else style.argument.format(style.name(a.keyword), write(a.value, style))
        for a in arguments
    )
