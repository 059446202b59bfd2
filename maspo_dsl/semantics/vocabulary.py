"""The closed lists of the language: primitives, run constants, warnings. None of them names a method."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS
from maspo_dsl.semantics.operations import FUNCTIONS
from maspo_dsl.semantics.reductions import REDUCTION_WORDS

# The largest |log-ratio| of a quotient of policies: exp(20) is 4.9e8, safe to square in float32.
LOG_RATIO_BOUND = 20.0
# The largest exponent of any other `exp`: exp(80) is 5.5e34, below float32's 3.4e38.
EXPONENT_BOUND = 80.0


@dataclass(frozen=True)
class RunConstant:
    """What a run can bind a parameter to (`param … bind NAME`); `key` is where its configuration has it."""

    meaning: str
    key: str


RUN_CONSTANTS: dict[str, RunConstant] = {
    "generation_limit": RunConstant(
        "the most new tokens a run samples for a completion", "rollout.max_new_tokens"
    ),
    "group_size": RunConstant("completions a run samples for a prompt", "rollout.samples"),
}

SPECIAL: dict[str, str] = {
    "detach": "the same value without gradient",
    "is_member": "in a `def`: true for the values of its scope that `of` lets take part, always true without `of`",
    "per_token": "one value for each token: that of its sequence, or its own",
}

PRIMITIVES: dict[str, str] = {
    **{word: row.meaning for word, row in FUNCTIONS.items()},
    **{word: row.meaning for word, row in REDUCTION_WORDS.items()},
    **{
        word: f"{FUNCTIONS[word].meaning}; {REDUCTION_WORDS[word].meaning}"
        for word in FUNCTIONS.keys() & REDUCTION_WORDS
    },
    **SPECIAL,
    **{word: row.meaning for word, row in DISTRIBUTION_WORDS.items()},
}

# Every warning that `check` can give, with the reason it exists; `allow CODE "why"` acknowledges one.
WARNINGS: dict[str, str] = {
    "micro-scope": "a reduction within `micro` changes with the size of the micro-batch, so the objective does too",
    "k1-in-loss": "the gradient of log(policy / reference) is zero on average: as a loss it does nothing but add noise",
    "cap-below-one": "a cap below 1 also shrinks the update of on-policy tokens",
    "dead-part": "something written that could be left out: of weight 0, a probability over itself, or never felt",
    "dead-parameter": "a parameter of which no value changes a gradient, an advantage, or what is trained on",
    "turning-gradient": "far from the old policy a token would be pushed against its advantage",
    "unbounded-side": "one token far from the old policy can outweigh all others",
    "on-policy-weight": "at ratio 1, with all policies equal, an objective is usually the plain policy gradient",
    "not-neutral": "dropping a `let` with such a neutral is more than taking its effect away",
    "unused-allow": "an `allow` for a warning that is not given",
}
