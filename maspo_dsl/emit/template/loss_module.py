"""The module around the functions of an objective; a generated file carries it as text, and needs torch alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from maspo_dsl.emit.template.operations import group_max, group_sum, tokens

Tensors: TypeAlias = dict[str, torch.Tensor]
Sums: TypeAlias = dict[str, tuple[torch.Tensor, torch.Tensor]]
Batch: TypeAlias = Mapping[str, torch.Tensor]
Batches: TypeAlias = Sequence[Batch]
Function: TypeAlias = Callable[..., Tensors]
Measure: TypeAlias = Callable[[], tuple[Sums, Tensors]]
Recorder: TypeAlias = Callable[..., None]
Parts: TypeAlias = Sequence[Any]

TOKEN_TENSORS = ("logp", "logp_old", "logp_ref", "logp_rollout", "entropy", "value")
SEQUENCE_TENSORS = ("reward", "correct", "truncated", "reward_greedy", "group")
EITHER = ("advantage", "reward")
LIVE_TENSORS = ("logp", "entropy")
LOG_RATIO_BOUND = 20.0


class BatchError(ValueError):
    """A batch that the objective cannot use: a tensor is missing, or has the wrong shape or type."""


class LossOutput:
    """What a call returns: `loss`, 0-d, with gradient; and metrics, computed when they are first read.

    `metric_sums` maps a name to (sum, count); pairs of the parts of a window, and of ranks, add up, and sum / count
    is the metric. `metrics` has these quotients for this call alone.
    """

    def __init__(self, loss: torch.Tensor, measure: Measure) -> None:
        """`measure` computes the metrics, and what is not finite."""
        self.loss = loss
        self._measure = measure
        self._found: tuple[Sums, Tensors] | None = None

    def _measured(self) -> tuple[Sums, Tensors]:
        if self._found is None:
            self._found = self._measure()
        return self._found

    @property
    def metric_sums(self) -> Sums:
        """(sum, count) by metric name, 0-d each."""
        return self._measured()[0]

    @property
    def nonfinite(self) -> Tensors:
        """How many trained tokens are NaN or infinite, by term and by tensor of the batch, 0-d each."""
        return self._measured()[1]

    @property
    def metrics(self) -> Tensors:
        """sum / count by metric name; 0 where there is nothing to count."""
        return {
            name: torch.where(n != 0, s / torch.where(n != 0, n, 1), 0.0)
            for name, (s, n) in self.metric_sums.items()
        }


class LossModule(torch.nn.Module):
    """An objective as a module without weights; the subclass at the end of the file names its functions.

    `batch` is a mapping of tensors (natural logs): `logp logp_old logp_ref logp_rollout entropy` [N, T]; `mask`
    [N, T], true at trained tokens; `reward correct truncated` [N]; `group` [N], any ids; `advantage` [N] or [N, T],
    which replaces the estimator. In packed form token tensors are [M] and `sequence` [M] says which row of the
    [N] tensors each token belongs to; an `advantage` or `reward` [M] then is one a token. Computes in float32,
    or float64 if log-probs are.
    """

    def __init__(
        self,
        name: str,
        params: dict[str, float],
        inputs: dict[str, str],
        reads: dict[str, dict[str, str]],
        functions: dict[str, Function],
        phases: tuple[Function, ...],
    ) -> None:
        """`reads` says for each purpose which tensors are read, and by which term; `inputs` the spec's own."""
        super().__init__()
        self.name = name
        self.inputs = inputs
        self.reads = reads
        self.functions = functions
        self.phases = phases
        self.params = {key: torch.tensor(value, dtype=torch.float64) for key, value in params.items()}

    # ---- what a user calls

    def forward(self, batch: Batch, *, denominators: Batch | None = None) -> LossOutput:
        """The loss of a batch, or of a part of a window if `denominators` (from `window`) are given."""
        x = self.prepare(batch, "loss")
        if denominators is None:
            self.refuse_several_ranks()
            d = self.statistics([x])
        else:
            d = dict(denominators)
        missing = sorted(self.window_keys() - set(d))
        if missing:
            raise BatchError(
                f"{self.name}: denominators lack {', '.join(missing)}; use what window(micro_batches) returns"
            )
        p = self.parameters_in(x)
        return LossOutput(self.evaluate(x, p, d), lambda: self.measure(x, p, d))

    def window(self, micro_batches: Batches) -> Tensors:
        """Statistics of one optimizer window, 0-d each; sums over micro-batches, to be added over ranks."""
        if isinstance(micro_batches, dict):
            raise BatchError(f"{self.name}: window() takes a list of micro-batches, not one batch")
        if not micro_batches:
            raise BatchError(f"{self.name}: a window needs at least one micro-batch")
        together = [key for key, why in self.reads.get("statistics", {}).items() if why]
        if together and number_of_ranks() > 1:
            raise BatchError(
                f"{self.name}: {', '.join(together)} needs the values of the whole window, which ranks cannot add up"
            )
        return self.statistics([self.prepare(batch, "window") for batch in micro_batches])

    def advantage(self, batch: Batch) -> torch.Tensor:
        """The advantage of each sequence [N], or token [N, T]; 0 where nothing is trained."""
        x = self.prepare(batch, "advantage")
        return self.functions["advantage"](x, self.parameters_in(x), {})["advantage"]

    def keep(self, batch: Batch) -> torch.Tensor:
        """Which sequences [N] the `keep` rules let through; all of them when there is no rule."""
        x = self.prepare(batch, "keep")
        if "keep" not in self.functions:
            return torch.ones_like(x["present"])
        return self.functions["keep"](x, self.parameters_in(x), {})["keep"]

    def step(self, micro_batches: Batches) -> torch.Tensor:
        """The scale of this optimizer step, 0-d: 1 without a `step`; for the loop around the loss to apply."""
        d = self.window(micro_batches)
        x = self.prepare(micro_batches[0], "window")
        p = self.parameters_in(x)
        return self.functions["step"](x, p, d)["step"] if "step" in self.functions else p["one"]

    def prompt(self, batch: Batch) -> torch.Tensor:
        """The score of each sequence's prompt [N], for selecting prompts; all 1 without a `prompt`."""
        x = self.prepare(batch, "prompt")
        p = self.parameters_in(x)
        if "prompt" not in self.functions:
            return torch.ones_like(x["present"], dtype=p["one"].dtype)
        return self.functions["prompt"](x, p, {})["prompt"]

    # ---- evaluation

    def evaluate(self, x: Tensors, p: Tensors, d: Tensors) -> torch.Tensor:
        """The loss, 0-d, in the dtype of the computation."""
        if x["mask"].numel() == 0:
            return (x["logp"] * 0.0).sum()
        return self.functions["loss"](x, p, d)["loss"].to(x["logp"].dtype)

    def statistics(self, parts: list[Tensors]) -> Tensors:
        """The window's statistics from its prepared micro-batches."""
        d: Tensors = {}
        with torch.no_grad():
            for phase in self.phases:
                found = [phase(x, self.parameters_in(x), d) for x in parts]
                d.update({key: pooled([part[key] for part in found]) for key in found[0]})
        return d

    def window_keys(self) -> set[str]:
        """Keys that `window` returns."""
        return set(self.reads.get("statistics", {}))

    def parameters_in(self, x: Tensors) -> Tensors:
        """The parameters as 0-d tensors in the dtype of the computation, and `one`."""
        dtype = computed_dtype(x)
        p = {name: value.to(dtype) for name, value in self.params.items()}
        device = x["mask"].device
        p["one"] = torch.ones((), dtype=dtype, device=device)
        return p

    def refuse_several_ranks(self) -> None:
        """Without denominators this batch must be the whole window, which no rank of several has."""
        ranks = number_of_ranks()
        if ranks > 1:
            raise BatchError(
                f"{self.name}: with {ranks} ranks the denominators of the window must be given: "
                "add the values of window(micro_batches) over ranks (all_reduce) and pass denominators="
            )

    # ---- the batch

    def prepare(self, batch: Batch, purpose: str) -> Tensors:
        """The batch checked, in one dtype, with the advantage computed; nothing is copied that need not be.

        Raises BatchError: a tensor that a term needs is missing; a shape or type is wrong (all axes are printed).
        """
        wanted = dict(self.reads.get(purpose, {}))
        given = "advantage" in batch
        if wanted.pop("advantage", None) is not None and not given and purpose != "advantage":
            wanted = {**self.reads["advantage"], **wanted}
        if wanted.pop("advantage_rows", None) is not None and not given:
            wanted = {**self.reads["advantage"], **wanted}
        if "correct" in wanted and "correct" not in batch:
            wanted["reward"] = wanted.pop("correct")
        self.refuse_missing(batch, wanted)
        self.refuse_shapes(batch)
        x = converted(batch, self.inputs)
        x.update(rows_present(x))
        if "group" in x:
            x["group"] = dense(x["group"])
        if "reward" in x and "correct" not in x:
            x["correct"] = x["reward"] > 0
        read = {"advantage", "advantage_rows"} & set(self.reads[purpose])
        if read and purpose in ("loss", "window"):
            self.add_advantage(x, given)
        return x

    def add_advantage(self, x: Tensors, given: bool) -> None:
        """Put `advantage` into the form that broadcasts over tokens, [N, 1], [N, T] or [M]."""
        if not given:
            with torch.no_grad():
                x["advantage"] = self.functions["advantage"](x, self.parameters_in(x), {})["advantage"]
        advantage = x["advantage"].detach()
        if advantage.shape == x["present"].shape and advantage.shape != x["mask"].shape:
            x["advantage_rows"] = advantage
            x["advantage"] = tokens(advantage, x)
        elif "advantage_rows" in self.reads["loss"]:
            raise BatchError(f"{self.name} needs one advantage a sequence, [N]; the batch has one a token")
        else:
            x["advantage"] = advantage

    def refuse_missing(self, batch: Batch, wanted: dict[str, str]) -> None:
        """Name each missing tensor with the term that needs it."""
        have = ", ".join(sorted(batch)) or "nothing"
        wanted = {"mask": "every objective", **wanted}
        missing = [name for name in wanted if name not in batch and name != "present"]
        if missing:
            lines = [f"`{name}` {self.shape_word(name)}, needed by {wanted[name]}" for name in missing]
            raise BatchError(f"{self.name}: the batch lacks {'; '.join(lines)}; it has {have}")

    def shape_word(self, name: str) -> str:
        """The shape of a tensor of the batch in words."""
        by_token = name in TOKEN_TENSORS or name == "mask" or self.inputs.get(name) == "token"
        return "[N, T]" if by_token else "[N]"

    def refuse_shapes(self, batch: Batch) -> None:
        """Every tensor must fit the mask; all axes are printed when one does not."""
        packed = "sequence" in batch
        mask = batch["mask"]
        problems = [
            f"`{name}` is not a tensor"
            for name, value in batch.items()
            if not isinstance(value, torch.Tensor)
        ]
        if problems:
            raise BatchError(f"{self.name}: {'; '.join(problems)}")
        if mask.dim() != (1 if packed else 2):
            problems.append(f"`mask` must be {'[M] (packed)' if packed else '[N, T]'}")
        rows = None if packed else mask.shape[0]
        for name, value in batch.items():
            if name in TOKEN_TENSORS or name == "sequence" or self.inputs.get(name) == "token":
                if value.shape != mask.shape:
                    problems.append(f"`{name}` must have the shape of `mask`")
            elif name in SEQUENCE_TENSORS or name in EITHER or self.inputs.get(name) == "sequence":
                if value.shape == mask.shape and name in EITHER:
                    continue
                rows = value.shape[0] if rows is None and value.dim() == 1 else rows
                if value.dim() != 1 or value.shape[0] != rows:
                    problems.append(f"`{name}` must be [N]{' or [N, T]' if name in EITHER else ''}")
        problems += [
            f"`{name}` must be whole numbers"
            for name in ("group", "sequence")
            if is_fractional(batch.get(name))
        ]
        problems += (
            ["`sequence` must name rows of the [N] tensors: 0 to N - 1"]
            if packed and self.off_rows(batch["sequence"], rows)
            else []
        )
        problems += ["`mask` must be true or false, not weights"] if is_fractional(mask) else []
        if problems:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in batch.items())
            raise BatchError(f"{self.name}: {'; '.join(problems)}. The batch has {shapes}")

    @staticmethod
    def off_rows(sequence: torch.Tensor, rows: int | None) -> bool:
        """Whether packed tokens name rows that are not there; looked at on the CPU alone, where looking is free."""
        if sequence.device.type != "cpu" or not sequence.numel() or sequence.is_floating_point():
            return False
        limit = sequence.shape[0] if rows is None else rows
        return bool((sequence < 0).any() | (sequence >= limit).any())

    # ---- metrics

    def measure(self, x: Tensors, p: Tensors, d: Tensors) -> tuple[Sums, Tensors]:
        """(sum, count) of every metric that the batch allows, and what is not finite."""
        if x["mask"].numel() == 0:
            return {}, {}
        x = {name: value.detach() for name, value in x.items()}
        with torch.enable_grad():
            logp = x["logp"].requires_grad_()
            terms = self.functions["terms"]({**x, "logp": logp}, p, d)
            policy = torch.where(terms["trained"], terms["policy"], 0.0)
            (slope,) = torch.autograd.grad(policy.sum(), logp, allow_unused=True)
        slope = torch.zeros_like(logp) if slope is None else slope
        x = {**x, "logp": logp.detach()}
        terms = {name: value.detach() for name, value in terms.items()}
        bad = nonfinite_tokens(x, terms)
        sums = measured(x, d, terms, slope)
        sums["nonfinite"] = (bad.pop("any"), terms["trained"].sum())
        return sums, bad


