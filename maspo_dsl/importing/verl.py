"""The spec that verl's configuration means, part by part, as core_algos.py of 0.9.1 computes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from importlib.resources import files
from typing import Any

from maspo_dsl.importing.draft import Draft, DraftParameter
from maspo_dsl.importing.options import Settings, SettingsError
from maspo_dsl.importing.verl_options import ACTOR, ESTIMATOR, MODE, OPTIONS, VERSION

TITLE = f"verl {VERSION}"

_REAL = "(-inf, inf)"
_NOT_NEGATIVE = "[0, inf)"
_POSITIVE = "(0, inf)"
_AGGREGATIONS = {
    "token-mean": "{x} |> mean(window)",
    "token-sum": "{x} |> sum(window)",
    "seq-mean-token-sum": "{x} |> sum(sequence) |> mean(window)",
    "seq-mean-token-mean": "{x} |> mean(sequence) |> mean(window)",
    "seq-mean-token-sum-norm": "{x} / max_length |> sum(sequence) |> mean(window)",
}
_OF_ROWS = "seq-mean-token-mean"
# Values of loss_mode that take one mean, whatever loss_agg_mode says.
_OWN_AGGREGATION = {"sapo": _OF_ROWS, "geo_mean": _OF_ROWS}
_KL = {
    "k1": "k1({p}, {q})",
    "abs": "abs(k1({p}, {q}))",
    "k2": "k2({p}, {q})",
    "k3": "min(k3({p}, {q}), 10)",
}
_KL_NAMES = {"kl": "k1", "mse": "k2", "low_var_kl": "k3"}
_WHITENED = "center(x, rollout_batch) / sqrt(std(x, rollout_batch) ^ 2 + 1e-8)"
_ALONE = "if count(reward, group) > 1 else"
# Estimators that count tokens, or look for the reward at one, which a rejection may take.
_COUNTS_TOKENS = frozenset(
    {"gae", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "opo", "gdpo", "remax"}
)
_UNBOUNDED = frozenset({"gspo", "geo_mean", "clip_cov", "kl_cov", "dro"})
_REJECTIONS = {
    "token": "{x}",
    "seq_sum": "sum({x}, sequence)",
    "seq_mean": "mean({x}, sequence)",
    "seq_max": "max({x}, sequence)",
}


def run_keys() -> frozenset[str]:
    """Every other key of verl's configurations: how a run is made."""
    lines = (files("maspo_dsl.importing") / "verl_keys.txt").read_text(encoding="utf-8").splitlines()
    blocks = (line.partition(": ") for line in lines)
    return frozenset(f"{block}.{leaf}".lstrip(".") for block, _, leaves in blocks for leaf in leaves.split())


def draft(settings: Settings) -> Draft:
    """The spec of a whole configuration. Raises SettingsError for what verl refuses or no spec can say."""
    return _Import(settings).draft()


