"""Expressions as mathematics in plain text: π / π_old, mean_group(R), sg[…] for what carries no gradient."""

from __future__ import annotations

from maspo_dsl.language import tree
from maspo_dsl.language.printing import Precedence, Style, Written, in_words, write, written
from maspo_dsl.notation.calls import (
    CallWriter,
    Defs,
    applied,
    at_most_one_acts,
    piped,
    primitive_notations,
    substitute,
)
from maspo_dsl.notation.symbols import SYMBOLS
from maspo_dsl.semantics.scopes import SCOPES

_SUPERSCRIPTS = {"2": "²", "3": "³"}
_NOTATIONS = primitive_notations("plain")


def plain_style(defs: Defs, scopes: frozenset[str] = frozenset(SCOPES)) -> Style:
    """The style of a terminal. Calls of a `def` are written as calls; `scopes` are the names that stand for a scope."""
    call = CallWriter(_NOTATIONS, defs, scopes, str, str, "{}_{}".format)
    return Style(
        number=lambda text: (text.replace("-", "−"), Precedence.ATOM),
        text=str,
        name=lambda word: SYMBOLS[word].plain if word in SYMBOLS else word,
        minus="−",
        operators={
            "+": "{} + {}".format,
            "-": "{} − {}".format,
            "*": "{} · {}".format,
            "/": "{} / {}".format,
            "^": lambda base, power: base + _SUPERSCRIPTS.get(power, f"^{power}"),
        },
        sides={
            "+": (Precedence.SUM, Precedence.SUM),
            "*": (Precedence.PRODUCT, Precedence.PRODUCT),
            "/": (Precedence.PRODUCT, Precedence.POWER),
            "^": (Precedence.ATOM, Precedence.ATOM),
        },
        comparisons={"<=": "≤", ">=": "≥", "!=": "≠", "==": "="},
        negation="not ",
        logical=" {} ",
        least="the least {name} in {low}, {low} + {step}, …, {high} with {condition}, else {otherwise}",
        argument="{} = {}",
        brackets=("(", ")"),
        call=call,
        choose=in_words,
        pipe=_pipe,
    )


def plain_text(node: tree.Expression) -> str:
    """One line of mathematics."""
    return write(node, plain_style({}))


def call_form(definition: tree.Def) -> str:
    """How a `def` is called: `scale(x, scope, ddof = 1, eps = 0)`."""
    parameters = (
        p.name.text if p.default is None else f"{p.name.text} = {plain_text(p.default)}"
        for p in definition.parameters
    )
    return f"{definition.name.text}({', '.join(parameters)})"


def _pipe(pipe: tree.Pipe, style: Style) -> Written:
    """A pipe as nested calls; with guards, as cases: `min(r, 1.2) where A > 0; max(r, 0.8) where A < 0`."""
    value, guarded = piped(pipe)
    if not guarded:
        return written(value, style)
    first, *later = pipe.stages
    if at_most_one_acts(pipe.stages):
        return "; ".join(_case(stage, pipe.head, style) for stage in pipe.stages), Precedence.PIPE
    cases = [_case(first, pipe.head, style)]
    cases += [_case(stage, tree.Name(("it",), stage.span), style) for stage in later]
    return ", then ".join(cases), Precedence.PIPE


def _case(stage: tree.Stage, value: tree.Expression, style: Style) -> str:
    text = write(applied(stage, value), style, Precedence.OR)
    if stage.guard is None:
        return text
    return f"{text} where {write(substitute(stage.guard, {'it': value}), style, Precedence.OR)}"
