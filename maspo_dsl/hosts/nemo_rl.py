"""Objectives as losses of NeMo-RL, for the place of `ClippedPGLossFn(…)` in `setup` of nemo_rl.algorithms.grpo.

NeMo-RL gives the valid sequences and tokens of the whole step, sums over micro-batches and multiplies by the number of
ranks, whose gradients it averages. A split trainer gives 1 for both and divides by that of `loss_type` itself, so a
loss must be a plain mean of one kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from maspo_dsl.analysis.homogeneity import divisors
from maspo_dsl.hosts.shared import Host, carried
from maspo_dsl.objective import SpecLike

NEMO_RL = Host(
    "NeMo-RL",
    "nemo-rl",
    tensors={
        "logp": "next_token_logprobs",
        "logp_old": "prev_logprobs",
        "logp_rollout": "generation_logprobs",
        "logp_ref": "reference_policy_logprobs",
        "advantage": "advantages",
        "mask": "token_mask",
    },
    seen="7ea279abfbeb698b092856d0dab61e7cf39bc909",
    divides_by=frozenset({"tokens", "sequences"}),
)


class ObjectiveLossFn:
    """A LossFunction of NeMo-RL. Raises SpecError and HostError."""

    def __init__(self, objective: SpecLike, params: Mapping[str, float] | None = None) -> None:
        self.carried = carried(NEMO_RL, objective, params)
        interfaces = import_module("nemo_rl.algorithms.loss.interfaces")
        by_tokens = "tokens" in divisors(self.carried.loss.objective.graph)
        self.loss_type = interfaces.LossType.TOKEN_LEVEL if by_tokens else interfaces.LossType.SEQUENCE_LEVEL
        self.input_type = interfaces.LossInputType.LOGPROB

    def __call__(
        self, next_token_logprobs: Tensor, data: Any, global_valid_seqs: Tensor, global_valid_toks: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a micro-batch, 0-d, and its metrics; tensors of `data` are [N, T + 1], the first is no target."""
        theirs = {
            name: key for name, key in NEMO_RL.tensors.items() if name not in ("logp", "mask") and key in data
        }
        batch = {name: data[key][:, 1:] for name, key in theirs.items()}
        batch["mask"] = data["token_mask"][:, 1:] * data["sample_mask"][:, None] > 0
        counts = {"tokens": global_valid_toks, "sequences": global_valid_seqs}
        out = self.carried({**batch, "logp": next_token_logprobs}, counts)
        metrics: dict[str, Any] = {
            name: out.metrics[name].item() for name in ("ratio_mean", "clamped") if name in out.metrics
        }
        valid = int(batch["mask"].any(1).sum())
        return out.loss, {"loss": out.loss.item(), "num_valid_samples": valid, **metrics}