class _Import:
    """One configuration: statements are added to it part by part."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.params: dict[str, DraftParameter] = {}
        self.inputs: dict[str, str] = {}
        self.lets: dict[str, str] = {}
        self.defs: dict[str, str] = {}
        self.parts: dict[tuple[str, str], str] = {}

    def actor(self, name: str) -> Any:
        return self.settings[f"{ACTOR}.{name}"]

    def algorithm(self, name: str) -> Any:
        return self.settings[f"algorithm.{name}"]

    def correction(self, name: str) -> Any:
        return self.settings[f"algorithm.rollout_correction.{name}"]

    @property
    def bypass(self) -> bool:
        return bool(self.correction("bypass_mode"))

    @property
    def mode(self) -> str:
        """What bypass_mode makes of loss_mode."""
        if self.bypass:
            return "vanilla" if self.correction("loss_type") == "ppo_clip" else "reinforce"
        return str(self.settings[MODE])

    @property
    def old(self) -> str:
        return "rollout" if self.bypass else "old"

    @property
    def corrects(self) -> bool:
        """Whether weights and rejections are computed: they need the sampler's log-probs."""
        return bool(self.settings["actor_rollout_ref.rollout.calculate_log_probs"]) or self.bypass

    def draft(self) -> Draft:
        _refuse(self)
        ratio = self._ratio()
        weight = self._weight()
        self._add_rejection()
        self._add_own_penalty(weight)
        if weight is not None:
            self.parts["weight", "correction"] = weight
        self._add_kl()
        self._add_entropy()
        advantage = self._advantage()
        if "whitened" in advantage:
            self.defs["whitened(x)"] = _WHITENED
        self._add_filter()
        reduce = self._reduce()
        name = self.settings[MODE] if not self.bypass else f"bypass_{self.correction('loss_type')}"
        micro = self.mode in ("clip_cov", "kl_cov")
        return Draft(
            name=f"verl_{name}",
            meaning=f"What {TITLE} computes with loss_mode {name}, adv_estimator {self.settings[ESTIMATOR]}",
            source=f"{TITLE} core_algos.py, rollout_corr_helper.py",
            ratio=ratio,
            reduce=reduce,
            advantage=advantage,
            params=self.params,
            inputs=self.inputs,
            lets=self.lets,
            defs=self.defs,
            parts=self.parts,
            allows={"micro-scope": "as the source does"} if micro else {},
            differs=tuple(_differs(self)),
        )

    def _param(self, name: str, value: float, domain: str, meaning: str, bind: str = "") -> None:
        self.params[name] = DraftParameter(float(value), domain, meaning, bind)

    # ---- the ratio

    def _bounds(self, low: str, high: str, meaning: str) -> None:
        for name, key in ((low, "clip_ratio_low"), (high, "clip_ratio_high")):
            value = self.actor(key)
            value = self.actor("clip_ratio") if value is None else value
            self._param(name, value, _NOT_NEGATIVE, meaning)

    def _ratio(self) -> str:
        raw = f"policy / {self.old}"
        clip = "clip(1 - eps_low, 1 + eps_high)"
        match self.mode:
            case "vanilla":
                self._bounds("eps_low", "eps_high", "clip offset")
                self._param("cap", self.actor("clip_ratio_c"), "(1, inf)", "largest ratio of a bad token")
                return f"{raw} |> {clip} |> min(cap) as dual when A < 0"
            case "gspo":
                self._bounds("eps_low", "eps_high", "clip offset")
                return f"{raw} |> geomean(sequence) |> straight_through |> min(exp(10)) as bound |> {clip}"
            case "geo_mean":
                self._bounds("eps_low", "eps_high", "half-width of the clip, in log space")
                return f"{raw} |> clip(exp(-eps_low), exp(eps_high)) |> geomean(sequence)"
            case "cispo":
                self._bounds("eps_low", "eps_high", "offset of the bounds of the weight")
                return f"{raw} |> clamp(1 - eps_low, 1 + eps_high) |> score"
            case "sapo":
                self._param("tau_pos", self.actor("tau_pos"), _POSITIVE, "steepness of the gate")
                self._param("tau_neg", self.actor("tau_neg"), _POSITIVE, "steepness of the gate")
                return f"{raw} |> sigmoid_gate(tau_pos if A > 0 else tau_neg)"
            case "dppo_tv" | "dppo_kl":
                return self._divergence(raw)
            case "clip_cov":
                return self._clip_cov(raw, clip)
            case "kl_cov":
                return raw
            case _:
                return "1 |> score"

    def _divergence(self, raw: str) -> str:
        self._bounds("d_low", "d_high", "largest divergence")
        self._param("cap", self.actor("clip_ratio_c"), _POSITIVE, "largest weight")
        self.parts["mute", "diverged"] = (
            "policy - old > d_high if A > 0 else old - policy > d_low"
            if self.mode == "dppo_tv"
            else "moving_away(policy / old) and binary_kl(old, policy) > (d_high if A > 0 else d_low)"
        )
        return f"{raw} |> min(cap) |> score"

    def _clip_cov(self, raw: str, clip: str) -> str:
        self._bounds("eps_low", "eps_high", "clip offset")
        self._param(
            "share", self.actor("policy_loss.clip_cov_ratio"), "[0, 1]", "share of tokens that are drawn"
        )
        self._param("cov_low", self.actor("policy_loss.clip_cov_lb"), _REAL, "smallest covariance")
        self._param("cov_high", self.actor("policy_loss.clip_cov_ub"), _REAL, "largest covariance")
        self._add_covariance()
        self.lets["clipped"] = (
            "(A > 0 and policy / old > 1 + eps_high) or (A < 0 and policy / old < 1 - eps_low)"
        )
        self.parts["mute", "drawn"] = "pick(cov_low < cov < cov_high and not clipped, share, micro)"
        return f"{raw} |> {clip}"

    def _add_covariance(self) -> None:
        self.lets["cov"] = "center(per_token(A), micro) * center(log(policy), micro)"

    def _add_own_penalty(self, weight: str | None) -> None:
        """The penalty that belongs to a loss_mode; verl weighs it as the rest of the policy term."""
        factor = f" * ({weight})" if weight is not None else ""
        if self.mode == "dro":
            self._param(
                "beta", self.actor("policy_loss.dro_beta"), _POSITIVE, "weight of half the squared log-ratio"
            )
            self.parts["penalty", "drift"] = self._left(f"beta * k2(policy, old){factor}")
        if self.mode == "kl_cov":
            self._param("share", self.actor("policy_loss.kl_cov_ratio"), "[0, 1]", "share of tokens that pay")
            self._param("beta", self.actor("policy_loss.ppo_kl_coef"), _NOT_NEGATIVE, "what a nat costs them")
            self._add_covariance()
            self.parts["penalty", "leaving"] = (
                f"beta * abs(log(policy / old)){factor} if top(cov, share, micro) else 0"
            )

    # ---- the sampler

    @property
    def _trained(self) -> str:
        """The policy whose distance from the sampler counts: in bypass mode the one that is trained."""
        return "policy" if self.bypass else "old"

    def _weight(self) -> str | None:
        """The weight that corrects for the sampler; none where the ratio does."""
        if (
            self.correction("rollout_is") is None
            or not self.corrects
            or (self.bypass and self.mode == "vanilla")
        ):
            return None
        low, high = _is_threshold(self.correction("rollout_is_threshold"))
        product = " |> prod(sequence)" if self.correction("rollout_is") == "sequence" else ""
        self.lets["mismatch"] = f"{self._trained} / rollout{product}"
        self._param("is_max", high, _POSITIVE, "largest correction for the sampler")
        weight = "min(mismatch, is_max)"
        if low is not None:
            self._param("is_min", low, _POSITIVE, "smallest correction for the sampler")
            weight = "mismatch if is_min <= mismatch <= is_max else 0"
        if self.mode == "geo_mean":
            if product:
                return f"({weight}) + 1e-10"
            return f"exp(mean(log(({weight}) + 1e-10), sequence))"
        return weight

    @cached_property
    def rejections(self) -> list[tuple[str, float | None, float]]:
        """Modes of rollout_rs with the bounds of each."""
        written = self.correction("rollout_rs")
        return (
            _rejections(str(written), self.correction("rollout_rs_threshold"))
            if written and self.corrects
            else []
        )

    @property
    def rejects_tokens(self) -> bool:
        return any(mode.startswith("token") for mode, _, _ in self.rejections)

    def _add_rejection(self) -> None:
        if not self.rejections:
            return
        reasons = []
        for number, (mode, low, high) in enumerate(self.rejections, 1):
            suffix = f"_{number}" if len(self.rejections) > 1 else ""
            level, _, kind = mode.rpartition("_")
            self._param(f"rs_max{suffix}", high, _POSITIVE, f"largest {mode} that is kept")
            if low is not None:
                self._param(f"rs_min{suffix}", low, _POSITIVE, f"smallest {mode} that is kept")
                inner = f"log(rollout / {self._trained})"
                value = f"exp({_REJECTIONS[level].format(x=inner)})"
                value = f"rollout / {self._trained}" if level == "token" else value
                reasons.append(f"not rs_min{suffix} <= {value} <= rs_max{suffix}")
            else:
                inner = f"k2({self._trained}, rollout)" if kind == "k2" else f"k3(rollout, {self._trained})"
                reasons.append(f"{_REJECTIONS[level].format(x=inner)} > rs_max{suffix}")
        # A number, so that it can be summed: 1 for what is left.
        self.lets["left"] = f"per_token(0 if {' or '.join(reasons)} else 1)"
        counted = self.settings["trainer.use_v1"] or self.bypass
        self.parts["mute" if counted else "exclude", "rejected"] = "left == 0"

    def _left(self, value: str) -> str:
        """A value of tokens that those rejected do not have; excluded ones have nothing anyway."""
        return f"left * ({value})" if ("mute", "rejected") in self.parts else value

    # ---- reductions

    @property
    def _aggregation(self) -> str:
        return _OWN_AGGREGATION.get(self.mode, str(self.actor("loss_agg_mode")))

    def _reduce(self) -> str:
        beside = self.actor("use_kl_loss") or self.actor("entropy_coeff")
        used = {self._aggregation, self.actor("loss_agg_mode") if beside else self._aggregation}
        if "seq-mean-token-sum-norm" in used:
            given = self.actor("loss_scale_factor")
            length = self.settings["data.max_response_length"] if given is None else given
            meaning = "the constant that every completion is divided by, in tokens"
            self._param(
                "max_length", length, _POSITIVE, meaning, "" if given is not None else "generation_limit"
            )
        if self._counts_what_is_left:
            return "sum(loss, sequence) / max(sum(left, sequence), 1) |> mean(window)"
        return _AGGREGATIONS[self._aggregation].format(x="loss")

    @property
    def _counts_what_is_left(self) -> bool:
        """Whether a completion is divided by the tokens that a rejection leaves of it."""
        return self._aggregation == _OF_ROWS and self.rejects_tokens and ("mute", "rejected") in self.parts

    def _reduced(self, weight: str, value: str) -> str:
        """A term in the loss of tokens, or reduced by itself where the policy term is reduced otherwise."""
        alike = not (self.bypass and self._counts_what_is_left)
        if alike and self._aggregation == self.actor("loss_agg_mode"):
            return f"{weight} * {value}"
        return f"{weight} * ({_AGGREGATIONS[self.actor('loss_agg_mode')].format(x=f'({value})')})"

    def _add_kl(self) -> None:
        if not self.actor("use_kl_loss"):
            return
        kind = self.actor("kl_loss_type")
        forward = _kl(kind, "policy", "reference")
        if kind.endswith("+") and forward != "k2(policy, reference)":
            straight = "k2(policy, reference)"
            forward = f"({straight} - detach({straight}) + detach({forward}))"
        self._param("kl", self.actor("kl_loss_coef"), _REAL, "weight of the KL term")
        self.parts["penalty", "kl"] = self._reduced("kl", self._unless_bypassed(forward))

    def _add_entropy(self) -> None:
        if self.actor("entropy_coeff"):
            self._param("entropy_coef", self.actor("entropy_coeff"), _REAL, "weight of the entropy bonus")
            value = self._unless_bypassed("entropy(policy)")
            self.parts["bonus", "entropy"] = self._reduced("entropy_coef", value)

    def _unless_bypassed(self, value: str) -> str:
        """In bypass mode the policy loss rejects by itself: KL and entropy are of all tokens."""
        return value if self.bypass else self._left(value)

    # ---- the advantage

    def _advantage(self) -> str:
        estimator = self.settings[ESTIMATOR]
        of_tokens = "at_end(reward)"
        if self.algorithm("use_kl_in_reward") and estimator != "gdpo":
            self._param("kl_reward", self.algorithm("kl_ctrl.kl_coef"), _REAL, "what a nat costs, in reward")
            cost = _kl(self.algorithm("kl_penalty"), self.old, "reference")
            if estimator in ("gae", "reinforce_plus_plus", "remax"):
                of_tokens = f"at_end(reward) - kl_reward * {cost}"
            else:
                self.parts["reward", "drift"] = f"-kl_reward * sum({cost}, sequence)"
        for name, key, of in (
            ("gamma", "gamma", ("gae", "reinforce_plus_plus")),
            ("lambda", "lam", ("gae",)),
        ):
            if estimator in of:
                self._param(name, self.algorithm(key), "[0, 1]", "discount")
        return self._estimated(estimator, of_tokens)

    def _estimated(self, estimator: str, of_tokens: str) -> str:
        normal = self.algorithm("norm_adv_by_std_in_grpo")
        centered = f"(center(reward, group) {_ALONE} reward)"
        match estimator:
            case "gae":
                return f"{of_tokens} |> gae(gamma, lambda) |> whitened"
            case "grpo" | "grpo_vectorized":
                return _normalised("reward") if normal else centered
            case "gdpo":
                return self._gdpo()
            case "grpo_passk":
                lead = "max(reward, group) - kth(reward, group, 2)"
                first = f"({lead} if rank(reward, group) == 1 and count(reward, group) > 1 else 0)"
                return f"{first} / (std(reward, group) + 1e-6)" if normal else first
            case "reinforce_plus_plus":
                return f"{of_tokens} |> discounted_sum(gamma) |> whitened"
            case "reinforce_plus_plus_baseline":
                return f"{centered} |> per_token |> whitened"
            case "rloo":
                return f"leave_one_out(reward, group) {_ALONE} reward"
            case "rloo_vectorized":
                return "reward |> leave_one_out(group)"
            case "opo":
                return f"reward - sum(length * reward, group) / sum(length, group) {_ALONE} reward"
            case "remax":
                if of_tokens == "at_end(reward)":
                    return "reward - reward_greedy"
                return f"discounted_sum({of_tokens}, 1) - reward_greedy"
            case _:
                paid = "max(sum(1 if reward != 0 else 0, rollout_batch), 1)"
                return f"count(reward, rollout_batch) / {paid} * {centered}"

    def _gdpo(self) -> str:
        keys = self.algorithm("gdpo_reward_keys")
        weights = self.algorithm("gdpo_reward_weights") or [1.0] * len(keys)
        names = [_identifier(key) for key in keys]
        self.inputs |= dict.fromkeys(names, "sequence")
        normal = self.algorithm("norm_adv_by_std_in_grpo")
        terms = [
            _normalised(name)
            if normal
            else f"(center({name}, group) if count({name}, group) > 1 else {name})"
            for name in names
        ]
        total = " + ".join(f"{weight!r} * ({term})" for weight, term in zip(weights, terms, strict=True))
        return f"({total}) |> per_token |> whitened"

    def _add_filter(self) -> None:
        if not self.algorithm("filter_groups.enable"):
            return
        metric = _identifier(self.algorithm("filter_groups.metric") or "reward")
        if metric not in ("reward", "correct"):
            self.inputs[metric] = "sequence"
        self.parts["keep", "mixed"] = f"std({metric}, group) > 0 or count({metric}, group) == 1"


