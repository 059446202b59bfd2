"""On policy, where all ratios are 1, every objective is REINFORCE: the gradient of a token is minus its advantage."""

from __future__ import annotations

import numpy as np

from maspo_dsl.analysis.drawing import Arrays, on_policy
from maspo_dsl.analysis.reinforce import reinforced, weighs_otherwise
from maspo_dsl.verification.evaluation import PropertyError, others, position
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject

SEEDS = (5, 6)
CODE = "on-policy-weight"


class _OtherWeightError(PropertyError):
    """What a spec may mean, and then acknowledges."""


def identity(subject: Subject) -> tuple[Verdict, str]:
    """With old = rollout = reference = policy, the policy term's gradient is -A times the weight `reduce` gives.

    Tokens that are muted or excluded have none.
    """
    if not subject.has_policy_term:
        return "skipped", "there is no policy term"
    tokens = 0
    try:
        for seed in SEEDS:
            for name, batch in subject.batches(seed):
                # One ratio for a whole completion cannot tell its tokens' advantages apart.
                if subject.tells_tokens_apart or batch.get("advantage", batch["reward"]).ndim == 1:
                    tokens += _check_weights(
                        subject, on_policy(subject.estimated(batch), subject.tensors), name
                    )
        if not tokens:
            raise _OtherWeightError(
                "no token has an advantage and is free to learn, so that nothing is tested"
            )
    except _OtherWeightError as failed:
        why = subject.allowed(CODE)
        if why is None:
            raise PropertyError(f'{failed}; if that is meant: allow {CODE} "why"') from None
        return "declared", f"{why} ({failed})"
    return "pass", f"{tokens} tokens learn with the weight of their advantage"


def _check_weights(subject: Subject, batch: Arrays, name: str) -> int:
    """Raise PropertyError for the first token whose gradient is another; how many have one."""
    advantage, free, expected = reinforced(subject.raw, batch)
    got = subject.policy_gradient(batch)
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        raise PropertyError(f"{name}: the gradient is not finite")
    wrong = weighs_otherwise(got, expected, free)
    if wrong.any():
        place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        raise _OtherWeightError(
            f"{name}: at {position(place)}, where A is {advantage[place]:.4g}, the gradient is {got[place]:.4g}, and "
            f"-A times the weight of `reduce` is {expected[place]:.4g}{others(int(wrong.sum()) - 1)}"
        )
    return int((expected != 0).sum())