def number_of_ranks() -> int:
    """Processes that share an optimizer step."""
    group = torch.distributed
    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def pooled(parts: Parts) -> torch.Tensor:
    """A statistic of the window from what its micro-batches bring: terms of a sum, or values and how to end."""
    if isinstance(parts[0], torch.Tensor):
        return torch.stack(list(parts)).sum(0)
    values = torch.cat([values for values, _ in parts])
    result: torch.Tensor = parts[0][1](values)
    return result


def computed_dtype(x: Batch) -> torch.dtype:
    """float32, or wider if a tensor of the batch is."""
    dtype = torch.float32
    for value in x.values():
        if value.is_floating_point():
            dtype = torch.promote_types(dtype, value.dtype)
    return dtype


def converted(batch: Batch, inputs: dict[str, str]) -> Tensors:
    """The tensors an objective can read: floats in one dtype, gradient to the live ones alone."""
    known = {*TOKEN_TENSORS, *SEQUENCE_TENSORS, *EITHER, "mask", "sequence", *inputs}
    dtype = computed_dtype({name: value for name, value in batch.items() if name in known})
    x: Tensors = {}
    for name in known & set(batch):
        value = batch[name] if name in LIVE_TENSORS else batch[name].detach()
        if name in ("mask", "correct", "truncated"):
            x[name] = value != 0
        else:
            x[name] = value if name in ("group", "sequence") else value.to(dtype)
    if "reward" in x and x["reward"].shape == x["mask"].shape and x["mask"].dim() == 2:
        x["reward"] = torch.where(x["mask"], x["reward"], 0.0).sum(-1)
    return x


