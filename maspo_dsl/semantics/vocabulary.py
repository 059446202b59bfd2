"""The closed lists of the language: quantities, primitives, warnings. None of them names a method."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.semantics.operations import FUNCTIONS
from maspo_dsl.semantics.reductions import REDUCTION_WORDS
from maspo_dsl.semantics.types import Axis, Kind

# The largest |log-ratio| of a quotient of policies: exp(20) is 4.9e8, safe to square in float32.
LOG_RATIO_BOUND = 20.0
# The largest exponent of any other `exp`: exp(80) is 5.5e34, below float32's 3.4e38.
EXPONENT_BOUND = 80.0


@dataclass(frozen=True)
class Quantity:
    """A name that the batch, the run or the rollout gives; `tensor` is the batch key it reads."""

    axis: Axis
    kind: Kind
    tensor: str | None
    live: bool
    doc: str


QUANTITIES: dict[str, Quantity] = {
    "policy": Quantity(
        Axis.TOKEN, Kind.PROB, "logp", True, "probability of the sampled token, being trained"
    ),
    "old": Quantity(Axis.TOKEN, Kind.PROB, "logp_old", False, "the policy at rollout time, recomputed"),
    "rollout": Quantity(Axis.TOKEN, Kind.PROB, "logp_rollout", False, "the sampler's own probability"),
    "reference": Quantity(Axis.TOKEN, Kind.PROB, "logp_ref", False, "the frozen reference policy"),
    "reward": Quantity(Axis.SEQUENCE, Kind.REAL, "reward", False, "the task's reward of a completion"),
    "correct": Quantity(Axis.SEQUENCE, Kind.BOOL, "correct", False, "reward > 0, unless the batch says"),
    "truncated": Quantity(
        Axis.SEQUENCE, Kind.BOOL, "truncated", False, "the completion hit the generation limit"
    ),
    "reward_greedy": Quantity(
        Axis.SEQUENCE, Kind.REAL, "reward_greedy", False, "reward of the greedy completion"
    ),
    "length": Quantity(Axis.SEQUENCE, Kind.REAL, None, False, "trained tokens of a completion"),
    "position": Quantity(
        Axis.TOKEN, Kind.REAL, None, False, "1 for the first trained token of a completion, up to `length`"
    ),
    "value": Quantity(Axis.TOKEN, Kind.REAL, "value", False, "a critic's value, for GAE"),
    "A": Quantity(Axis.SEQUENCE, Kind.REAL, None, False, "the advantage"),
    "loss": Quantity(Axis.TOKEN, Kind.REAL, None, True, "the loss of every token; in `reduce` alone"),
}

# Tensors that every batch means the same by; a spec's own inputs have other names.
BATCH_TENSORS = frozenset(
    {"mask", "group", "sequence", "advantage", "advantage_rows", "entropy", "present"}
    | {quantity.tensor for quantity in QUANTITIES.values() if quantity.tensor is not None}
)

# What a run can bind a parameter to (`param … bind NAME`), with its meaning.
RUN_CONSTANTS: dict[str, str] = {
    "generation_limit": "the most new tokens a run samples for a completion",
    "group_size": "completions a run samples for a prompt",
}

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
