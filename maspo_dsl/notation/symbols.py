"""How quantities are written in a formula, and what stands in its legend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Symbol:
    """A name in plain text and in LaTeX, and what it stands for, if a reader must be told."""

    plain: str
    latex: str
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


def symbol_of_teacher(name: str, doc: str | None) -> Symbol:
    """How a policy that a spec declares is written."""
    meaning = f"under the teacher {name}" + (f": {doc}" if doc else "")
    below = name.replace("_", r"\_")
    return Symbol(f"π_{name}", rf"\pi_{{\mathrm{{{below}}}}}", meaning)


LEGEND: dict[str, tuple[str, str]] = {
    "detach": ("sg[·]", "the value inside, without gradient"),
    "entropy": ("H(·)", "entropy of a policy's distribution"),
    "kl": ("KL(· ‖ ·)", "divergence of two policies' whole distributions"),
    "jsd": ("JSD(· ‖ ·)", "divergence of two policies' whole distributions from their mixture"),
    "collision": ("collision(·)", "sum of the squares of a policy's probabilities"),
    "next": ("next(·)", "the value at the completion's next trained token, 0 after its last"),
    "discounted_sum": ("discounted_sum(·)", "y = x + factor · (y at the completion's next trained token)"),
    "previous": ("previous(·)", "the value at the completion's trained token before, 0 at its first"),
    "running_sum": ("running_sum(·)", "y = x + factor · (y at the completion's trained token before)"),
    "running_max": ("running_max(·)", "the largest value of the completion up to this token"),
    "running_min": ("running_min(·)", "the smallest value of the completion up to this token"),
    "tail": ("tail", "the tokens with the largest values, until the mean of the others is below the limit"),
    "logsumexp": ("logsumexp", "log of the sum of the exponentials"),
    "binom": ("binom(n, k)", "ways to choose k of n"),
    "top": ("top", "the share of the tokens that have the largest values"),
}
"""How primitives that a reader must be told of stand in a formula, and what they mean."""
