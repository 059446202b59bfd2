"""What a call returns beside the loss: metrics as sums that pool, computed when they are read."""

import torch

from maspo_dsl.emit.template.batch import having
from maspo_dsl.emit.template.names import Batch, Inputs, Measure, Parts, Recorder, Tensors
from maspo_dsl.emit.template.operations import max_within, rows_by, sum_within
from maspo_dsl.semantics.vocabulary import LOG_RATIO_BOUND


class LossOutput:
    """What a call returns: `loss`, 0-d, with gradient; and metrics, computed when they are first read.

    `metric_parts` maps a name to what the metric is made of, and `pooled_parts` puts the calls of a window together:
    [2] is the sum and the count of a mean, [3] the sum, count and sum of squares of an effective sample size, [1] the
    largest value. `metrics` has the metrics of this call alone. A copy has no gradient, nor what is read from a file.
    """

    def __init__(self, loss: torch.Tensor, measure: Measure) -> None:
        """`measure` computes the parts of the metrics, and what is not finite."""
        self.loss = loss
        self._measure = measure
        self._found: tuple[Tensors, Tensors] | None = None

    def _measured(self) -> tuple[Tensors, Tensors]:
        if self._found is None:
            self._found = self._measure()
        return self._found

    @property
    def metric_parts(self) -> Tensors:
        """What each metric is made of, 1-d float64."""
        return self._measured()[0]

    @property
    def nonfinite(self) -> Tensors:
        """How many trained tokens are NaN or infinite, by term and by tensor of the batch, 0-d each."""
        return self._measured()[1]

    @property
    def metrics(self) -> Tensors:
        """Metrics by name, 0-d; 0 where there is nothing to count."""
        return {name: metric_value(parts) for name, parts in self.metric_parts.items()}

    def __reduce__(self) -> tuple[object, ...]:
        """As numbers: neither the graph of the loss nor the batch is copied."""
        return known_output, (self.loss.detach(), self._measured())


def known_output(loss: torch.Tensor, found: tuple[Tensors, Tensors]) -> LossOutput:
    """An output whose metrics have been computed."""
    return LossOutput(loss, lambda: found)


def pooled_parts(outputs: Parts) -> Tensors:
    """The parts of several calls' metrics as those of one; where some lack a metric it is that of the others."""
    found: Tensors = {}
    for name in dict.fromkeys(name for parts in outputs for name in parts):
        rows = torch.stack([parts[name] for parts in outputs if name in parts])
        found[name] = rows.amax(0) if rows.shape[1] == 1 else rows.sum(0)
    return found


def metric_value(parts: torch.Tensor) -> torch.Tensor:
    """A metric, 0-d, from its parts."""
    if len(parts) == 1:
        return parts[0]
    total, count = parts[0], parts[1]
    if len(parts) == 3:  # (sum r)^2 / (n sum r^2)
        total, count = total**2, count * parts[2]
    return torch.where(count != 0, total / torch.where(count != 0, count, 1), 0.0)


def measured(x: Tensors, d: Batch, terms: Tensors, slope: torch.Tensor, inputs: Inputs) -> Tensors:
    """The parts of every metric; `slope` is d(policy term)/d(logp) for each token."""
    trained = terms["trained"]
    count = trained.sum()
    parts: Tensors = {}

    def made_of(name: str, *values: torch.Tensor) -> None:
        parts[name] = torch.stack([value.double() for value in values])

    def mean_of(name: str, value: torch.Tensor, among: torch.Tensor | None = None) -> None:
        chosen = trained if among is None else trained & among
        made_of(name, torch.where(chosen, value, 0.0).sum(), chosen.sum())

    share = count / d["tokens"].clamp(min=1)
    made_of("loss", terms["loss"], share)
    if "policy_loss" in terms:
        made_of("policy_loss", terms["policy_loss"], share)
    for name in having("live", inputs):
        if name in x and name != "logp" and "token" in inputs[name]:
            mean_of(name, x[name])
    if {"logp", "logp_ref"} <= set(x):
        apart = (x["logp_ref"] - x["logp"]).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
        mean_of("kl", apart.exp() - apart - 1)
    if {"logp", "logp_old"} <= set(x):
        ratio_metrics(x, trained, mean_of, made_of)
        if "policy" in terms and "advantage" in x:
            gate_metrics(x, slope, mean_of)
    if "group" in x and "advantage_rows" in x:
        signal = max_within(x["advantage_rows"].abs(), x["present"], rows_by(x, "group")) > 0
        size = sum_within(torch.ones_like(x["advantage_rows"]), x["present"], rows_by(x, "group")).clamp(
            min=1
        )
        shares = torch.where(x["present"], 1 / size, 0.0)
        made_of("zero_signal_groups", torch.where(signal, 0.0, shares).sum(), shares.sum())
    # Rounding alone may take the log-prob of a certain token this far above 0.
    above = [trained & (x[name] > 1e-4) for name in having("log-prob", inputs) if name in x]
    if above:
        made_of("above_zero", torch.stack(above).any(0).sum(), count)
    return parts


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
    bad = torch.zeros_like(trained)
    for name in token_terms:
        bad = bad | flags[name]
    found["any"] = bad.sum()
    return found


def outside_metrics(x: Tensors, outside: Tensors, inputs: Inputs) -> Tensors:
    """The share of values that a spec does not allow, by input: of tokens of the mask, of their sequences, of calls."""
    parts: Tensors = {}
    for name, flag in outside.items():
        if name not in x:
            continue
        axis = inputs[name].split()[0]
        among = {"token": x["mask"], "sequence": x["present"]}.get(axis, torch.ones_like(flag))
        parts[f"outside_{name}"] = torch.stack([(flag & among).sum(), among.sum()]).double()
    return parts


def ratio_metrics(x: Tensors, trained: torch.Tensor, mean_of: Recorder, made_of: Recorder) -> None:
    """How far the policy is from the old one."""
    apart = x["logp"] - x["logp_old"]
    ratio = apart.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    mean_of("ratio_mean", ratio)
    mean_of("clamped", (apart.abs() > LOG_RATIO_BOUND).to(ratio.dtype))
    kept = torch.where(trained, ratio, 0.0).double()
    made_of("ratio_max", kept.max())
    made_of("ess", kept.sum(), trained.sum(), (kept**2).sum())


def gate_metrics(x: Tensors, slope: torch.Tensor, mean_of: Recorder) -> None:
    """Gated share and probability mass by sign of the advantage."""
    ratio = (x["logp"] - x["logp_old"]).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    plain = x["advantage"] * ratio
    gated = (slope + plain).abs() > 1e-5 * plain.abs()
    for sign, side in (("pos", x["advantage"] > 0), ("neg", x["advantage"] < 0)):
        mean_of(f"gated_{sign}", gated.to(ratio.dtype), side)
        mean_of(f"mass_{sign}", x["logp_old"], side)
