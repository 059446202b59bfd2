"""How the words of the language are written: a row for each quantity and each primitive that has a form of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Symbol:
    """A name in plain text and in LaTeX, and what it stands for, if a reader must be told."""

    plain: str
    latex: str
    meaning: str = ""


@dataclass(frozen=True)
class Operation:
    """A primitive in plain text and in LaTeX: a template of its `parameters`, or the symbol of its function.

    Where one is empty, the word itself is the symbol. `shown` and `meaning` stand in the legend of a formula.
    """

    parameters: tuple[str, ...] = ()
    plain: str = ""
    latex: str = ""
    shown: str = ""
    meaning: str = ""


TOKEN_LOSS = "\N{SCRIPT SMALL L}"

SYMBOLS: dict[str, Symbol] = {
    "policy": Symbol("π", r"\pi", "probability of the sampled token under the policy being trained"),
    "old": Symbol("π_old", r"\pi_{\mathrm{old}}", "under the policy at rollout time"),
    "rollout": Symbol("π_rollout", r"\pi_{\mathrm{rollout}}", "under the sampler"),
    "reference": Symbol("π_ref", r"\pi_{\mathrm{ref}}", "under the frozen reference"),
    "reward": Symbol("R", "R"),
    "loss": Symbol(TOKEN_LOSS, r"\ell", "loss of one token"),
    "position": Symbol(
        "position", r"\mathit{position}", "1 for the first trained token of a completion, up to length"
    ),
    "inf": Symbol("∞", r"\infty"),
    "it": Symbol("·", r"\,\cdot\,"),
}

OPERATIONS: dict[str, Operation] = {
    "detach": Operation(
        ("x",), "sg[$x]", r"\mathrm{sg}\left[$x\right]", "sg[·]", "the value inside, without gradient"
    ),
    "entropy": Operation((), "H", "H", "H(π)", "entropy of the policy's distribution"),
    "next": Operation(
        shown="next(·)", meaning="the value at the completion's next trained token, 0 after its last"
    ),
    "discounted_sum": Operation(
        ("x", "factor"),
        latex=r"\sum_{k \ge t} $factor^{k - t} \left($x\right)_{k}",
        shown="discounted_sum(·)",
        meaning="y = x + factor · (y at the completion's next trained token)",
    ),
    "top": Operation(shown="top", meaning="the share of the tokens that have the largest values"),
    "abs": Operation(("x",), "|$x|", r"\left|$x\right|"),
    "sqrt": Operation(("x",), "√($x)", r"\sqrt{$x}"),
    "exp": Operation(latex=r"\exp"),
    "log": Operation(latex=r"\log"),
    "tanh": Operation(latex=r"\tanh"),
    "atan": Operation(latex=r"\arctan"),
    "sum": Operation(latex=r"\sum"),
    "min": Operation(latex=r"\min"),
    "max": Operation(latex=r"\max"),
}
