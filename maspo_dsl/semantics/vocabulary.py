"""The closed lists of the language: slots, primitives, warnings. None of them names a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maspo_dsl.semantics.types import Axis, Scope

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

# Slots that are filled once a rollout, before there is an advantage.
BEFORE_ADVANTAGE = frozenset({"reward", "keep", "prompt", "advantage"})

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
