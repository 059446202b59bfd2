"""The closed lists of the language: quantities, primitives, warnings. None of them names a method."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.semantics.types import Axis, Kind, Scope

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

SCOPES: dict[str, Scope] = {scope.value: scope for scope in Scope}

# Word -> (number of arguments, meaning). Arguments and result share an axis.
ELEMENTWISE: dict[str, tuple[int, str]] = {
    "exp": (1, "e to the power x"),
    "log": (1, "natural logarithm"),
    "sqrt": (1, "square root"),
    "abs": (1, "absolute value"),
    "sigmoid": (1, "1 / (1 + exp(-x))"),
    "tanh": (1, "hyperbolic tangent"),
    "erf": (1, "error function"),
    "atan": (1, "arc tangent"),
    "min": (2, "the smaller of two; with a scope: the smallest within it"),
    "max": (2, "the larger of two; with a scope: the largest within it"),
}

# Word -> meaning; the scope is an argument.
REDUCTIONS: dict[str, str] = {
    "sum": "sum within a scope",
    "count": "how many values of that axis there are within a scope",
    "quantile": "the q-quantile within a scope of the values where `of` holds, `empty` if there are none",
    "kth": "the k-th largest within a scope, counted from 1",
    "rank": "1 for the largest within a scope; ties go to the earlier row",
    "pick": "a share of a scope's tokens, drawn from those that satisfy a condition; the same ones for the same seed",
    "top": "a share of a scope's tokens, those with the largest x",
}

# Word -> (number of arguments, meaning). From token to token of one completion; untrained tokens are skipped.
ALONG_COMPLETIONS: dict[str, tuple[int, str]] = {
    "next": (1, "x at the next trained token of the completion, 0 after the last"),
    "discounted_sum": (
        2,
        "y = x + factor * (y at the next trained token), from the completion's last token back",
    ),
}

# Scopes of the reductions that do not know all of them.
REDUCTION_SCOPES: dict[str, tuple[Scope, ...]] = {
    "kth": (Scope.GROUP,),
    "rank": (Scope.GROUP,),
    "pick": (Scope.MICRO,),
    "top": (Scope.MICRO,),
}

SPECIAL: dict[str, str] = {
    "detach": "the same value without gradient",
    "entropy": "entropy(policy): of the policy's distribution, in nats",
    "per_token": "one value for each token: that of its sequence, or its own",
}

PRIMITIVES: dict[str, str] = {
    **{name: doc for name, (_, doc) in ELEMENTWISE.items()},
    **REDUCTIONS,
    **{name: doc for name, (_, doc) in ALONG_COMPLETIONS.items()},
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
