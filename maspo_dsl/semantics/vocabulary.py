"""The closed lists of the language: slots, primitives, warnings. None of them names a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maspo_dsl.semantics.operations import FUNCTIONS
from maspo_dsl.semantics.reductions import REDUCTION_WORDS
from maspo_dsl.semantics.types import Axis

# The largest |log-ratio| of a quotient of policies: exp(20) is 4.9e8, safe to square in float32.
LOG_RATIO_BOUND = 20.0
# The largest exponent of any other `exp`: exp(80) is 5.5e34, below float32's 3.4e38.
EXPONENT_BOUND = 80.0


@dataclass(frozen=True)
class SlotKind:
    """One kind of statement that fills a slot.

    `form` is `slot` (one value, no name), `part` (named value) or `rule` (named condition); `axes` are allowed;
    `neutral` says in words what an absent or dropped one means, None when it must be given.
    """

    form: Literal["slot", "part", "rule"]
    axes: frozenset[Axis]
    neutral: str | None
    doc: str


_ROWS = frozenset({Axis.SCALAR, Axis.GROUP, Axis.SEQUENCE})
_TOKENS = frozenset({Axis.SCALAR, Axis.GROUP, Axis.SEQUENCE, Axis.TOKEN})
_SCALAR = frozenset({Axis.SCALAR})

SLOTS: dict[str, SlotKind] = {
    "advantage": SlotKind(
        "slot", _TOKENS, None, "how much better a completion, or a token, was than expected"
    ),
    "ratio": SlotKind("slot", frozenset({Axis.SEQUENCE, Axis.TOKEN}), None, "what multiplies the advantage"),
    "reduce": SlotKind("slot", _SCALAR, None, "from the loss of every token to one number"),
    "prompt": SlotKind("slot", _ROWS, "every prompt alike", "score of a prompt, for its selection"),
    "step": SlotKind("slot", _SCALAR, "1", "scale of this optimizer step"),
}

PARTS: dict[str, SlotKind] = {
    "reward": SlotKind("part", _ROWS, "0", "added to the task's own reward"),
    "weight": SlotKind("part", _TOKENS, "1", "multiplies the policy term, without gradient"),
    "penalty": SlotKind("part", _TOKENS, "0", "added to the loss"),
    "bonus": SlotKind("part", _TOKENS, "0", "subtracted from the loss"),
    "keep": SlotKind("rule", _ROWS, "keep all", "which completions of a rollout are trained on"),
    "mute": SlotKind("rule", _TOKENS, "none", "removes the policy term; the token still counts"),
    "exclude": SlotKind("rule", _TOKENS, "none", "removes the token, from denominators too"),
}


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

# Slots that are filled once a rollout, before there is an advantage.
BEFORE_ADVANTAGE = frozenset({"reward", "keep", "prompt", "advantage"})

SPECIAL: dict[str, str] = {
    "detach": "the same value without gradient",
    "entropy": "entropy(policy): of the policy's distribution, in nats",
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
