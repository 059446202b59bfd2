"""Objectives for Tinker: `training_client.forward_backward_custom(data, custom_loss("maspo"))`.

Tinker gives a loss the log-probs of every datum and takes its gradient by them; one call is one optimizer step,
unless denominators of a longer one are given. A service that runs no code of its users can be sent the graph of an
objective as plain data (`graph_data`), which names operations of a closed list, and evaluate that (`evaluated`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.plain import as_data, from_data
from maspo_dsl.hosts.shared import Host, HostError, carried
from maspo_dsl.objective import SpecLike, load

TINKER = Host(
    "Tinker",
    "tinker",
    tensors={
        "logp": "logprobs, the argument",
        "logp_old": "logprobs",
        "logp_rollout": "logprobs",
        "advantage": "advantages",
        "mask": "mask",
    },
    seen="1e5777ef1e0bb2bae6d9b8d63a6144eec405377d",
)
CustomLoss = Callable[[Sequence[Any], Sequence[Tensor]], tuple[Tensor, dict[str, float]]]


def custom_loss(
    objective: SpecLike,
    params: Mapping[str, float] | None = None,
    *,
    denominators: Mapping[str, float] | None = None,
) -> CustomLoss:
    """Tinker's signature of a loss, (data, logprobs). Raises SpecError and HostError.

    A datum's `loss_fn_inputs` have `logprobs` of the sampler, `advantages` and `mask`, one number a target token each.
    `denominators` are those of the whole step, where a step is more than one call.
    """
    ours = carried(TINKER, objective, params)
    name = ours.loss.objective.name
    if denominators is not None and (missing := ours.loss.module.window_keys() - set(denominators)):
        raise HostError(f"{name} in Tinker: denominators lack {', '.join(sorted(missing))}")

    def loss(data: Sequence[Any], logprobs: Sequence[Tensor]) -> tuple[Tensor, dict[str, float]]:
        batch: dict[str, Tensor] = {"logp": torch.cat(list(logprobs))}
        for tensor, theirs in TINKER.tensors.items():
            if tensor == "logp":
                continue
            if lacking := [place for place, datum in enumerate(data) if theirs not in datum.loss_fn_inputs]:
                raise HostError(f"{name} in Tinker: loss_fn_inputs of datum {lacking[0]} lack `{theirs}`")
            batch[tensor] = torch.cat([datum.loss_fn_inputs[theirs].to_torch() for datum in data])
        lengths = torch.tensor([len(each) for each in logprobs])
        batch["mask"] = batch["mask"] > 0
        batch["sequence"] = torch.arange(len(lengths)).repeat_interleave(lengths)
        out = ours(batch, denominators)
        return out.loss, {key: float(value) for key, value in out.metrics.items()}

    return loss


def graph_data(objective: SpecLike, params: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The loss of an objective as plain data, for JSON: operations of a closed list, and no code."""
    return as_data(load(objective, params).graph)


def evaluated(
    data: Mapping[str, Any], batch: Mapping[str, ArrayLike], denominators: Mapping[str, float] | None = None
) -> tuple[float, NDArray[Any]]:
    """The loss of plain data on a padded batch, in float64, and its gradient by `logp`, [N, T].

    Raises ValueError: an operation is none of the list.
    """
    interpretation = Interpretation(from_data(data), batch, denominators=denominators)
    return float(interpretation.output("loss")), interpretation.gradient("loss")
