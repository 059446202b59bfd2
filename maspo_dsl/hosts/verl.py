"""Objectives as policy losses and advantage estimators of verl 0.9.

verl asks for the loss of one micro-batch, divided by counts of the whole mini-batch and multiplied by the number of
ranks, whose gradients it averages (`agg_loss` of verl.trainer.ppo.core_algos). Those counts are the denominators of a
window. Its policy losses see log-probs of two policies; the reference's, the sampler's and the entropies reach the loss
that calls them, `ppo_loss` of verl.workers.utils.losses, so that is replaced for objectives of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from sys import modules
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import maspo_dsl
from maspo_dsl.hosts.shared import Host, HostError, lacking, lines, undivided
from maspo_dsl.importing.options import About
from maspo_dsl.importing.verl_options import ACTOR, OPTIONS
from maspo_dsl.objective import Objective, SpecLike
from maspo_dsl.runtime.loss import ObjectiveLoss

PREFIX = "maspo/"
WEIGHTS = "rollout_is_weights"
VERL = Host(
    "verl",
    "verl",
    versions=((0, 9), (0, 10)),
    tensors={
        "advantage": "advantages",
        "logp_old": "old_log_probs",
        "logp_ref": "ref_log_prob",
        "logp_rollout": "rollout_log_probs",
        "mask": "response_mask",
        WEIGHTS: WEIGHTS,
    },
    how={
        "logp_ref": "actor_rollout_ref.actor.use_kl_loss=True brings it; the coefficient is the spec's",
        "logp_rollout": "actor_rollout_ref.rollout.calculate_log_probs=True brings it",
        "entropy": "actor_rollout_ref.actor.calculate_entropy=True brings it",
        "value": "a registered estimator sees no critic; use algorithm.adv_estimator=gae",
        "reward_greedy": "only algorithm.adv_estimator=remax samples the greedy completion",
    },
    counts=frozenset({"tokens", "sequences"}),
)
# Settings of the actor that reach an objective: its name, what brings tensors, and a constant of the run.
_HEEDED = {
    f"{ACTOR}.{name}"
    for name in ("policy_loss.loss_mode", "use_kl_loss", "entropy_coeff", "loss_scale_factor")
}
# Those that the spec decides.
IGNORED = tuple(
    row
    for row in OPTIONS.values()
    if row.about is About.OBJECTIVE and row.name.startswith(f"{ACTOR}.") and row.name not in _HEEDED
)
# Metrics that have a value in every micro-batch: verl takes plain means of them.
METRICS = ("ratio_mean", "clamped", "nonfinite")


@dataclass(frozen=True)
class Hosted:
    """An objective under its name in verl, `maspo/NAME`."""

    name: str
    objective: Objective

    def loss(self, constants: Mapping[str, float], weighted: bool = False) -> ObjectiveLoss:
        """The compiled loss under constants of the run, its policy term times `rollout_is_weights` if `weighted`."""
        return _compiled(self.objective, tuple(sorted(constants.items())), weighted)


@cache
def _compiled(
    objective: Objective, constants: tuple[tuple[str, float], ...], weighted: bool
) -> ObjectiveLoss:
    bound = maspo_dsl.load(objective, run=dict(constants))
    if weighted:
        weight = f"input {WEIGHTS} : token\nweight {WEIGHTS} = {WEIGHTS}\n"
        bound = maspo_dsl.parse(f"{bound.text}\n{weight}")
    return maspo_dsl.compile(bound)


HOSTED: dict[str, Hosted] = {}


def register(*sources: SpecLike, params: Mapping[str, float] | None = None) -> dict[str, str]:
    """Make objectives known to verl in this process; {name of the objective: its name in verl}.

    Each becomes a policy loss, for `actor_rollout_ref.actor.policy_loss.loss_mode`, and an advantage estimator, for
    `algorithm.adv_estimator`, of the same name. Nothing is compiled before it is used. Raises SpecError, and
    HostError: the verl that is installed is none of those this was tried with.
    """
    VERL.check_version()
    algorithms = import_module("verl.trainer.ppo.core_algos")
    _replace_ppo_loss()
    names = {}
    for source in sources:
        objective = maspo_dsl.load(source, params)
        shown = source if isinstance(source, str) and "@" in source and "/" not in source else objective.name
        hosted = Hosted(f"{PREFIX}{shown}", objective)
        HOSTED[hosted.name] = hosted
        algorithms.POLICY_LOSS_REGISTRY[hosted.name] = partial(policy_loss, hosted)
        algorithms.ADV_ESTIMATOR_REGISTRY[hosted.name] = partial(advantage_estimator, hosted)
        names[objective.name] = hosted.name
    return names


def settings(source: SpecLike, params: Mapping[str, float] | None = None) -> dict[str, str]:
    """What verl is told to train with an objective, as its overrides: {key: value}. verl need not be installed.

    Raises SpecError, and HostError: verl cannot compute it.
    """
    objective = maspo_dsl.load(source, params)
    hosted = Hosted(f"{PREFIX}{objective.name}", objective)
    reads = objective.reads("loss", given=["advantage"])
    _check_brought(hosted, {"logp", "logp_old", "logp_ref", "logp_rollout", "entropy"}, "loss")
    _check_brought(hosted, {"reward", "token_reward", "group", "correct"}, "advantage")
    _check_counts(hosted, hosted.objective)
    found = {
        "algorithm.adv_estimator": hosted.name,
        "algorithm.use_kl_in_reward": "False",
        "actor_rollout_ref.actor.policy_loss.loss_mode": hosted.name,
        "actor_rollout_ref.actor.use_kl_loss": str("logp_ref" in reads),
        "actor_rollout_ref.actor.entropy_coeff": "0",
        "actor_rollout_ref.actor.calculate_entropy": str("entropy" in reads),
        "actor_rollout_ref.rollout.calculate_log_probs": str("logp_rollout" in reads),
    }
    if objective.keeps:
        found |= {"algorithm.filter_groups.enable": "True", "algorithm.filter_groups.metric": "reward"}
    return found


def policy_loss(
    hosted: Hosted,
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """verl's signature of a policy loss: tensors are [N, T]; the loss, 0-d, and metrics for its logs.

    `loss_agg_mode` is the spec's to say. Raises HostError: the objective needs what a policy loss does not see.
    """
    batch = {
        "logp": log_prob,
        "logp_old": old_log_prob,
        "advantage": advantages,
        "mask": response_mask.bool(),
    }
    batch |= {} if rollout_is_weights is None else {WEIGHTS: rollout_is_weights}
    return _loss(hosted, batch, config, {**config.global_batch_info})


def ppo_loss(
    config: Any, model_output: Any, data: Any, dp_group: Any = None
) -> tuple[Tensor, dict[str, Any]]:
    """verl's loss of a micro-batch (verl.workers.utils.losses.ppo_loss 0.9.1): verl's own, but for our objectives.

    Of those it brings the reference, the sampler and the entropies too. Entropy and KL are the spec's: verl's are not
    added. Raises HostError: something that the objective needs is not in the batch, or verl would add its own.
    """
    hosted = HOSTED.get(config.policy_loss.get("loss_mode", "vanilla"))
    if hosted is None:
        return _ORIGINAL[-1](config=config, model_output=model_output, data=data, dp_group=dp_group)  # type: ignore[no-any-return]
    check_spec_decides(hosted, config)
    aligned = import_module("verl.workers.utils.padding").no_padding_2_padding
    counts = {name: data[name] for name in ("dp_size", "batch_num_tokens", "global_batch_size")}
    log_prob, entropy = aligned(model_output["log_probs"], data), model_output.get("entropy", None)
    entropy = None if entropy is None else aligned(entropy, data)
    batch = VERL.batch(
        data.select(*(name for name in VERL.tensors.values() if name in data)).to_padded_tensor()
    )
    batch |= {"logp": log_prob, "mask": batch["mask"].bool()} | (
        {} if entropy is None else {"entropy": entropy}
    )
    loss, found = _loss(hosted, batch, config, counts)
    metric = import_module("verl.utils.metric").Metric
    metrics = {name: metric(value=value, aggregation="mean") for name, value in found.items()}
    return loss, metrics | {"actor/pg_loss": metric(value=loss.detach(), aggregation="sum")}


def advantage_estimator(
    hosted: Hosted,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    config: Any = None,
    index: NDArray[Any] | None = None,
    reward_baselines: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """verl's signature of an estimator: rewards and mask are [N, T], `index` [N] says which prompt; A [N, T] twice.

    A completion's reward is the sum of its tokens'. Raises HostError: the advantage needs something else, or `keep`
    drops groups and verl does not.
    """
    limit, largest = token_level_rewards.shape[1], 1
    batch = {
        "mask": response_mask.bool(),
        "reward": token_level_rewards.sum(-1),
        "token_reward": token_level_rewards,
    }
    if index is not None:
        _, group, sizes = np.unique(np.asarray(index).astype(str), return_inverse=True, return_counts=True)
        largest = int(sizes.max())
        batch["group"] = torch.from_numpy(group).to(response_mask.device)
    if reward_baselines is not None:
        batch["reward_greedy"] = reward_baselines
    _check_keep(hosted, config)
    _check_brought(hosted, {*batch, "correct"}, "advantage")
    loss = hosted.loss({"generation_limit": limit, "group_size": largest})
    advantage = loss.advantage(batch)
    spread = (advantage if advantage.dim() == 2 else advantage[:, None]) * response_mask
    return spread, spread


def check_spec_decides(hosted: Hosted, config: Any) -> None:
    """Warn of settings that the spec decides. Raises HostError: verl would compute a term that nobody adds."""
    reads = hosted.objective.reads("loss", given=["advantage"])
    if config.use_kl_loss and "logp_ref" not in reads:
        raise HostError(
            f"{hosted.name}: actor.use_kl_loss=True means nothing to a spec without reference; "
            f"write it: penalty kl = {config.kl_loss_coef} * k3(policy, reference)"
        )
    if config.entropy_coeff and "entropy" not in reads:
        raise HostError(
            f"{hosted.name}: actor.entropy_coeff={config.entropy_coeff} means nothing to a spec without entropy; "
            f"write it: bonus entropy = {config.entropy_coeff} * entropy(policy)"
        )
    for row in IGNORED:
        value = _setting(config, *row.name.removeprefix(f"{ACTOR}.").split("."))
        if value not in (row.default, None):
            _warn_once(
                f"{hosted.name}: {row.name}={value} is the spec's to say, and is not read; "
                f"as a line it would be: {row.line(value)}"
            )


def _loss(
    hosted: Hosted, batch: dict[str, Tensor], config: Any, counts: Mapping[str, Any]
) -> tuple[Tensor, dict[str, float]]:
    """The loss times the number of ranks, and metrics, as verl wants them."""
    weighted = WEIGHTS in batch
    _check_brought(hosted, batch, "loss")
    if weighted and "logp_rollout" in hosted.objective.reads("loss", given=["advantage"]):
        raise HostError(
            f"{hosted.name}: the spec corrects for the sampler itself, and algorithm.rollout_correction would "
            "once more; set its rollout_is to null"
        )
    loss = hosted.loss(_constants(config), weighted)
    out = loss(batch, denominators=_denominators(hosted, loss, batch, counts))
    metrics = {f"objective/{name}": float(out.metrics[name]) for name in METRICS if name in out.metrics}
    return out.loss * counts.get("dp_size", 1), metrics


def _constants(config: Any) -> dict[str, float]:
    """Constants of the run that an actor's configuration knows."""
    said = {
        "generation_limit": _setting(config, "loss_scale_factor"),
        "group_size": _setting(config, "rollout_n"),
    }
    return {name: float(value) for name, value in said.items() if isinstance(value, int | float)}


