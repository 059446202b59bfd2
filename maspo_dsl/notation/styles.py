"""The two ways a formula is written: mathematics in plain text, and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maspo_dsl.language.printing import Style
from maspo_dsl.notation.calls import Defs
from maspo_dsl.notation.latex import cases, latex_name, latex_style
from maspo_dsl.notation.plain import plain_style
from maspo_dsl.notation.symbols import TOKEN_LOSS, Symbol


@dataclass(frozen=True)
class FormulaStyle:
    """How the pieces are written that a formula is put together from.

    `expressions` is their style for a spec's `def`s and the names that stand for a scope; `symbol` is of a name
    that a line defines: a slot, a `let`, a part; `policy` of a teacher; `numbered` of the value of a pipe after so many
    stages. `negated` is minus a product, `total` the task's reward with what is added to it, `term` one that goes on
    from the line before, after its sign; `guarded` takes a value, its condition and the value elsewhere. With
    `names_choices` an argument that is a choice gets a line of its own, since the body of a stage may say it more than
    once; with `by_notation` a `def` that brings a notation is written by it, and not as its body.
    """

    expressions: Callable[[Defs, frozenset[str]], Style]
    symbol: Callable[[str], str]
    policy: Callable[[Symbol], str]
    numbered: Callable[[str, int], str]
    negated: Callable[[Sequence[str]], str]
    total: Callable[[Sequence[str]], str]
    term: Callable[[str, str], str]
    guarded: Callable[[str, str, str], str]
    names_choices: bool
    by_notation: bool


_DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

PLAIN_TEXT = FormulaStyle(
    expressions=plain_style,
    symbol=lambda word: TOKEN_LOSS if word == "token loss" else word,
    policy=lambda symbol: symbol.plain,
    numbered=lambda symbol, number: f"{symbol}{number}".translate(_DIGITS),
    negated=lambda factors: f"−{' · '.join(factors)}",
    total=lambda terms: " + ".join(["the task's reward", *terms]),
    term=lambda sign, text: f"{'−' if sign == '-' else sign} {text}",
    guarded=lambda text, guard, otherwise: f"{text} where {guard}; else {otherwise}",
    names_choices=False,
    by_notation=False,
)
"""For a terminal: π / π_old, mean_group(R), sg[…]."""

LATEX = FormulaStyle(
    expressions=latex_style,
    symbol=lambda word: {"loss": r"\mathcal{L}", "token loss": r"\ell"}.get(word) or latex_name(word),
    policy=lambda symbol: symbol.latex,
    numbered=lambda symbol, number: f"{symbol}_{{{number}}}",
    negated=lambda factors: "-" + r" \cdot ".join(factors),
    total=lambda terms: " + ".join([r"\text{the task's reward}", *terms]),
    term=lambda sign, text: rf"\quad {{}} {sign} {text}",
    guarded=lambda text, guard, otherwise: cases([(text, guard), (otherwise, None)]),
    names_choices=True,
    by_notation=True,
)
"""For a page: fractions, cases, Greek letters, a reduction with its scope below it."""
