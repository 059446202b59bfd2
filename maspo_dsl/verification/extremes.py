"""Inputs at their limits: what is masked, overflows, is missing, or is not there at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.quantities import other_policies
from maspo_dsl.verification.batches import GARBAGE, by_token, packed, places, rows_of, with_advantage
from maspo_dsl.verification.evaluation import (
    Evaluation,
    PropertyError,
    as_torch,
    check_equal,
    check_metrics,
    check_nontrivial,
    computed,
    conditioning,
    gradients_of,
    interpreted,
    metrics_of,
    position,
    rounded,
)
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject

SEEDS = (9, 10)
FAR = 200.0
# bfloat16 has 8 bits.
BFLOAT16 = 2.0**-7


def masked_tokens(subject: Subject) -> tuple[Verdict, str]:
    """What stands at masked tokens has exactly no effect, and gets exactly no gradient."""
    for name, batch in subject.batches(SEEDS[0]):
        clean = {key: _filled(batch, batch[key], -1.0) for key in by_token(batch) if key != "mask"}
        expected = computed(subject.eager, {**batch, **clean})
        metrics = metrics_of(subject.eager, {**batch, **clean})
        check_nontrivial(expected, name)
        for junk in GARBAGE:
            dirty = {key: _filled(batch, value, junk) for key, value in clean.items()}
            got = computed(subject.eager, {**batch, **dirty})
            for tensor, gradient in got.gradients.items():
                if gradient.ndim == 2 and gradient[~batch["mask"]].any():
                    raise PropertyError(
                        f"{junk:g} at masked tokens: they have a gradient to `{tensor}`, {name}"
                    )
            what = f"{junk:g} at masked tokens, {name}"
            check_equal(got, expected, what)
            if got.loss != expected.loss or any(
                not np.array_equal(got.gradients[key], value) for key, value in expected.gradients.items()
            ):
                raise PropertyError(f"{what}: the last bits are others")
            check_metrics(metrics_of(subject.eager, {**batch, **dirty}), metrics, what)
    return "pass", "NaN, infinities and 1e30 in every tensor: bit for bit the same"


def _filled(batch: Arrays, value: Array, junk: float) -> Array:
    """A tensor of tokens with something else where the mask is false; whole numbers and conditions stay such."""
    filler = junk if value.dtype == float else np.clip(np.nan_to_num(junk), -9, 9).astype(value.dtype)
    return np.where(batch["mask"], value, filler)


def far_ratios(subject: Subject) -> tuple[Verdict, str]:
    """Log-ratios of ±200, of single tokens and whole completions: loss, gradient and metrics are finite."""
    losses = [(subject.eager, torch.float64, "float64"), (subject.eager, torch.float32, "float32")]
    if subject.backend != "eager":
        losses.append((subject.fused, torch.float32, "float32, compiled"))
    for name, batch in far(subject):
        for loss, dtype, how in losses:
            _check_finite(computed(loss, batch, dtype), f"{name}, {how}")
        check_equal(computed(subject.eager, batch), interpreted(subject.graph, batch), name)
        _check_finite_metrics(subject.eager, batch, name)
    return "pass", f"log-ratios of ±{FAR:g} to each other policy, for every sign of A"


def far(subject: Subject) -> Iterator[tuple[str, Arrays]]:
    """Batches with log-ratios of ±200 to each of the other policies, at tokens and for whole completions."""
    plain = with_advantage(subject.completions(SEEDS[0]), SEEDS[0])
    shape = plain["mask"].shape
    tokens = np.random.default_rng(SEEDS[0]).random(shape) < 0.25
    completions = np.broadcast_to((np.arange(shape[0]) % 3 == 1)[:, None], shape)
    for where, chosen in (("at tokens", tokens), ("of completions", completions)):
        for sign in (1.0, -1.0):
            for other in other_policies(subject.tensors):
                batch = {key: value.copy() for key, value in plain.items()}
                near, far = ("logp", other) if sign > 0 else (other, "logp")
                batch[far] = np.where(chosen, batch[near] - FAR, batch[far])
                yield f"log-ratio to {other.removeprefix('logp_')} of {sign * FAR:+g} {where}", batch


def _check_finite(found: Evaluation, what: str) -> None:
    if not np.isfinite(found.loss):
        raise PropertyError(f"{what}: the loss is {found.loss:g}")
    for tensor, gradient in found.gradients.items():
        if not np.isfinite(gradient).all():
            place = tuple(int(axis) for axis in np.argwhere(~np.isfinite(gradient))[0])
            raise PropertyError(f"{what}: d loss / d {tensor} at {position(place)} is {gradient[place]:g}")


def _check_finite_metrics(loss: ObjectiveLoss, batch: Arrays, what: str) -> None:
    for metric, value in metrics_of(loss, batch, torch.float32).items():
        if not np.isfinite(value):
            raise PropertyError(f"{what}: the metric `{metric}` is {value:g}")


def shown_nan(subject: Subject) -> tuple[Verdict, str]:
    """NaN in `logp` at a token that learns makes the loss NaN: a broken run does not look like a healthy one.

    Where no log-prob is read it stands in what is.

    In any other tensor that is read, the metrics name the tensor.
    """
    _check_named(subject)
    tried = hidden = 0
    for name, batch in subject.batches(SEEDS[0]):
        gradient = computed(subject.eager, batch).gradients[subject.leading]
        for sign in (-1.0, 1.0):
            for row, token in np.argwhere(sign * gradient > 0)[:4]:
                value = batch[subject.leading].copy()
                value[row, token] = np.nan
                tried += 1
                out = subject.eager.module(as_torch({**batch, subject.leading: value}))
                if not out.loss.isnan() and not (
                    subject.takes_tokens_away and out.nonfinite[f"tensor `{subject.leading}`"]
                ):
                    raise PropertyError(
                        f"NaN at {position((int(row), int(token)))} leaves the loss a number, {name}"
                    )
                hidden += not out.loss.isnan()
    if not tried:
        raise PropertyError("no token has a gradient, so that nothing is tested")
    if hidden:
        return (
            "declared",
            f"at {hidden} of {tried} tokens a rule takes the token away; the metrics name the tensor",
        )
    return "pass", f"{tried} tokens"


def _check_named(subject: Subject) -> None:
    """Raise PropertyError for a tensor of tokens in which NaN at a trained token is not counted."""
    batch = with_advantage(subject.completions(SEEDS[0]), SEEDS[0])
    place = tuple(np.argwhere(batch["mask"])[0])
    for tensor in by_token(batch):
        if tensor in subject.objective.inputs and batch[tensor].dtype == float:
            value = batch[tensor].copy()
            value[place] = np.nan
            out = subject.eager.module(as_torch({**batch, tensor: value}))
            if out.nonfinite[f"tensor `{tensor}`"] != 1:
                raise PropertyError(f"NaN in `{tensor}` at a trained token is not counted in the metrics")


def no_signal(subject: Subject) -> tuple[Verdict, str]:
    """Where A is 0 the policy term is exactly 0; equal rewards give 0 or something else, never a rounding error."""
    if not subject.has_policy_term:
        return "skipped", "there is no policy term"
    _check_zero_advantage(subject)
    centred = [_has_no_advantage(subject, batch) for batch in _equal_rewards(subject)]
    alone = subject.completions(SEEDS[0])
    alone["group"] = np.arange(len(alone["group"]))
    _check_finite(computed(subject.eager, alone), "groups of one")
    if not all(centred):
        return "pass", "A = 0 trains nothing; the estimator is not centred: equal rewards do have advantages"
    if subject.eager.advantage(as_torch(alone)).any():
        raise PropertyError("equal rewards give no advantage, but the completion of a group of one has one")
    return "pass", "A = 0 trains nothing; equal rewards and groups of one give exactly that"


def _check_zero_advantage(subject: Subject) -> None:
    batch = subject.completions(SEEDS[0])
    shapes = [batch["mask"].shape[:1], batch["mask"].shape][: 1 + subject.takes_token_advantages]
    for shape in shapes:
        slope = subject.policy_gradient({**batch, "advantage": np.zeros(shape)})
        if slope.any() or not np.isfinite(slope).all():
            raise PropertyError(
                f"with A = 0 everywhere the policy term has a gradient of {np.abs(slope).max():g}"
            )
        out = subject.eager(as_torch({**batch, "advantage": np.zeros(shape)}))
        if not out.loss.requires_grad:
            raise PropertyError("with A = 0 everywhere the loss is not differentiable")


def _equal_rewards(subject: Subject) -> Iterator[Arrays]:
    """Groups of many sizes, each of one reward; completions of one length, of several if lengths are not rewarded."""
    sizes = np.array([3, 5, 6, 7, 10, 11, 13, 16])
    reward = np.repeat([0.1, 0.2, 0.3, 0.35, 0.7, 1 / 3, 0.95, 1e3 / 7], sizes)
    group = np.repeat(np.arange(len(sizes)), sizes)
    batch = subject.completions(SEEDS[0])
    rows = [[2], [0, 1, 2, 3, 4, 5, 6, 7, 8]][
        : 1 if subject.objective.resolved.parts.of(Role.REWARD_TERM) else 2
    ]
    for some in rows:
        yield {**rows_of(batch, np.resize(some, len(reward))), "reward": reward, "group": group}


def _has_no_advantage(subject: Subject, batch: Arrays) -> bool:
    """Whether equal rewards give exactly 0. Raises PropertyError where they give what rounding left."""
    reward = np.abs(batch["reward"])[:, None]
    found = []
    for dtype in (torch.float32, torch.float64):
        advantage = subject.eager.advantage(as_torch(batch, dtype)).double().numpy()
        rows = advantage[:, None] if advantage.ndim == 1 else np.where(batch["mask"], advantage, 0.0)
        if not np.isfinite(rows).all():
            raise PropertyError("equal rewards give an advantage that is not finite")
        found.append(rows)
    # What is small and no rounding is the same in both; beside what is not small, as of ranks, it matters to nobody.
    same_group = batch["group"][:, None] == batch["group"]
    largest = np.where(same_group, np.abs(found[1]).max(axis=1), 0.0).max(axis=1)[:, None]
    differ = (largest < 1e-5 * reward) & ~(np.abs(found[0] - found[1]) <= 1e-3 * np.abs(found[1]))
    tiny = [rows[differ & (rows != 0) & (np.abs(rows) < 1e-5 * reward)] for rows in found]
    if any(rest.size for rest in tiny):
        noise = max(float(np.abs(rest).max(initial=0)) for rest in tiny)
        raise PropertyError(f"equal rewards give advantages of {noise:.1g}, which is rounding: use `center`")
    if not (np.abs(found[0] - found[1]) <= 1e-3 * np.abs(found[1]) + 1e-5 * reward).all():
        raise PropertyError(
            "equal rewards give one advantage in float32 and another in float64: that is rounding"
        )
    return not found[1].any()


def missing_completions(subject: Subject) -> tuple[Verdict, str]:
    """Completions without a reward, or without a trained token, are as if they were not there."""
    for name, batch in subject.batches(SEEDS[1]):
        gone = [0, 3, 4, 10, 15]
        left = [row for row in range(len(batch["mask"])) if row not in gone]
        reward, mask = batch["reward"].copy(), batch["mask"].copy()
        reward[gone], mask[gone] = np.nan, False
        kinds = [("a trained token", {"mask": mask})]
        if subject.graph.reads_reward:
            kinds.append(("a reward", {"reward": reward}))
        for what, missing in kinds:
            _check_missing(subject, batch, missing, left, f"completions without {what}, {name}")
        single = {**batch, "mask": batch["mask"] & (np.cumsum(batch["mask"], axis=1) == 1)}
        single = subject.estimated(single)
        got = computed(subject.eager, single)
        _check_finite(got, f"completions of one token, {name}")
        check_equal(got, interpreted(subject.graph, single), f"completions of one token, {name}")
    return "pass", "a quarter of the completions missing, a whole group among them; completions of one token"


def _check_missing(subject: Subject, batch: Arrays, missing: Arrays, left: list[int], what: str) -> None:
    """Raise PropertyError where the completions left differ from the same ones alone, or others have an effect."""
    alone = subject.estimated(rows_of(batch, left))
    expected = computed(subject.eager, alone)
    check_nontrivial(expected, what)
    if "advantage" not in batch:
        estimate = subject.estimated({**batch, **missing})["advantage"]
        if not np.allclose(estimate[left], alone["advantage"], rtol=1e-9, atol=1e-12):
            raise PropertyError(f"{what}: the advantages of the others change")
        there = np.zeros_like(estimate)
        there[left] = alone["advantage"]
        missing = {**missing, "advantage": there}
    _check_kept(subject, {**batch, **missing}, alone, left, what)
    got = computed(subject.eager, {**batch, **missing})
    rest = Evaluation(got.loss, {key: value[left] for key, value in got.gradients.items()})
    if any(np.delete(value, left, axis=0).any() for value in got.gradients.values()):
        raise PropertyError(f"{what}: they have a gradient")
    check_equal(rest, expected, what)
    metrics = metrics_of(subject.eager, {**batch, **missing})
    check_metrics(metrics, metrics_of(subject.eager, alone), what)


def _check_kept(subject: Subject, batch: Arrays, alone: Arrays, left: list[int], what: str) -> None:
    """Raise PropertyError where completions that are missing tell a memory something, or do not leave it as it was."""
    kept, expected = (subject.eager.memory(as_torch(one)) for one in (batch, alone))
    nobody = subject.eager.memory(as_torch({**batch, "mask": np.zeros_like(batch["mask"])}))
    for name, value in kept.items():
        of_others = value[left] if value.dim() else value
        if not torch.allclose(of_others, expected[name], rtol=1e-9, atol=1e-12):
            raise PropertyError(f"{what}: they tell `memory {name}` something")
        if not torch.equal(nobody[name], torch.as_tensor(batch[name])):
            raise PropertyError(f"a rollout in which nobody has a reward changes `memory {name}`")


def nothing(subject: Subject) -> tuple[Verdict, str]:
    """A batch without a trained token has a loss of 0 that is differentiable, with gradient 0."""
    losses = [(subject.eager, "")] + ([] if subject.backend == "eager" else [(subject.fused, ", compiled")])
    for loss, how in losses:
        for name, batch in _empty(subject):
            # A packed batch is another graph to compile, for an answer that reads no data.
            if loss is subject.eager or "sequence" not in batch:
                _check_empty(loss, batch, name + how)
                if loss is subject.eager:
                    _check_finite_metrics(loss, batch, name)
    return "pass", "all masked, no rewards, no columns, no rows; padded and packed"


def _empty(subject: Subject) -> Iterator[tuple[str, Arrays]]:
    for advantage in ("", ", advantages given"):
        batch = subject.completions(SEEDS[0])
        batch = with_advantage(batch, SEEDS[0]) if advantage else batch
        masked = {**batch, "mask": np.zeros_like(batch["mask"])}
        yield f"everything masked{advantage}", masked
        yield f"everything masked, packed{advantage}", packed(masked, places(batch, 0, in_order=True))
        if subject.graph.reads_reward:
            yield (
                f"all rewards missing{advantage}",
                {**batch, "reward": np.full(len(batch["reward"]), np.nan)},
            )
        columns = {key: value[:, :0] if value.ndim == 2 else value for key, value in batch.items()}
        yield f"no columns{advantage}", columns
        yield f"no rows{advantage}", rows_of(batch, [])


def _check_empty(loss: ObjectiveLoss, batch: Arrays, name: str) -> None:
    live = loss.objective.resolved.live_tensors
    tensors = as_torch(batch, live=live)
    out = loss(tensors)
    if out.loss.item() != 0 or not out.loss.requires_grad:
        raise PropertyError(
            f"{name}: the loss is {out.loss.item():g}, requires_grad {out.loss.requires_grad}"
        )
    out.loss.backward()
    for tensor, gradient in gradients_of(tensors, live).items():
        if gradient.shape != batch[tensor].shape or gradient.any():
            raise PropertyError(f"{name}: the gradient to `{tensor}` is not 0")


def dtypes(subject: Subject) -> tuple[Verdict, str]:
    """bfloat16 is computed in float32 and its gradient comes back in bfloat16; float64 stays float64."""
    losses = [subject.eager] if subject.backend == "eager" else [subject.eager, subject.fused]
    batch = subject.estimated(subject.completions(SEEDS[1]))
    for loss in losses:
        for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
            tensors = as_torch(batch, dtype, subject.live)
            out = loss(tensors)
            out.loss.backward()
            gradient = tensors[subject.leading].grad
            got = (out.loss.dtype, None if gradient is None else gradient.dtype)
            if got != (wide, dtype):
                raise PropertyError(
                    f"`{subject.leading}` in {dtype} gives a loss in {got[0]} and a gradient in {got[1]}"
                )
            expected = interpreted(subject.graph, rounded(batch, dtype))
            found = Evaluation(out.loss.item(), gradients_of(tensors, subject.live))
            if dtype == wide:
                check_equal(found, expected, str(dtype))
            else:
                # Rounded inputs coincide, so that many a token stands where a condition changes.
                slack = conditioning(subject.graph, rounded(batch, dtype))
                check_equal(found, expected, str(dtype), rtol=BFLOAT16, slack=slack)
    return "pass", "bfloat16 and float64"
