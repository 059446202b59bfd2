"""STAPO's exclusion with MASPO's gate in the place of the clip (arXiv:2602.15620 and 2602.17550)."""

from .estimators import group_relative
from .factors import excluding
from .masks import spurious
from .maspo import REFERENCES as MASPO
from .maspo import gated
from .reference import Reference
from .tokens import mean_of_tokens, summed

REFERENCES = {
    "stapo_maspo": Reference(
        {**MASPO["maspo"].defaults, "tau_p": 0.002, "q": 0.75},
        group_relative,
        excluding(summed(gated, mean_of_tokens), spurious),
        tries=({"tau_p": 0.3, "alpha": 0.5},),
    )
}