def _normalised(name: str) -> str:
    """verl's grpo: a completion alone keeps its reward."""
    return (
        f"center({name}, group) / (std({name}, group) + 1e-6) "
        f"if count({name}, group) > 1 else {name} / (1 + 1e-6)"
    )


def _kl(kind: str, policy: str, reference: str) -> str:
    base = kind.removesuffix("+")
    return _KL[_KL_NAMES.get(base, base)].format(p=policy, q=reference)


def _identifier(name: str) -> str:
    found = re.sub(r"\W", "_", str(name))
    return found if not found[:1].isdigit() else f"_{found}"


# ---- thresholds, as verl reads them


def _is_threshold(written: Any) -> tuple[float | None, float]:
    low, _, high = str(written).strip().rpartition("_")
    try:
        found = (float(low) if low else None, float(high))
    except ValueError:
        raise SettingsError(f"rollout_is_threshold={written}: expected a number, or two as 0.5_5") from None
    if found[1] <= 0 or (found[0] is not None and not 0 < found[0] <= found[1]):
        raise SettingsError(f"rollout_is_threshold={written}: bounds are above 0, the lower one first")
    return found


def _rejections(written: str, threshold: Any) -> list[tuple[str, float | None, float]]:
    modes = list(dict.fromkeys(part.strip() for part in written.strip("[]").split(",") if part.strip()))
    for mode in modes:
        level, _, kind = mode.rpartition("_")
        known = level in _REJECTIONS and kind in ("k1", "k2", "k3") and mode != "seq_max_k1"
        if not known:
            raise SettingsError(
                f"rollout_rs={mode}: expected token, seq_sum, seq_mean or seq_max with _k1, _k2 or _k3"
            )
    if threshold is None:
        raise SettingsError("rollout_rs needs rollout_rs_threshold")
    bounds = [part.strip() for part in str(threshold).split(",") if part.strip()]
    bounds = bounds * len(modes) if len(bounds) == 1 else bounds
    if len(bounds) != len(modes):
        raise SettingsError(
            f"rollout_rs_threshold={threshold}: expected one, or one for each of {', '.join(modes)}"
        )
    return [_rejection(mode, bound) for mode, bound in zip(modes, bounds, strict=True)]