def _denominators(
    hosted: Hosted, loss: ObjectiveLoss, batch: Mapping[str, Tensor], counts: Mapping[str, Any]
) -> dict[str, Tensor] | None:
    """verl's counts of the mini-batch under our names; None if it has none, and the batch is all there is."""
    known = {"tokens": counts.get("batch_num_tokens"), "sequences": counts.get("global_batch_size")}
    if all(value is None for value in known.values()):
        if counts.get("dp_size", 1) > 1:
            raise HostError(f"{hosted.name}: with several ranks verl must give batch_num_tokens")
        return None
    _check_counts(hosted, loss.objective)
    device, dtype = batch["logp"].device, torch.float64
    return {
        name: torch.as_tensor(0 if value is None else value, device=device, dtype=dtype)
        for name, value in known.items()
    }


def _check_counts(hosted: Hosted, objective: Objective) -> None:
    """Raise HostError where the tokens and sequences of a mini-batch are not all that its parts divide by."""
    if reasons := undivided(VERL, objective):
        raise HostError(f"{hosted.name}: {'; '.join(reasons.values())}")


def _check_brought(hosted: Hosted, brought: Collection[str], purpose: str) -> None:
    given = ["advantage"] if purpose == "loss" else []
    missing = lacking(hosted.objective, brought, purpose, given=given)
    if missing:
        what = "; ".join(f"{text} ({VERL.how.get(name, 'it has none')})" for name, text in missing.items())
        raise HostError(f"{hosted.name}: verl does not bring {what}")


