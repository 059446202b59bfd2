"""The loss and its gradients by each of the ways there are to compute them, and whether two of them agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import MEMORY, Graph
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.semantics.quantities import LIVE_TENSORS
from maspo_dsl.verification.batches import by_token

ADVANTAGE = "advantage"
# A gradient that is no more than this is none.
TRIVIAL = 1e-12
# What is left of sums of terms near 1 that cancel, in float64.
_ROUNDING = 1e-15


class PropertyError(Exception):
    """A property does not hold; the message says where and by how much."""


@dataclass(frozen=True)
class Evaluation:
    """A loss, and its gradient with respect to each live tensor, or to what those come from, in that shape.

    Under `ADVANTAGE` it may hold the advantage as well, and under `memory:NAME` the next value of a memory, in the
    shape of a live tensor, to be compared like gradients.
    """

    loss: float
    gradients: Mapping[str, Array]

    @property
    def largest(self) -> float:
        """The largest gradient."""
        return float(np.max([np.abs(value).max(initial=0) for value in self.derived.values()]))

    @property
    def derived(self) -> dict[str, Array]:
        """The gradients alone."""
        return {name: value for name, value in self.gradients.items() if not _is_estimate(name)}


def interpreted(
    graph: Graph,
    batch: Arrays,
    *,
    params: Mapping[str, float] | None = None,
    denominators: Mapping[str, float] | None = None,
) -> Evaluation:
    """By the oracle, in float64."""
    interpretation = Interpretation(graph, batch, params=params, denominators=denominators)
    loss = float(interpretation.output("loss"))
    live = {*LIVE_TENSORS, *graph.live_inputs(["loss"])}
    return Evaluation(loss, {name: interpretation.gradient("loss", name) for name in sorted(live)})


def computed(
    loss: ObjectiveLoss,
    batch: Arrays,
    dtype: torch.dtype = torch.float64,
    denominators: Mapping[str, Tensor] | None = None,
) -> Evaluation:
    """By the emitted code, floats in `dtype`."""
    live = loss.objective.resolved.live_tensors
    tensors = as_torch(batch, dtype, live)
    out = loss(tensors, denominators=denominators)
    out.loss.backward()
    return Evaluation(out.loss.item(), gradients_of(tensors, live))


def metrics_of(loss: ObjectiveLoss, batch: Arrays, dtype: torch.dtype = torch.float64) -> dict[str, float]:
    """The metrics of the emitted code, floats in `dtype`."""
    return {name: value.item() for name, value in loss(as_torch(batch, dtype)).metrics.items()}


def gradients_of(tensors: Mapping[str, Tensor], live: Iterable[str] = LIVE_TENSORS) -> dict[str, Array]:
    """The gradients that a backward pass left on the live tensors; 0 where it left none."""
    found = {}
    for name in live:
        gradient = tensors[name].grad
        gradient = torch.zeros_like(tensors[name]) if gradient is None else gradient
        found[name] = gradient.double().numpy()
    return found


def as_torch(
    batch: Mapping[str, Array], dtype: torch.dtype = torch.float64, live: Iterable[str] = LIVE_TENSORS
) -> dict[str, Tensor]:
    """The batch as tensors, floats in `dtype`; the live ones are leaves that require a gradient."""
    result = {}
    for name, value in batch.items():
        tensor = torch.as_tensor(np.asarray(value))
        result[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor.clone()
    for name in live:
        result[name] = result[name].clone().requires_grad_()
    return result


def rounded(batch: Arrays, dtype: torch.dtype) -> Arrays:
    """The batch with its floats rounded to a dtype, as float64."""
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    return {
        name: (value.to(dtype).double() if value.is_floating_point() else value).numpy()
        for name, value in tensors.items()
    }


def conditioning(graph: Graph, batch: Arrays) -> Evaluation:
    """How much loss and gradients may move because float32 has 24 bits: ten times what rounding the inputs does."""
    random = np.random.default_rng(0)
    base = interpreted(graph, batch)
    moved: list[Evaluation] = []
    for _ in range(3):
        nudged = {name: _nudged(value, random) for name, value in batch.items() if name in by_token(batch)}
        moved.append(interpreted(graph, {**batch, **nudged}))
    loss = 10 * max(abs(one.loss - base.loss) for one in moved)
    gradients = {
        name: 10 * np.max([np.abs(one.gradients[name] - value) for one in moved], axis=0)
        for name, value in base.gradients.items()
    }
    return Evaluation(loss, gradients)


def _nudged(value: Array, random: np.random.Generator) -> Array:
    """Numbers moved by as much as rounding to float32 does; conditions as they are."""
    if value.dtype == bool:
        return value
    return np.asarray(value * (1 + 2.0**-24 * random.choice([-1, 1], value.shape)))


def check_nontrivial(evaluation: Evaluation, batch: str) -> None:
    """Raise PropertyError where there is nothing that a mistake could change."""
    _check_finite(evaluation, batch)
    if evaluation.largest <= TRIVIAL:
        raise PropertyError(f"the gradient is 0 on the {batch}, so that nothing is tested")


def check_equal(
    got: Evaluation,
    expected: Evaluation,
    what: str,
    *,
    rtol: float = 1e-9,
    slack: Evaluation | None = None,
) -> None:
    """Raise PropertyError where two evaluations differ by more than `rtol` of the largest gradient, or of the loss.

    `slack` is what may be added to that, number for number.
    """
    _check_finite(expected, what)
    size = sum(float(np.abs(value).sum()) for value in expected.derived.values())
    allowed = rtol * max(abs(expected.loss), size) + (slack.loss if slack else 0.0) + _ROUNDING
    if not abs(got.loss - expected.loss) <= allowed:
        raise PropertyError(f"{what}: the loss is {got.loss:.9g}, not {expected.loss:.9g}")
    for name, wanted in expected.gradients.items():
        more = slack.gradients[name] if slack else 0.0
        largest = max(float(np.abs(wanted).max(initial=0)), 1e-3 * expected.largest)
        gradient = got.gradients.get(name, np.zeros_like(wanted))
        within = np.abs(gradient - wanted) <= rtol * (np.abs(wanted) + largest) + more + _ROUNDING
        if not within.all():
            place = tuple(int(axis) for axis in np.argwhere(~within)[0])
            found, right = gradient[place], wanted[place]
            raise PropertyError(
                f"{what}: {_label(name)} at {_entry_text(name, place)} is {found:.9g}, not {right:.9g}"
                f"{others(int((~within).sum()) - 1)}"
            )


def check_metrics(got: Mapping[str, float], expected: Mapping[str, float], what: str) -> None:
    """Raise PropertyError for the first metric that is not finite, or differs from the expected one."""
    for name, value in got.items():
        if not abs(value - expected[name]) <= 1e-9 * abs(expected[name]) + 1e-12:
            raise PropertyError(f"{what}: the metric `{name}` is {value:.9g}, not {expected[name]:.9g}")


def _check_finite(expected: Evaluation, what: str) -> None:
    """Nothing can be compared with NaN."""
    if np.isfinite(expected.loss) and np.isnan(expected.largest):
        raise PropertyError(
            f"{what}: the loss is {expected.loss:g} and its gradient NaN: there is NaN or infinity in a branch that "
            "is not taken, whose gradient of 0 times that is NaN; bound what stands in the branch"
        )
    if not np.isfinite([expected.loss, expected.largest]).all():
        raise PropertyError(f"{what}: not finite: loss {expected.loss:g}, gradient {expected.largest:g}")


def _is_estimate(name: str) -> bool:
    return name == ADVANTAGE or name.startswith(MEMORY)


def _label(name: str) -> str:
    if name.startswith(MEMORY):
        return f"the next value of `{name.removeprefix(MEMORY)}`"
    return "the advantage" if name == ADVANTAGE else f"d loss / d {name}"


def _entry_text(name: str, place: tuple[int, ...]) -> str:
    """A place in a live tensor, or in the states, weight or bias of a head."""
    if name == "hidden":
        return f"{position(place[:-1])}, component {place[-1]}"
    if name in ("weight", "bias"):
        return ", ".join(f"{axis} {at}" for axis, at in zip(("word", "component"), place, strict=False))
    return position(place)


def position(place: tuple[int, ...]) -> str:
    """A place in a tensor in words."""
    return f"row {place[0]}, token {place[1]}" if len(place) == 2 else f"place {place[0]}"


def others(number: int) -> str:
    """How many more there are of a kind, or nothing."""
    return f" ({number} more)" if number else ""