def rows_present(x: Tensors) -> Tensors:
    """`present` [N]: sequences with a trained token and a reward; `mask` without the others."""
    mask = x["mask"]
    if "sequence" not in x:
        present = mask.any(-1)
    else:
        rows = next(
            (
                x[name].shape[0]
                for name in (*SEQUENCE_TENSORS, *EITHER)
                if name in x and x[name].shape != mask.shape
            ),
            mask.shape[0],
        )
        present = (
            torch.zeros(rows, dtype=torch.long, device=mask.device).index_add(0, x["sequence"], mask.long())
            > 0
        )
    if "reward" not in x:
        return {"present": present}
    present = present & ~torch.isnan(x["reward"])
    return {"present": present, "mask": mask & tokens(present, x)}


def dense(group: torch.Tensor) -> torch.Tensor:
    """Any ids as 0 … groups - 1, without asking the device how many there are."""
    order = torch.argsort(group, stable=True)
    ordered = group[order]
    new = torch.ones_like(ordered)
    new[1:] = (ordered[1:] != ordered[:-1]).to(new.dtype)
    return torch.zeros_like(group, dtype=torch.long).scatter(0, order, new.long().cumsum(0) - 1)


def is_fractional(value: torch.Tensor | None) -> bool:
    """Whether a tensor holds numbers that need not be whole."""
    return value is not None and value.is_floating_point()


