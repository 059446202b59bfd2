"""What a spec can ask of a policy's whole distribution over the vocabulary: one row a word."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.quantities import ENTROPY, Domain, Quantity
from maspo_dsl.semantics.types import Axis, Kind


@dataclass(frozen=True)
class DistributionWord:
    """A function of one distribution or of two.

    `meaning` is for people, with p and q for the policies. With `weighted` a number between 0 and 1 may follow the
    policies. One that `lumps` keeps its sense where all tokens but a few are taken for one. `latex` and `plain` are
    templates of p, q and weight.
    """

    word: str
    policies: int
    meaning: str
    domain: Domain
    plain: str
    latex: str
    weighted: bool = False
    lumps: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """What it is called with, a weight aside."""
        return ("p", "q")[: self.policies]

    @property
    def form(self) -> str:
        """How it is called."""
        weight = (f"weight = {number_text(EVEN)}",) if self.weighted else ()
        return f"{self.word}({', '.join((*self.parameters, *weight))})"


EVEN = 0.5
"""The weight of a distribution beside another, unless it is said."""

_ROWS = (
    DistributionWord(
        "entropy",
        1,
        "entropy(p): of the distribution p, in nats",
        Domain.NONNEGATIVE,
        "H($p)",
        r"H\left($p\right)",
    ),
    DistributionWord(
        "kl",
        2,
        "kl(p, q): the sum of p log(p / q) over the vocabulary, in nats; k1, k2 and k3 estimate it from sampled tokens",
        Domain.NONNEGATIVE,
        "KL($p ‖ $q)",
        r"\mathrm{KL}\left($p \,\middle\|\, $q\right)",
        lumps=True,
    ),
    DistributionWord(
        "jsd",
        2,
        "jsd(p, q, weight): weight KL(p ‖ m) + (1 - weight) KL(q ‖ m) of m = weight p + (1 - weight) q; weight is 1/2 "
        "unless given (GKD, arXiv:2306.13649, with the teacher for p)",
        Domain.NONNEGATIVE,
        "JSD$[_$weight]($p ‖ $q)",
        r"\mathrm{JSD}$[_{$weight}]\left($p \,\middle\|\, $q\right)",
        weighted=True,
        lumps=True,
    ),
    DistributionWord(
        "collision",
        1,
        "collision(p): the sum of p^2 over the vocabulary, the probability that two draws are the same token",
        Domain.PROBABILITY,
        "",
        r"\left\lVert $p \right\rVert_2^2",
    ),
)
DISTRIBUTION_WORDS: dict[str, DistributionWord] = {row.word: row for row in _ROWS}


@dataclass(frozen=True)
class Distribution:
    """A word and the policies that it is of, `weight` being that of the first; live if one of them is trained."""

    word: str
    policies: tuple[str, ...]
    weight: float = EVEN

    @property
    def row(self) -> DistributionWord:
        """What is known of the word."""
        return DISTRIBUTION_WORDS[self.word]

    @property
    def live(self) -> bool:
        """Whether it carries gradient."""
        return "policy" in self.policies

    @property
    def tensor(self) -> str:
        """The tensor of the batch that holds it: another for another weight."""
        if self.policies == ("policy",) and self.word == ENTROPY:
            return ENTROPY
        weight = () if self.weight == EVEN else (number_text(self.weight),)
        return "_".join((self.word, *self.policies, *weight))

    @property
    def quantity(self) -> Quantity:
        """The row of its tensor."""
        said = f"{self.word}({', '.join(self.policies)})"
        doc = f"{said}, weight {number_text(self.weight)}" if self.row.weighted else said
        return Quantity(
            self.tensor,
            Axis.TOKEN,
            Kind.REAL,
            self.row.domain,
            self.tensor,
            f"{doc}, over the vocabulary"
            + ("; of a teacher's top tokens, all others are one" if self.row.lumps else ""),
            self.live,
            typical=1.0,
        )
