"""Expressions to canonical text, with the fewest brackets that read back as the same tree."""

from __future__ import annotations

from collections.abc import Iterable

from maspo_dsl.language.printing import Precedence, Style, Written, in_words, write, write_arguments
from maspo_dsl.language.tree import Call, Choices, Domain, Expression, Interval, Pipe, Stage


def format_expression(node: Expression, needed: Precedence = Precedence.PIPE) -> str:
    """One line of text; in brackets if it binds less tightly than its place needs."""
    return write(node, _SOURCE, needed)


def format_stage(stage: Stage) -> str:
    """`clip(0.8, 1.28) as gate when A > 0`."""
    text = stage.function.text
    if stage.arguments:
        text += f"({write_arguments(stage.arguments, _SOURCE)})"
    if stage.alias is not None:
        text += f" as {stage.alias}"
    if stage.guard is not None:
        text += f" when {format_expression(stage.guard, Precedence.OR)}"
    return text


def format_stages(stages: Iterable[Stage]) -> str:
    """` |> stage |> stage`, with the blank before."""
    return "".join(f" |> {format_stage(stage)}" for stage in stages)


def format_arithmetic(node: Expression) -> str:
    """An expression where only arithmetic may stand: defaults, bounds, values of a sweep."""
    return format_expression(node, Precedence.SUM)


def format_domain(domain: Domain) -> str:
    """`[0, inf)` or `{1, 2}`."""
    match domain:
        case Interval(low=low, high=high, low_closed=low_closed, high_closed=high_closed):
            opening, closing = "[" if low_closed else "(", "]" if high_closed else ")"
            return f"{opening}{format_arithmetic(low)}, {format_arithmetic(high)}{closing}"
        case Choices(values=values):
            return f"{{{', '.join(map(format_arithmetic, values))}}}"


def quoted(text: str) -> str:
    """A text in double quotes; the language has no escapes, so a double quote inside becomes a single one."""
    return '"' + text.replace('"', "'").replace("\n", " ") + '"'


def _number(text: str) -> Written:
    return text, Precedence.NEGATE if text.startswith("-") else Precedence.ATOM


def _call(node: Call, style: Style) -> Written:
    return f"{node.function.text}({write_arguments(node.arguments, style)})", Precedence.ATOM


def _pipe(node: Pipe, style: Style) -> Written:
    return f"{write(node.head, style, Precedence.SUM)}{format_stages(node.stages)}", Precedence.PIPE


_SOURCE = Style(
    number=_number,
    text=quoted,
    name=str,
    minus="-",
    operators={sign: f"{{}} {sign} {{}}".format for sign in "+-*/^"},
    sides={},
    comparisons={},
    negation="not ",
    logical=" {} ",
    least="least {name} in {low} .. {high} by {step} where {condition} else {otherwise}",
    argument="{} = {}",
    brackets=("(", ")"),
    call=_call,
    choose=in_words,
    pipe=_pipe,
)
