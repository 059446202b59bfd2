r"""Expressions in LaTeX, with commands that every renderer on the web knows (no `\operatorname`, no macros)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from maspo_dsl.language import tree
from maspo_dsl.language.printing import Precedence, Style, Written, write, written
from maspo_dsl.notation.calls import (
    CallWriter,
    Defs,
    applied,
    at_most_one_acts,
    notation_of,
    piped,
    primitive_notations,
    substitute,
)
from maspo_dsl.notation.symbols import SYMBOLS
from maspo_dsl.semantics.scopes import SCOPES

_GREEK = {
    name: rf"\{name}"
    for name in (
        *(
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "kappa",
            "lambda",
            "mu",
            "nu",
        ),
        *("xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
    )
} | {"eps": r"\varepsilon"}
_POWER_OF_TEN = re.compile(r"([\d.]+)[eE]([+-]?\d+)")
_NOTATIONS = primitive_notations("latex")


def latex_style(defs: Defs, scopes: frozenset[str] = frozenset(SCOPES)) -> Style:
    """The style of a page. Calls are written by the notation of their `def`; `scopes` are the names of scopes."""
    own = {name: notation for name, d in defs.items() if (notation := notation_of(d)) is not None}
    call = CallWriter({**_NOTATIONS, **own}, defs, scopes, latex_upright, latex_upright, _below)
    return Style(
        number=_number,
        text=r"\text{{{}}}".format,
        name=latex_name,
        minus="-",
        operators={
            "+": "{} + {}".format,
            "-": "{} - {}".format,
            "*": r"{} \cdot {}".format,
            "/": r"\frac{{{}}}{{{}}}".format,
            "^": "{}^{{{}}}".format,
        },
        sides={
            "+": (Precedence.SUM, Precedence.SUM),
            "*": (Precedence.PRODUCT, Precedence.PRODUCT),
            "/": (Precedence.PIPE, Precedence.PIPE),
            "^": (Precedence.ATOM, Precedence.PIPE),
        },
        comparisons={"<=": r"\le", ">=": r"\ge", "!=": r"\ne", "==": "="},
        negation=r"\text{not } ",
        logical=r" \text{{ {} }} ",
        least=r"\text{{the least }} {name} \in \left\{{{low}, {low} + {step}, \ldots, {high}\right\}} "
        r"\text{{ with }} {condition} \text{{, else }} {otherwise}",
        argument="{} = {}",
        brackets=(r"\left(", r"\right)"),
        call=call,
        choose=lambda node, style: cases(_choices(node, style)),
        pipe=_pipe,
    )


# ---- names and numbers


def latex_name(word: str) -> str:
    r"""`beta_pos` as \beta_{\mathrm{pos}}; what is LaTeX already stays."""
    if word in SYMBOLS:
        return SYMBOLS[word].latex
    if "{" in word or "\\" in word:
        return word
    head, _, below = word.partition("_")
    if head not in _GREEK and len(head) > 1:
        return rf"\mathit{{{_escaped(word)}}}"
    head = _GREEK.get(head, head)
    return rf"{head}_{{{latex_upright(below)}}}" if below else head


def _escaped(word: str) -> str:
    return word.replace("_", r"\_")


def latex_upright(word: str) -> str:
    """A word in upright letters."""
    return rf"\mathrm{{{_escaped(word)}}}"


def _below(symbol: str, scope: str) -> str:
    return rf"\underset{{{scope}}}{{{symbol}}}"


def _number(text: str) -> Written:
    if (match := _POWER_OF_TEN.fullmatch(text)) is None:
        return text, Precedence.ATOM
    factor, power = match.groups()
    ten = f"10^{{{int(power)}}}"
    return ten if factor == "1" else rf"{factor} \cdot {ten}", Precedence.PRODUCT


# ---- cases


def cases(rows: Iterable[tuple[str, str | None]]) -> str:
    """Values with their conditions; the one without a condition is for everything else."""
    conditions = (
        (value, r"\text{else}" if guard is None else rf"\text{{if }} {guard}") for value, guard in rows
    )
    lines = r" \\ ".join(f"{value} & {condition}" for value, condition in conditions)
    return rf"\begin{{cases}} {lines} \end{{cases}}"


def _choices(node: tree.Choose, style: Style) -> Iterator[tuple[str, str | None]]:
    yield write(node.then, style, Precedence.OR), write(node.condition, style)
    if isinstance(node.otherwise, tree.Choose):
        yield from _choices(node.otherwise, style)
    else:
        yield write(node.otherwise, style, Precedence.OR), None


def _pipe(pipe: tree.Pipe, style: Style) -> Written:
    """A pipe as nested calls; guarded stages as cases, those for A > 0 and A < 0 in one."""
    value, stages = piped(pipe)
    if not stages:
        return written(value, style)
    if len(stages) == 1 or at_most_one_acts(stages):
        rows = [_case(stage, value, style) for stage in stages]
        return cases([*rows, (write(value, style), None)]), Precedence.PIPE
    first, *later = stages
    steps = [(first, value), *((stage, tree.Name(("it",), stage.span)) for stage in later)]
    written_steps = (cases([_case(stage, it, style), (write(it, style), None)]) for stage, it in steps)
    return r" \text{, then } ".join(written_steps), Precedence.PIPE


def _case(stage: tree.Stage, value: tree.Expression, style: Style) -> tuple[str, str | None]:
    guard = None if stage.guard is None else write(substitute(stage.guard, {"it": value}), style)
    return write(applied(stage, value), style), guard