def _rejection(mode: str, written: str) -> tuple[str, float | None, float]:
    low, _, high = written.rpartition("_")
    two_sided = mode.endswith("k1")
    try:
        upper = float(high)
        lower = (float(low) if low else 1 / upper) if two_sided else None
    except (ValueError, ZeroDivisionError):
        raise SettingsError(f"rollout_rs_threshold={written}: expected a number, or two as 0.5_2") from None
    if upper <= 0 or (low and not two_sided) or (lower is not None and not 0 < lower <= upper):
        raise SettingsError(f"rollout_rs_threshold={written} does not fit {mode}")
    return mode, lower, upper


# ---- what is said beside it


def _refuse(one: _Import) -> None:
    """Raise SettingsError for what verl refuses and what no spec can say."""
    settings, estimator = one.settings, one.settings[ESTIMATOR]
    for name in ("rollout_is_batch_normalize",):
        if one.correction(name) and one.correction("rollout_is"):
            raise SettingsError(
                f"{name} cannot be imported: {OPTIONS[f'algorithm.rollout_correction.{name}'].says}"
            )
    if one.algorithm("use_kl_in_reward") and one.algorithm("kl_ctrl.type") == "adaptive":
        raise SettingsError(
            f"kl_ctrl.type=adaptive cannot be imported: {OPTIONS['algorithm.kl_ctrl.type'].says}"
        )
    if one.algorithm("use_pf_ppo") and estimator == "gae":
        raise SettingsError(f"use_pf_ppo cannot be imported: {OPTIONS['algorithm.use_pf_ppo'].says}")
    if estimator.endswith("optimal_token_baseline"):
        raise SettingsError(
            f"adv_estimator={estimator} cannot be imported: it reads the sum of squared probabilities over the "
            "vocabulary, which no quantity of the language is"
        )
    if estimator == "gdpo" and not one.algorithm("gdpo_reward_keys"):
        raise SettingsError(
            "adv_estimator=gdpo needs gdpo_reward_keys, such as gdpo_reward_keys=[acc,format]"
        )
    weights, keys = one.algorithm("gdpo_reward_weights"), one.algorithm("gdpo_reward_keys")
    if estimator == "gdpo" and weights is not None and len(weights) != len(keys):
        raise SettingsError("gdpo_reward_weights has another number of entries than gdpo_reward_keys")
    full = [
        key for key in (f"{ACTOR}.kl_loss_type", "algorithm.kl_penalty") if settings[key].startswith("full")
    ]
    if full and OPTIONS[full[0]].idle(settings) is None:
        raise SettingsError(f"{full[0]}=full: {TITLE} raises NotImplementedError")
    if settings[MODE] == "bypass_mode" and not one.bypass:
        raise SettingsError(
            "loss_mode=bypass_mode is what rollout_correction.bypass_mode=true sets: set that"
        )
    if one.mode == "dro" and not one.actor("policy_loss.dro_beta"):
        raise SettingsError(f"{TITLE} refuses loss_mode dro without dro_beta, a number above 0")
    if one.mode == "vanilla" and one.actor("clip_ratio_c") <= 1:
        raise SettingsError(f"{TITLE} refuses a clip_ratio_c that is not above 1")
    _refuse_rejections(one, estimator)


