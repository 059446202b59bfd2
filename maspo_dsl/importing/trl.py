"""The spec that options of TRL's GRPOConfig mean, part by part, as grpo_trainer.py of 1.16.0 computes them."""

from __future__ import annotations

from collections.abc import Iterator

from maspo_dsl.importing.draft import Draft, DraftParameter
from maspo_dsl.importing.options import About, Option, Settings, SettingsError, table
from maspo_dsl.importing.trl_options import CLIPPED, OPTIONS, VERSION

TITLE = f"TRL {VERSION}"
ALL_OPTIONS = {
    **OPTIONS,
    **table(Option("reward_funcs", 2, "count", About.ADVANTAGE, "the number of rewards", low=1)),
}
"""Those of GRPOConfig, and how many reward functions GRPOTrainer is given."""

_REAL = "(-inf, inf)"
_NOT_NEGATIVE = "[0, inf)"
# loss_type: how the losses of tokens become one number.
_REDUCTIONS = {
    "grpo": "loss |> mean(sequence) |> mean(window)",
    "sapo": "loss |> mean(sequence) |> mean(window)",
    "bnpo": "loss |> mean(micro)",
    "dr_grpo": "loss / max_length |> sum(sequence) |> mean(window)",
    "luspo": "loss |> sum(sequence) |> mean(window)",
    "cispo": "loss |> mean(window)",
    "dapo": "loss |> mean(window)",
    "vespo": "loss |> mean(window)",
}
_COUNTS_TOKENS = frozenset({"bnpo", "cispo", "dapo", "vespo"})
"""Values of loss_type that divide by trained tokens, so that a row that truncation empties leaves the denominator."""


def draft(settings: Settings) -> Draft:
    """The spec of a whole GRPOConfig. Raises SettingsError for what TRL itself refuses or no spec can say."""
    _refuse(settings)
    ratio, params = _ratio(settings)
    lets: dict[str, str] = {}
    parts: dict[tuple[str, str], str] = {}
    if settings["mask_truncated_completions"]:
        parts["exclude" if _counts_tokens(settings) else "mute", "cut"] = "truncated"
    if settings["off_policy_mask_threshold"] is not None:
        sampler = "rollout" if settings["use_vllm"] else "old"
        params["delta_off"] = DraftParameter(
            settings["off_policy_mask_threshold"], _REAL, "mean log-ratio, in nats a token, that is too far"
        )
        parts["mute", "stale"] = f"A < 0 and mean(k1({sampler}, policy), sequence) > delta_off"
    _add_entropy(settings, params, lets, parts)
    if _corrects(settings) and settings["loss_type"] != "vespo":
        _add_correction(settings, params, lets, parts)
    if settings["beta"]:
        params["kl"] = DraftParameter(settings["beta"], _NOT_NEGATIVE, "weight of the KL term")
        parts["penalty", "kl"] = _unless_cut(settings, f"kl * {_kl(settings)}")
    if settings["loss_type"] == "vespo" and _corrects(settings):
        _add_vespo_correction(settings, params, lets)
    advantage, inputs = _advantage(settings)
    if settings["loss_type"] == "dr_grpo":
        params["max_length"] = DraftParameter(
            settings["max_completion_length"],
            "[1, inf)",
            "the constant that every completion is divided by, in tokens",
            bind="generation_limit",
        )
    return Draft(
        name=f"trl_{settings['loss_type']}",
        meaning=f"What {TITLE} computes with loss_type {settings['loss_type']}",
        source=f"{TITLE} grpo_trainer.py",
        ratio=ratio,
        reduce=_REDUCTIONS[settings["loss_type"]],
        advantage=advantage,
        params=params,
        inputs=inputs,
        lets=lets,
        parts=parts,
        allows={"micro-scope": "as the source does"} if _reads_micro(settings) else {},
        differs=tuple(_differs(settings)),
    )


def _counts_tokens(settings: Settings) -> bool:
    return settings["loss_type"] in _COUNTS_TOKENS


def _corrects(settings: Settings) -> bool:
    return bool(settings["use_vllm"] and settings["vllm_importance_sampling_correction"])


def _reads_micro(settings: Settings) -> bool:
    return bool(
        settings["loss_type"] == "bnpo" or settings["top_entropy_quantile"] < 1 or settings["entropy_coef"]
    )


# ---- the ratio


