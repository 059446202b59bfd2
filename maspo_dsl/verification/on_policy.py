"""On policy, where all ratios are 1, every objective is REINFORCE: the gradient of a token is minus its advantage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays, on_policy
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.semantics.types import Axis
from maspo_dsl.verification.evaluation import PropertyError, others, position
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject

SEEDS = (5, 6)
CODE = "on-policy-weight"
_LEAF = "policy term of a token"


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
    except PropertyError as failed:
        why = subject.allowed(CODE)
        if why is None:
            raise PropertyError(f'{failed}; if that is meant: allow {CODE} "why"') from None
        return "declared", f"{why} ({failed})"
    return "pass", f"{tokens} tokens learn with the weight of their advantage"


def _check_weights(subject: Subject, batch: Arrays, name: str) -> int:
    """Raise PropertyError for the first token whose gradient is another; how many have one."""
    interpretation = Interpretation(subject.raw, batch)
    shape = batch["mask"].shape
    interpretation.output("policy_loss")
    advantage = np.broadcast_to(interpretation.batch["advantage"], shape)
    free = _boolean(interpretation, "trained", shape) & interpretation.batch["mask"]
    if "muted" in subject.raw.outputs:
        free &= ~_boolean(interpretation, "muted", shape)
    for key in subject.ids:
        # What is in no cell of a scope has no ratio.
        free &= batch[key] >= 0 if batch[key].ndim == 2 else (batch[key] >= 0)[:, None]
    expected = np.where(free, -advantage * _weights_of_reduce(subject.raw, batch, interpretation), 0.0)
    if not np.abs(expected).max() > 1e-12:
        raise PropertyError(
            f"no token of the {name} has an advantage and is free to learn, so that nothing is tested"
        )
    got = subject.policy_gradient(batch)
    wrong = free & ~(np.abs(got - expected) <= 1e-9 * (np.abs(expected) + np.abs(expected).max()))
    if wrong.any():
        place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        raise PropertyError(
            f"{name}: at {position(place)}, where A is {advantage[place]:.4g}, the gradient is {got[place]:.4g}, and "
            f"-A times the weight of `reduce` is {expected[place]:.4g}{others(int(wrong.sum()) - 1)}"
        )
    return int((expected != 0).sum())


def _boolean(interpretation: Interpretation, output: str, shape: tuple[int, ...]) -> Array:
    value = interpretation.output(output).astype(bool)
    return np.array(np.broadcast_to(value, shape))


def _weights_of_reduce(graph: Graph, batch: Arrays, interpretation: Interpretation) -> Array:
    """What a unit of each token's policy term adds to the reduced one, `[N, T]`: the term is made an input."""
    place = graph.outputs["policy_term"]
    leaf = Node("input", (), Axis.TOKEN, live=True, attributes=(("name", _LEAF),))
    nodes = (*graph.nodes[:place], replace(leaf, name=graph.nodes[place].name), *graph.nodes[place + 1 :])
    term = np.broadcast_to(interpretation.output("policy_term"), batch["mask"].shape)
    return Interpretation(Graph(nodes, graph.outputs), {**batch, _LEAF: term}).gradient("policy_loss", _LEAF)