def _refuse_rejections(one: _Import, estimator: str) -> None:
    """Raise SettingsError where a rejection changes what is counted before the loss of tokens."""
    if not one.rejections:
        return
    if estimator in _COUNTS_TOKENS and not one.bypass:
        raise SettingsError(
            f"rollout_rs with adv_estimator={estimator} cannot be imported: verl rejects before it estimates, so the "
            "advantage's statistics are over what is left, and a spec's are over the rollout"
        )
    if one.mode in ("clip_cov", "kl_cov") or (one.mode in ("gspo", "geo_mean") and one.rejects_tokens):
        raise SettingsError(
            f"rollout_rs={one.correction('rollout_rs')} with loss_mode {one.mode} cannot be imported: its statistics "
            "are over the tokens that are left"
        )


def _differs(one: _Import) -> Iterator[str]:
    """What verl does otherwise than the spec, where a spec cannot say it."""
    if one.mode in _UNBOUNDED:
        yield f"{TITLE}: log-ratios are not bounded, but that of gspo by 10 from above"
    if one.mode == "clip_cov":
        yield f"{TITLE}: draws its tokens from the global random state"
    if one.mode == "geo_mean":
        yield f"{TITLE}: the mean is over a micro-batch, those without tokens included; micro-batches are added up"
    if _OF_ROWS in (one._aggregation, one.actor("loss_agg_mode")):
        yield f"{TITLE}: adds 1e-8 to the length of a completion"
    if one.actor("loss_agg_mode") == "seq-mean-token-sum-norm" and one.actor("loss_scale_factor") is None:
        yield f"{TITLE}: divides by the width that a micro-batch is padded to"
    if one.settings[ESTIMATOR] in ("grpo", "grpo_vectorized", "gdpo"):
        yield f"{TITLE}: equal rewards leave a rounding error, divided by 1e-6"
    if one.settings[ESTIMATOR] == "gae":
        yield f"{TITLE}: trains a critic by a loss of its own"