def _importance(settings: Settings) -> str:
    """The importance ratio before any bound."""
    return "policy / old" + (
        " |> geomean(sequence)" if settings["importance_sampling_level"] == "sequence" else ""
    )


def _ratio(settings: Settings) -> tuple[str, dict[str, DraftParameter]]:
    """The ratio, and the parameters that it reads."""
    raw = _importance(settings)
    match settings["loss_type"]:
        case "cispo":
            cap = DraftParameter(
                _epsilon_high(settings), _NOT_NEGATIVE, "largest weight: absolute, not an offset from 1"
            )
            return f"{raw} |> min(cap) |> score", {"cap": cap}
        case "sapo":
            taus = {
                f"tau_{side}": DraftParameter(
                    settings[f"sapo_temperature_{side}"], "(0, inf)", "steepness of the gate"
                )
                for side in ("pos", "neg")
            }
            return f"{raw} |> sigmoid_gate(tau_pos if A > 0 else tau_neg)", taus
        case "vespo":
            return _vespo(settings)
        case _:
            return _clipped(settings, raw)


def _clipped(settings: Settings, raw: str) -> tuple[str, dict[str, DraftParameter]]:
    params = {
        "eps_low": DraftParameter(settings["epsilon"], _NOT_NEGATIVE, "clip offset below 1"),
        "eps_high": DraftParameter(_epsilon_high(settings), _NOT_NEGATIVE, "clip offset above 1"),
    }
    clip = "clip(1 - eps_low, 1 + eps_high)"
    if settings["delta"] is None:
        return f"{raw} |> {clip}", params
    params["delta"] = DraftParameter(settings["delta"], "(0, inf)", "largest ratio on either side")
    if settings["delta"] >= 1 + _epsilon_high(settings):
        return f"{raw} |> min(delta) as upper |> {clip}", params
    # Below the clip's upper bound, the bound of the unclipped branch alone leaves a bad token to the clipped one.
    bounds = "clamp(1 - eps_low, 1 + eps_high) as both when A < 0"
    return f"{raw} |> min(min(delta, 1 + eps_high)) as upper when A > 0 |> {bounds}", params


def _vespo(settings: Settings) -> tuple[str, dict[str, DraftParameter]]:
    params = {
        f"{kind}_{side}": DraftParameter(settings[f"vespo_{kind}_{side}"], "[0, inf)", meaning)
        for side in ("pos", "neg")
        for kind, meaning in (("k", "shape of the kernel"), ("lambda", "rate of the kernel"))
    }
    gates = (
        "clamp(1e-8, exp(20)) as bounds |> gamma_gate(k_pos, lambda_pos) as keep_good when A >= 0"
        " |> gamma_gate(k_neg, lambda_neg) as keep_bad when A < 0 |> score"
    )
    if not _corrects(settings):
        return f"policy / old |> prod(sequence) |> {gates}", params
    return f"exp(sum(log(policy / old) + log(correction), sequence)) |> {gates}", params


def _epsilon_high(settings: Settings) -> float:
    return float(settings["epsilon"] if settings["epsilon_high"] is None else settings["epsilon_high"])


# ---- what is added, weighed and left out


def _kl(settings: Settings) -> str:
    """The KL estimator, in the units of one token."""
    plain = "k3(policy, reference)"
    if not settings["use_bias_correction_kl"]:
        return plain
    token = settings["importance_sampling_level"] == "token"
    return f"{plain} * {'(policy / old)' if token else 'geomean(policy / old, sequence)'}"


def _unless_cut(settings: Settings, value: str) -> str:
    """A value of tokens that rows emptied by truncation do not have; excluded rows have nothing anyway."""
    cut = settings["mask_truncated_completions"] and not _counts_tokens(settings)
    return f"0 if truncated else {value}" if cut else value