def _check_keep(hosted: Hosted, config: Any) -> None:
    rules = lines(hosted.objective, "keep")
    if rules and not _setting(config, "filter_groups", "enable"):
        raise HostError(
            f"{hosted.name}: `keep` is verl's to apply, by algorithm.filter_groups.enable=True with the metric that it "
            f"should look at: {'; '.join(rules)}"
        )
    if _setting(config, "rollout_correction", "bypass_mode"):
        raise HostError(
            f"{hosted.name}: algorithm.rollout_correction.bypass_mode=True replaces the loss by verl's own"
        )


def _setting(config: Any, *path: str) -> Any:
    for name in path:
        config = None if config is None else config.get(name, None)
    return config


def _replace_ppo_loss() -> None:
    """Let the workers of this process compute objectives of ours, those that have imported verl's loss already too."""
    losses = import_module("verl.workers.utils.losses")
    if losses.ppo_loss is not ppo_loss:
        _ORIGINAL.append(losses.ppo_loss)
    for name in (
        "verl.workers.utils.losses",
        "verl.workers.engine_workers",
        "verl.trainer.distillation.losses",
    ):
        if name in modules:
            modules[name].ppo_loss = ppo_loss  # type: ignore[attr-defined]


_ORIGINAL: list[Callable[..., Any]] = []
_WARNED: set[str] = set()


def _warn_once(text: str) -> None:
    if text not in _WARNED:
        _WARNED.add(text)
        warnings.warn(text, stacklevel=2)