def measured(x: Tensors, d: Batch, terms: Tensors, slope: torch.Tensor) -> Sums:
    """Every metric as (sum, count); `slope` is d(policy term)/d(logp) for each token."""
    trained = terms["trained"]
    count = trained.sum()
    sums: Sums = {}

    def mean_of(name: str, value: torch.Tensor, among: torch.Tensor | None = None) -> None:
        chosen = trained if among is None else trained & among
        sums[name] = (torch.where(chosen, value, 0.0).sum(), chosen.sum())

    share = count / d["tokens"].clamp(min=1)
    sums["loss"] = (terms["loss"], share)
    sums["policy_loss"] = (terms["policy_loss"], share)
    if "entropy" in x:
        mean_of("entropy", x["entropy"])
    if "logp_ref" in x:
        apart = (x["logp_ref"] - x["logp"]).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
        mean_of("kl", apart.exp() - apart - 1)
    if "logp_old" in x:
        gate_metrics(x, trained, slope, mean_of, sums)
    if "group" in x and "advantage_rows" in x:
        signal = group_max(x["advantage_rows"].abs(), x["present"], x) > 0
        size = group_sum(torch.ones_like(x["advantage_rows"]), x["present"], x).clamp(min=1)
        shares = torch.where(x["present"], 1 / size, 0.0)
        sums["zero_signal_groups"] = (torch.where(signal, 0.0, shares).sum(), shares.sum())
    return sums