def _add_entropy(
    settings: Settings,
    params: dict[str, DraftParameter],
    lets: dict[str, str],
    parts: dict[tuple[str, str], str],
) -> None:
    """The rule about entropy, and the bonus, which is of the tokens that the rule leaves."""
    cut, chosen = settings["mask_truncated_completions"], settings["top_entropy_quantile"] < 1
    if chosen:
        params["share"] = DraftParameter(
            settings["top_entropy_quantile"], "[0, 1]", "share of tokens that are trained"
        )
        among = ", of = not truncated, empty = 0" if cut else ""
        confident = f"entropy(policy) < quantile(entropy(policy), 1 - share, micro{among})"
        parts["mute", "confident"] = confident
    if not settings["entropy_coef"]:
        return
    params["entropy_coef"] = DraftParameter(settings["entropy_coef"], _REAL, "weight of the entropy bonus")
    left = [f"not ({confident})"] if chosen else []
    left += ["not truncated"] if cut else []
    if not left:
        parts["bonus", "entropy"] = "entropy_coef * mean(entropy(policy), micro)"
        return
    lets["counted"] = f"per_token(1 if {' and '.join(left)} else 0)"
    parts["bonus", "entropy"] = (
        "entropy_coef * sum(counted * entropy(policy), micro) / max(sum(counted, micro), 1)"
    )


def _add_correction(
    settings: Settings,
    params: dict[str, DraftParameter],
    lets: dict[str, str],
    parts: dict[tuple[str, str], str],
) -> None:
    """The weight that corrects for vLLM: bounded, or muted where it is out of bounds."""
    level, _, what = settings["vllm_importance_sampling_mode"].partition("_")
    lets["mismatch"] = "old / rollout" + (" |> prod(sequence)" if level == "sequence" else "")
    bounds = _correction_bounds(settings, params)
    weight = "mismatch"
    if what == "truncate":
        # As torch.clamp: the upper bound last.
        weight += "".join(f" |> {'max' if low else 'min'}({name})" for name, low in bounds)
    elif bounds:
        parts["mute", "disagreeing"] = " or ".join(
            f"mismatch {'<' if low else '>'} {name}" for name, low in bounds
        )
    parts["weight", "correction"] = weight


def _correction_bounds(settings: Settings, params: dict[str, DraftParameter]) -> list[tuple[str, bool]]:
    """The parameters that bound the correction, each with whether it is the lower one."""
    low, high = _limits(settings)
    bounds = []
    if low is not None:
        params["is_min"] = DraftParameter(low, _REAL, "smallest correction for the sampler")
        bounds.append(("is_min", True))
    if high is not None:
        params["is_max"] = DraftParameter(high, _NOT_NEGATIVE, "largest correction for the sampler")
        bounds.append(("is_max", False))
    return bounds


def _limits(settings: Settings) -> tuple[float | None, float | None]:
    cap = settings["vllm_importance_sampling_cap"]
    high = settings["vllm_importance_sampling_clip_max"] if cap is None else cap
    return settings["vllm_importance_sampling_clip_min"], high


def _add_vespo_correction(
    settings: Settings, params: dict[str, DraftParameter], lets: dict[str, str]
) -> None:
    """VESPO's product has a factor for the sampler, at least 1e-8 a token."""
    mismatch = "old / rollout"
    bounds = _correction_bounds(settings, params)
    if settings["vllm_importance_sampling_mode"] == "token_truncate":
        mismatch += "".join(f" |> {'max' if low else 'min'}({name})" for name, low in bounds)
    elif bounds:
        outside = " or ".join(f"old / rollout {'<' if low else '>'} {name}" for name, low in bounds)
        mismatch = f"1e-8 if {outside} else old / rollout"
    lets["correction"] = f"max({mismatch}, 1e-8)" if "if" in mismatch else f"{mismatch} |> max(1e-8)"


# ---- the advantage


def _advantage(settings: Settings) -> tuple[str, dict[str, str]]:
    """The advantage, and the inputs that it reads."""
    if settings["multi_objective_aggregation"] == "normalize_then_sum":
        weights = settings["reward_weights"] or [1.0] * settings["reward_funcs"]
        names = [f"reward_{number}" for number in range(1, len(weights) + 1)]
        terms = [
            f"{weight!r} * whiten({name}, group, 1, 1e-4)"
            for name, weight in zip(names, weights, strict=True)
        ]
        return f"({' + '.join(terms)}) |> whiten(rollout_batch, 1, 1e-4)", dict.fromkeys(names, "sequence")
    match settings["scale_rewards"]:
        case "group":
            return "reward |> center(group) |> scale(group, ddof = 1, eps = 1e-4)", {}
        case "batch":
            return "center(reward, group) / (std(reward, rollout_batch) + 1e-4)", {}
        case _:
            return "reward |> center(group)", {}


# ---- what is said beside it


