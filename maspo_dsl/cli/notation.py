"""The two ways a formula is written: mathematics in plain text, and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maspo_dsl.cli.latex import bracketed, cases, latex_name, latex_text
from maspo_dsl.cli.mathematics import TOKEN_LOSS, math_text
from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import Binds


@dataclass(frozen=True)
class Notation:
    """How the pieces are written that a formula is put together from.

    `expression` puts what binds less tightly than asked in brackets; `symbol` is of a name that a line defines: a
    slot, a `let`, a part; `numbered` of the value of a pipe after so many stages. `negated` is minus a product,
    `total` the task's reward with what is added to it, `term` one that goes on from the line before, after its sign;
    `guarded` takes a value, its condition and the value elsewhere. With `names_choices` an argument that is a choice
    gets a line of its own, since the body of a stage may say it more than once.
    """

    expression: Callable[[tree.Expression, Binds], str]
    symbol: Callable[[str], str]
    numbered: Callable[[str, int], str]
    negated: Callable[[Sequence[str]], str]
    total: Callable[[Sequence[str]], str]
    term: Callable[[str, str], str]
    detached: Callable[[str], str]
    guarded: Callable[[str, str, str], str]
    names_choices: bool


_DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

PLAIN_TEXT = Notation(
    expression=math_text,
    symbol=lambda word: TOKEN_LOSS if word == "token loss" else word,
    numbered=lambda symbol, number: f"{symbol}{number}".translate(_DIGITS),
    negated=lambda factors: f"−{' · '.join(factors)}",
    total=lambda terms: " + ".join(["the task's reward", *terms]),
    term=lambda sign, text: f"{'−' if sign == '-' else sign} {text}",
    detached=lambda text: f"sg[{text}]",
    guarded=lambda text, guard, otherwise: f"{text} where {guard}; else {otherwise}",
    names_choices=False,
)
"""For a terminal: π / π_old, mean_group(R), sg[…]."""

LATEX = Notation(
    expression=latex_text,
    symbol=lambda word: r"\mathcal{L}" if word == "loss" else latex_name(word),
    numbered=lambda symbol, number: f"{symbol}_{{{number}}}",
    negated=lambda factors: "-" + r" \cdot ".join(factors),
    total=lambda terms: " + ".join([r"\text{the task's reward}", *terms]),
    term=lambda sign, text: rf"\quad {{}} {sign} {text}",
    detached=lambda text: bracketed(r"\mathrm{sg}", text, "[", "]"),
    guarded=lambda text, guard, otherwise: cases([(text, guard), (otherwise, None)]),
    names_choices=True,
)
"""For a page: fractions, cases, Greek letters, a reduction with its scope below it."""
