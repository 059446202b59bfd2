"""What a call returns beside the loss: metrics as (sum, count), computed when they are read."""

import torch

from maspo_dsl.emit.template.batch import having
from maspo_dsl.emit.template.names import Batch, Inputs, Measure, Recorder, Sums, Tensors
from maspo_dsl.emit.template.operations import max_within, rows_by, sum_within
from maspo_dsl.semantics.vocabulary import LOG_RATIO_BOUND


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
        signal = max_within(x["advantage_rows"].abs(), x["present"], rows_by(x, "group")) > 0
        size = sum_within(torch.ones_like(x["advantage_rows"]), x["present"], rows_by(x, "group")).clamp(
            min=1
        )
        shares = torch.where(x["present"], 1 / size, 0.0)
        sums["zero_signal_groups"] = (torch.where(signal, 0.0, shares).sum(), shares.sum())
    return sums


def nonfinite_tokens(x: Tensors, terms: Tensors, inputs: Inputs) -> Tensors:
    """How many tokens are not finite, by term and tensor; `any` counts the trained ones with such a term.

    Tensors are looked at where the mask is true, because NaN can be why a token is excluded.
    """
    trained = terms["trained"]
    token_terms = {
        f"term `{name}`": value for name, value in terms.items() if value.dim() and name != "trained"
    }
    tensors = {f"tensor `{name}`": x[name] for name in having("token number", inputs) if name in x}
    flags = {name: trained & ~torch.isfinite(value) for name, value in token_terms.items()}
    flags |= {name: x["mask"] & ~torch.isfinite(value) for name, value in tensors.items()}
    found = {name: flag.sum() for name, flag in flags.items()}
    found["any"] = torch.stack([flags[name] for name in token_terms]).any(0).sum()
    return found


def outside_metrics(x: Tensors, outside: Tensors, inputs: Inputs) -> Sums:
    """The share of values that a spec does not allow, by input: of tokens of the mask, of their sequences, of calls."""
    sums: Sums = {}
    for name, flag in outside.items():
        axis = inputs[name].split()[0]
        among = {"token": x["mask"], "sequence": x["present"]}.get(axis, torch.ones_like(flag))
        sums[f"outside_{name}"] = ((flag & among).sum(), among.sum())
    return sums


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