def nonfinite_tokens(x: Tensors, terms: Tensors) -> Tensors:
    """How many trained tokens are not finite, by term and tensor; `any` counts the tokens with such a term."""
    trained = terms["trained"]
    token_terms = {
        f"term `{name}`": value for name, value in terms.items() if value.dim() and name != "trained"
    }
    tensors = {f"tensor `{name}`": x[name] for name in TOKEN_TENSORS if name in x}
    flags = {name: trained & ~torch.isfinite(value) for name, value in {**token_terms, **tensors}.items()}
    found = {name: flag.sum() for name, flag in flags.items()}
    found["any"] = torch.stack([flags[name] for name in token_terms]).any(0).sum()
    return found


def gate_metrics(
    x: Tensors,
    trained: torch.Tensor,
    slope: torch.Tensor,
    mean_of: Recorder,
    sums: Sums,
) -> None:
    """Ratio, gated share and probability mass by sign of the advantage."""
    apart = x["logp"] - x["logp_old"]
    ratio = apart.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    mean_of("ratio_mean", ratio)
    mean_of("clamped", (apart.abs() > LOG_RATIO_BOUND).to(ratio.dtype))
    one = torch.ones((), dtype=ratio.dtype, device=ratio.device)
    kept = torch.where(trained, ratio, 0.0)
    sums["ratio_max"] = (kept.max(), one)
    count = trained.sum()
    sums["ess"] = (kept.sum() ** 2 / (kept**2).sum().clamp(min=1e-30), count)
    if "advantage" not in x:
        return
    plain = x["advantage"] * ratio
    gated = (slope + plain).abs() > 1e-5 * plain.abs()
    for sign, side in (("pos", x["advantage"] > 0), ("neg", x["advantage"] < 0)):
        mean_of(f"gated_{sign}", gated.to(ratio.dtype), side)
        mean_of(f"mass_{sign}", x["logp_old"], side)