def _refuse(settings: Settings) -> None:
    """Raise SettingsError for the combinations that TRL refuses and those that no spec can say."""
    vespo = settings["loss_type"] == "vespo"
    mode = settings["vllm_importance_sampling_mode"]
    low, high = _limits(settings)
    if settings["use_adaptive_entropy"]:
        raise SettingsError(
            f"use_adaptive_entropy cannot be imported: {OPTIONS['use_adaptive_entropy'].says}"
        )
    if settings["loss_type"] == "dr_grpo" and settings["max_completion_length"] is None:
        raise SettingsError(
            "loss_type dr_grpo divides by max_completion_length, which is null: give a number"
        )
    if not _corrects(settings):
        return
    if vespo and mode not in ("token_truncate", "token_mask"):
        raise SettingsError(
            f"{TITLE} refuses loss_type vespo with vllm_importance_sampling_mode {mode}, which is what use_vllm means "
            "unless set: token_truncate or token_mask"
        )
    if low is not None and high is not None and low >= high:
        raise SettingsError(f"{TITLE} refuses a vllm_importance_sampling_clip_min that is not below clip_max")
    if mode.endswith("truncate") and low is None and high is None:
        raise SettingsError(
            f"{TITLE} refuses {mode} without a bound: vllm_importance_sampling_clip_max, or clip_min"
        )
    if vespo and ((high is not None and high < 1) or (low is not None and low > 1)):
        raise SettingsError(
            "loss_type vespo with bounds of the sampler's correction on one side of 1 cannot be imported: "
            f"{TITLE} counts padding as tokens out of bounds, so the loss depends on how wide a batch is padded"
        )


def _differs(settings: Settings) -> Iterator[str]:
    """What TRL does otherwise than the spec, where a spec cannot say it."""
    yield f"{TITLE}: log-ratios are not bounded"
    yield f"{TITLE}: a completion that no function rewards has advantage 0 and counts in denominators"
    if settings["top_entropy_quantile"] < 1:
        yield f"{TITLE}: the quantile is over the micro-batches of all processes, in float32"
    if settings["use_vllm"]:
        yield f"{TITLE}: a token that vLLM gives no log-prob has a correction of 1"
    steps, accumulated = settings["steps_per_generation"], settings["gradient_accumulation_steps"]
    if _counts_tokens(settings) and settings["loss_type"] != "bnpo" and steps not in (None, accumulated):
        yield f"{TITLE}: divides by the tokens of a rollout over its steps, not by those of the step"


def notes(settings: Settings, given: frozenset[str]) -> Iterator[str]:
    """What a reader should know of the options that were given, and of the defaults that act beside them."""
    loss_type = settings["loss_type"]
    if loss_type == "cispo" and _epsilon_high(settings) < 1:
        origin = (
            "epsilon_high" if settings["epsilon_high"] is not None else "epsilon_high is unset, so epsilon"
        )
        yield f"{origin} = {_epsilon_high(settings):g} is the cap of the weight itself: on-policy updates shrink"
    if loss_type == "cispo" and settings["epsilon_high"] is not None and "epsilon" in given:
        yield f"epsilon = {settings['epsilon']:g} has no effect: with loss_type cispo the cap is epsilon_high"
    if loss_type in CLIPPED and settings["epsilon_high"] is None and "epsilon" in given:
        yield f"epsilon_high is unset, so it is epsilon, {settings['epsilon']:g}"
    if settings["importance_sampling_level"] == "sequence" and loss_type in (
        "bnpo",
        "dr_grpo",
        "dapo",
        "cispo",
    ):
        yield f"with loss_type {loss_type} a completion weighs by its length; GSPO takes loss_type=grpo"
    if settings["importance_sampling_level"] == "sequence" and loss_type == "vespo":
        yield "importance_sampling_level has no effect on vespo's weight; the KL term alone reads it"
    if settings["beta"] and settings["use_bias_correction_kl"]:
        yield "use_bias_correction_kl is true unless set: k3 is multiplied by the ratio, with its gradient"
    if _corrects(settings) and "vllm_importance_sampling_mode" not in given:
        yield "use_vllm corrects for the sampler unless told not to: sequence_mask, at most 3"
    if settings["multi_objective_aggregation"] == "normalize_then_sum" and settings["reward_weights"] is None:
        yield f"{settings['reward_funcs']} rewards of weight 1; say reward_funcs=3, or reward_weights=[1,0.5,2]"
