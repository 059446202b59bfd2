"""The gradient is the derivative of what is meant to carry one, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from maspo_dsl.analysis.drawing import Array, Arrays, on_policy
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.semantics.quantities import other_policies
from maspo_dsl.semantics.types import Axis
from maspo_dsl.verification.evaluation import (
    Evaluation,
    PropertyError,
    as_torch,
    check_equal,
    check_nontrivial,
    computed,
    gradients_of,
    interpreted,
    position,
)
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject

SEEDS = (3, 4)
# Steps of a difference quotient, the next one where the one before crosses a kink; the error of the first is
# 1e-10 of the third derivative, that of the last 1e-9 of the loss.
STEPS = (1e-5, 1e-6, 1e-7)
TOLERANCE = 1e-5
# Of a loss that is a sum of a hundred numbers.
_ROUNDING = 1e-15
# No more tokens of a batch are moved than so many, and of a large one about as few.
MOST, FEW = 300, 20
_KINKED = frozenset({"min", "max", "bound", "abs"})


def finite_differences(subject: Subject) -> tuple[Verdict, str]:
    """The gradient is the difference quotient of the loss with everything frozen that carries none."""
    checked = skipped = 0
    unseen = False
    for seed in SEEDS:
        for name, batch in subject.batches(seed)[::2]:
            batch = subject.estimated(batch)
            gradients = [interpreted(subject.raw, batch), computed(subject.eager, batch)]
            check_nontrivial(gradients[0], name)
            for tensor in subject.live:
                found = _Differences(subject, batch, tensor, gradients)
                checked, skipped = checked + found.checked, skipped + found.skipped
                unseen |= bool(np.isnan(found.here).any())
    if checked < 3 * skipped:
        raise PropertyError(
            f"{skipped} of {checked + skipped} tokens stand on a kink, where nothing can be compared"
        )
    left_out = f", {skipped} at a kink left out" if skipped else ""
    nan = "; NaN in a branch that is not taken" if unseen else ""
    return "pass", f"{checked} derivatives{left_out}{nan}"


class _Differences:
    """Difference quotients with respect to one tensor at every trained token, held against gradients."""

    def __init__(self, subject: Subject, batch: Arrays, tensor: str, gradients: list[Evaluation]) -> None:
        self.batch = batch
        self.tensor = tensor
        self.checked = self.skipped = 0
        self.here = np.zeros(0)
        if tensor not in subject.raw.inputs(["loss"]):
            return
        nodes = subject.raw.nodes
        base = Interpretation(subject.raw, batch)
        base.output("loss")
        reached = subject.raw.reachable(["loss"])
        self.frozen = {
            place: base.values[place]
            for place in reached
            if not nodes[place].live and not subject.raw.candidates[place]
        }
        # What is frozen needs nothing below it, so any leaf will do.
        leaf = Node("const", (), Axis.SCALAR, attributes=(("value", 0.0),))
        cut = tuple(node if node.live else leaf for node in nodes)
        self.graph = Graph(cut, subject.raw.outputs)
        here = self.graph.reachable(["loss"])
        self.kinks = [place for place in here if nodes[place].live and nodes[place].op in _KINKED]
        self.here = self._sides(base)
        trained = batch["mask"] if batch[tensor].ndim == 2 else batch["mask"].any(axis=1)
        places = np.argwhere(trained)
        most = MOST if trained.size <= MOST**2 // FEW else FEW
        for place in places[:: 1 + len(places) // most]:
            self._compare(tuple(int(axis) for axis in place), gradients)

    def _compare(self, place: tuple[int, ...], gradients: list[Evaluation]) -> None:
        quotient = self._quotient(place)
        if quotient is None:
            self.skipped += 1
            return
        slope, rounding = quotient
        self.checked += 1
        for gradient, what in zip(gradients, ("the graph's", "the emitted"), strict=True):
            found = float(gradient.gradients[self.tensor][place])
            if not abs(found - slope) <= TOLERANCE * (abs(slope) + gradient.largest) + rounding:
                raise PropertyError(
                    f"{what} gradient of {self.tensor} at {position(place)} is {found:.6g}; the loss, with what is "
                    f"detached held fast, changes by {slope:.6g}"
                )

    def _quotient(self, place: tuple[int, ...]) -> tuple[float, float] | None:
        """The central difference with a step that crosses no kink, and what rounding adds; None if every step does."""
        for step in STEPS:
            above, below = self._moved(place, step), self._moved(place, -step)
            if all(np.array_equal(self.here, self._sides(one), equal_nan=True) for one in (above, below)):
                high, low = float(above.output("loss")), float(below.output("loss"))
                return (high - low) / (2 * step), _ROUNDING * abs(high) / step
        return None

    def _moved(self, place: tuple[int, ...], step: float) -> Interpretation:
        value = self.batch[self.tensor].copy()
        value[place] += step
        moved = Interpretation(self.graph, {**self.batch, self.tensor: value}, frozen=self.frozen)
        moved.output("loss")
        return moved

    def _sides(self, interpretation: Interpretation) -> Array:
        """On which side of every kink each element is."""
        return np.concatenate([np.zeros(0), *(side.ravel() for side in self._each_side(interpretation))])

    def _each_side(self, interpretation: Interpretation) -> Iterator[Array]:
        for place in self.kinks:
            node = self.graph.nodes[place]
            values = [interpretation.values[argument] for argument in node.args]
            if node.op == "bound":
                limits = [float(str(node.attribute(name))) for name in ("low", "high")]
                yield from (np.sign(values[0] - limit) for limit in limits)
            else:
                yield np.sign(values[0] - values[1]) if len(values) == 2 else np.sign(values[0])


def detached(subject: Subject) -> tuple[Verdict, str]:
    """No gradient flows to old, rollout, reference, teachers, reward or value, even where they are `logp` itself."""
    for seed in SEEDS:
        batch = on_policy(subject.completions(seed), subject.tensors)
        batch["value"] = batch["logp"]
        _check_aliases(subject, batch, "one tensor in all places")
        _check_aliases(subject, {**batch, "token_reward": batch["logp"]}, "also as the rewards of tokens")
        if subject.takes_token_advantages:
            _check_aliases(subject, {**batch, "advantage": batch["logp"]}, "also as the advantages of tokens")
        _check_leaks(subject, subject.batches(seed)[0][1])
    _check_second_derivative(subject)
    return "pass", "also with one tensor in all places; the gradient is a constant"


def _check_aliases(subject: Subject, batch: Arrays, what: str) -> None:
    """The same tensor under many names has the gradient of copies."""
    expected = interpreted(subject.raw, subject.estimated(batch))
    tensors = as_torch(batch, live=subject.live)
    same = {name: tensors["logp"] for name, value in batch.items() if value is batch["logp"]}
    copies = dict.fromkeys(other_policies(subject.tensors), tensors["logp"])
    out = subject.eager({**tensors, **same, **copies})
    out.loss.backward()
    check_equal(Evaluation(out.loss.item(), gradients_of(tensors, subject.live)), expected, what)


def _check_leaks(subject: Subject, batch: Arrays) -> None:
    """Tensors that are no policy get no gradient, though they ask for one."""
    tensors = as_torch(batch, live=subject.live)
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tensor.requires_grad_()
    out = subject.eager(tensors)
    out.loss.backward()
    check_nontrivial(Evaluation(out.loss.item(), gradients_of(tensors, subject.live)), "batch with rewards")
    leaks = [
        name
        for name, tensor in tensors.items()
        if name not in subject.live and tensor.grad is not None and bool((tensor.grad != 0).any())
    ]
    if leaks:
        raise PropertyError(f"gradient flows to {', '.join(leaks)}")


def _check_second_derivative(subject: Subject) -> None:
    """The gradient is handed out as a constant; compiled, differentiating it again is an error or gives 0."""
    batch = subject.completions(SEEDS[0])
    loss = subject.eager if subject.backend == "eager" else subject.fused
    tensors = as_torch(batch, live=subject.live)
    (gradient,) = torch.autograd.grad(loss(tensors).loss, tensors[subject.leading])
    if gradient.requires_grad:
        raise PropertyError(f"the gradient of `{subject.leading}` itself carries gradient")
    if subject.backend == "eager" or not subject.fused.compilations:
        return
    tensors = as_torch(batch, live=subject.live)
    (gradient,) = torch.autograd.grad(loss(tensors).loss, tensors[subject.leading], create_graph=True)
    if not gradient.requires_grad:
        return
    try:
        (second,) = torch.autograd.grad(gradient.sum(), tensors[subject.leading], allow_unused=True)
    except RuntimeError:
        return
    if second is not None and bool((second != 0).any()):
        raise PropertyError("the compiled gradient can be differentiated again, and is not 0")