def notes(settings: Settings, given: frozenset[str]) -> Iterator[str]:
    """What a reader should know of the options that were given, and of the defaults that act beside them."""
    one = _Import(settings)
    low, high = one.actor("clip_ratio_low"), one.actor("clip_ratio_high")
    if f"{ACTOR}.clip_ratio" in given and low is not None and high is not None:
        yield f"clip_ratio = {one.actor('clip_ratio'):g} has no effect: clip_ratio_low and clip_ratio_high are set"
    if one.mode == "vanilla" and f"{ACTOR}.clip_ratio_c" not in given:
        yield "clip_ratio_c is 3 unless set: a dual clip is always on"
    if one.mode in _OWN_AGGREGATION and f"{ACTOR}.loss_agg_mode" in given:
        yield f"loss_agg_mode has no effect on the policy term of {one.mode}; KL and entropy are reduced by it"
    if one.bypass and MODE in given:
        yield f"loss_mode = {settings[MODE]} has no effect: rollout_correction.bypass_mode decides"
    if one.bypass and one.mode == "vanilla" and one.correction("rollout_is"):
        yield "rollout_is has no effect in bypass mode with ppo_clip: the ratio is to the sampler already"
    if one.correction("rollout_is") and not one.corrects:
        yield "rollout_is has no effect: calculate_log_probs is false, so there is no sampler's log-prob"
    if one.actor("use_kl_loss") and not one.actor("kl_loss_type").startswith(
        ("kl", "k1", "abs", "mse", "k2")
    ):
        yield "the KL of a token ends at 10, without gradient beyond"
    if any("overlong_buffer" in name for name in given):
        yield "the penalty for long completions is part of the reward that verl's reward manager gives"
