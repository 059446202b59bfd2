"""STAPO's exclusion with MASPO's gate in the place of the clip (arXiv:2602.15620 and 2602.17550).

Which prompts are sampled (arXiv:2602.14868) changes no loss.
"""

from dataclasses import replace

import numpy as np

from .estimators import group_relative
from .factors import excluding
from .grpo import REFERENCES as GRPO
from .masks import REFERENCES as MASKS
from .masks import spurious
from .maspo import REFERENCES as MASPO
from .maspo import gated
from .reference import Reference
from .tokens import Batch, Params, mean_of_tokens, summed


def expected_spread(batch: Batch, params: Params) -> np.ndarray:
    """What the teacher predicts (arXiv:2602.14868): it is the score."""
    return batch["utility"]


REFERENCES = {
    "stapo_maspo": Reference(
        {**MASPO["maspo"].defaults, "tau_p": 0.002, "q": 0.75},
        group_relative,
        excluding(summed(gated, mean_of_tokens), spurious),
        tries=({"tau_p": 0.3, "alpha": 0.5},),
    ),
    "goldilocks": replace(GRPO["grpo"], prompt=expected_spread),
    "stapo_goldilocks": replace(MASKS["stapo"], prompt=expected_spread),
}
