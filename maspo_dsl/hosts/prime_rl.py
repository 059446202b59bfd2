"""Objectives as losses of prime-rl: `trainer.loss.import_path = "maspo_dsl.hosts.prime_rl.loss"`.

prime-rl calls a loss once a completion, adds up what it returns over micro-batches and ranks, and divides by the
trained tokens of the whole step (`compute_loss` of prime_rl.trainer.rl.loss).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from maspo_dsl.hosts.shared import Carried, Host, HostError, carried

PRIME_RL = Host(
    "prime-rl",
    "prime-rl",
    tensors={
        "logp": "trainer_logprobs",
        "logp_old": "inference_logprobs",
        "logp_rollout": "inference_logprobs",
        "logp_ref": "ref_logprobs",
        "advantage": "advantages",
        "mask": "loss_mask",
    },
    seen="559b44772e471d1538537b8805cc77f3824a5e64",
    divides_by=frozenset({"tokens"}),
)


@cache
def _carried(objective: str, params: tuple[tuple[str, float], ...]) -> Carried:
    return carried(PRIME_RL, objective, dict(params))


def loss(inputs: Any, objective: str, params: Mapping[str, float] | None = None) -> Any:
    """prime-rl's signature: a LossInputs of one completion, [T] each, to its LossOutputs.

    `objective` and `params` come from `trainer.loss.kwargs`. Raises SpecError and HostError.
    """
    ours = _carried(objective, tuple(sorted((params or {}).items())))
    if inputs.loss_weights is not None:
        raise HostError(
            f"{objective} in prime-rl: loss_weights would weigh a policy term that they are no part of"
        )
    given = {name: getattr(inputs, theirs) for name, theirs in PRIME_RL.tensors.items()}
    if given["logp_ref"] is None and "logp_ref" in ours.loss.objective.reads("loss"):
        raise HostError(f"{objective} in prime-rl: it reads the reference, and this step has no ref_logprobs")
    batch = {name: value[None] for name, value in given.items() if value is not None}
    out = ours(batch, {})
    outputs = import_module("prime_rl.trainer.rl.loss").LossOutputs
    names = ("ratio_mean", "clamped", "nonfinite")
    return outputs(
        loss=out.loss, metrics={name: out.metrics[name].detach() for name in names if name in out.metrics}
    )
