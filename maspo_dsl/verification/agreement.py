"""Every form of an objective computes the same: graph before and after each pass, emitted code, compiled code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch

from maspo_dsl.analysis.drawing import Arrays, on_policy
from maspo_dsl.analysis.thresholds import counts
from maspo_dsl.graph import passes
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import MEMORY, Graph
from maspo_dsl.runtime.loss import ObjectiveLoss
from maspo_dsl.semantics.types import Axis
from maspo_dsl.verification.batches import completions, rows_of, with_garbage
from maspo_dsl.verification.evaluation import (
    Evaluation,
    PropertyError,
    as_torch,
    check_equal,
    check_nontrivial,
    computed,
    conditioning,
    interpreted,
    rounded,
)
from maspo_dsl.verification.extremes import far
from maspo_dsl.verification.reach import SidesTaken, said
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import LONGEST, Subject

SEEDS = (0, 1, 2)
# Sums of a hundred products in float32, each with an exponent whose error is 6e-8 of up to 20, or a sigmoid near 1.
FLOAT32 = 1e-4
LONG = 2048
_OF_ONE_GROUP = (0, 2, 6)


def reach(subject: Subject) -> tuple[Verdict, str]:
    """The batches reach the objective: loss and gradient are not trivially 0 on any of them."""
    learning = trained = 0
    reached = SidesTaken(subject.objective.resolved)
    for name, batch in _all_batches(subject):
        interpretation = Interpretation(subject.graph, batch)
        gradients = {tensor: interpretation.gradient("loss", tensor) for tensor in subject.live}
        found = Evaluation(float(interpretation.output("loss")), gradients)
        _check_finite(found, reached, batch, name)
        check_nontrivial(found, name)
        if found.loss == 0:
            raise PropertyError(f"the loss is exactly 0 on the {name}")
        of_tokens = [gradient != 0 for gradient in gradients.values() if gradient.ndim == 2]
        learning += int(np.any(of_tokens, axis=0).sum())
        trained += int(interpretation.batch["mask"].sum())
        reached.add(batch)
    return "pass", f"{learning} of {trained} tokens have a gradient{_ways(subject, reached)}"


def _check_finite(found: Evaluation, reached: SidesTaken, batch: Arrays, name: str) -> None:
    """Raise PropertyError for a loss or gradient that is no finite number, and say what it comes from."""
    if not (np.isfinite(found.loss) and np.isfinite(found.largest)):
        place = reached.first_not_finite(batch)
        what = f"; the first value that is not: {place}" if place else ""
        raise PropertyError(
            f"not finite on the {name}: loss {found.loss:g}, gradient {found.largest:g}{what}"
        )


def _ways(subject: Subject, reached: SidesTaken) -> str:
    """How many choices go both ways on what is compared with the oracle, and where the others stand."""
    if not reached.choices:
        return ""
    for batch, params in _elsewhere(subject):
        if not reached.one_way:
            break
        reached.add(batch, params)
    left = reached.one_way
    both = f"; {reached.number - len(left)} of {reached.number} choices go both ways"
    return both + (f"; not reached, which is not dead: {'; '.join(map(said, left))}" if left else "")


def _elsewhere(subject: Subject) -> Iterator[tuple[Arrays, dict[str, float]]]:
    """What other lines compare: other sizes, the run's lengths, far ratios, long completions."""
    yield from ((batch, {}) for _, batch in subject.of_all_sizes(SEEDS[0]))
    yield from ((batch, {}) for _, batch in _degenerate(subject))
    nothing = subject.completions(SEEDS[0])
    yield {**nothing, "mask": np.zeros_like(nothing["mask"])}, {}
    yield from ((subject.completions(seed), subject.shortened.params) for seed in SEEDS)
    yield from ((batch, {}) for _, batch in far(subject))
    yield from ((batch, {}) for batch in _long(subject))


def _all_batches(subject: Subject) -> Iterator[tuple[str, Arrays]]:
    for seed in SEEDS:
        for name, batch in subject.batches(seed):
            yield f"{name}, seed {seed}", batch


def _training(subject: Subject, batches: Iterable[tuple[str, Arrays]]) -> Iterator[tuple[str, Arrays]]:
    """Those with a trained token: a normaliser of a spec's own is 0 / 0 without one, and `nothing` asks about these."""
    for name, batch in batches:
        if np.any(Interpretation(subject.raw, batch).output("trained")):
            yield name, batch


def _degenerate(subject: Subject) -> Iterator[tuple[str, Arrays]]:
    """Batches on which there may be nothing to learn."""
    batch = subject.completions(SEEDS[0])
    yield "batch of one completion", rows_of(batch, [2])
    yield "batch of equal rewards", {**batch, "reward": np.full(len(batch["reward"]), 0.3)}


def each_pass(subject: Subject) -> tuple[Verdict, str]:
    """Every pass over the graph keeps value and gradient."""
    graphs = [(transform.__name__, graph) for transform, graph in _stages(subject.raw)]
    for name, batch in subject.batches(SEEDS[0]):
        advantage = Interpretation(subject.raw, batch).output("advantage")
        whole = {"advantage": advantage, **batch}
        expected = interpreted(subject.raw, whole)
        check_nontrivial(expected, name)
        for transform, graph in graphs:
            check_equal(interpreted(graph, whole), expected, f"after {transform}, {name}")
            if not np.allclose(Interpretation(graph, batch).output("advantage"), advantage, atol=1e-12):
                raise PropertyError(f"after {transform}, {name}: the advantage is another")
    before, after = len(subject.raw.nodes), len(subject.graph.nodes)
    return "pass", f"{len(passes.PASSES)} passes, from {before} to {after} operations"


def _stages(graph: Graph) -> Iterator[tuple[Callable[[Graph], Graph], Graph]]:
    """Each pass, and the graph after it."""
    for transform in passes.PASSES:
        graph = transform(graph)
        yield transform, graph


def emitted(subject: Subject) -> tuple[Verdict, str]:
    """The emitted code computes what the graph says, in float64: the graph before any pass, and simplified."""
    number = 0
    for name, batch in _all_batches(subject):
        got = computed(subject.eager, with_garbage(batch, number))
        for graph in (subject.raw, subject.graph):
            expected = interpreted(graph, subject.estimated(batch))
            check_nontrivial(expected, name)
            check_equal(got, expected, name)
        number += 1
    for name, batch in _training(subject, (*subject.of_all_sizes(SEEDS[0]), *_degenerate(subject))):
        expected = interpreted(subject.raw, subject.estimated(batch))
        check_equal(computed(subject.eager, batch), expected, name)
        number += 1
    _check_other_outputs(subject)
    _check_parameters(subject, subject.eager)
    detail = f"{number} batches"
    if subject.shortened.hash != subject.objective.hash:
        _check_shortened(subject)
        detail += ", and with lengths of the run"
    return "pass", detail


def _check_other_outputs(subject: Subject) -> None:
    """Advantage, keep, prompt and step, which are asked for one by one, and what memories will be."""
    loss = subject.eager
    for seed in SEEDS:
        batch = subject.completions(seed)
        interpretation = Interpretation(subject.raw, batch)
        got = {name: getattr(loss, name)(as_torch(batch)) for name in ("advantage", "keep", "prompt")}
        got["step"] = loss.step([as_torch(batch)])
        got |= {f"{MEMORY}{name}": value for name, value in loss.memory(as_torch(batch)).items()}
        for name, value in got.items():
            if name in subject.raw.outputs:
                wanted = np.asarray(interpretation.output(name), dtype=float)
                found = np.broadcast_to(value.double().numpy(), wanted.shape)
                if not np.allclose(found, wanted, rtol=1e-9, atol=1e-12, equal_nan=True):
                    raise PropertyError(f"`{name}` differs from what the graph says, seed {seed}")


def _check_parameters(subject: Subject, loss: ObjectiveLoss) -> None:
    """Parameters that are changed in place count as if the spec had said so."""
    kept = {name: float(value) for name, value in loss.params.items()}
    changed = {name: 0.9 * value for name, value in kept.items()}
    batch = subject.completions(SEEDS[0])
    try:
        for name, value in changed.items():
            loss.params[name].fill_(value)
        batch["advantage"] = loss.advantage(as_torch(batch)).numpy()
        got = computed(loss, batch)
    finally:
        for name, value in kept.items():
            loss.params[name].fill_(value)
    check_equal(got, interpreted(subject.graph, batch, params=changed), "parameters changed in place")


def _check_shortened(subject: Subject) -> None:
    """Where a parameter is bound to the run, also with completions that come near the limit."""
    loss = ObjectiveLoss(subject.shortened, "eager")
    for seed in SEEDS:
        batch = subject.completions(seed)
        got = computed(loss, batch)
        batch["advantage"] = loss.advantage(as_torch(batch)).numpy()
        check_equal(got, interpreted(subject.shortened.graph, batch), "with lengths of the run")


def emitted_float32(subject: Subject) -> tuple[Verdict, str]:
    """The emitted code in float32 is the graph in float64 of the same rounded inputs."""
    worst = _check_float32(subject, subject.eager, list(_all_batches(subject)))
    return "pass", f"largest error {worst:.0e} of the largest gradient"


_NEAR = 1e-3


def long_completions(subject: Subject) -> tuple[Verdict, str]:
    """Over completions of thousands of tokens the emitted code in float32 is the graph in float64, and finite."""
    for batch in _long(subject):
        if interpreted(subject.graph, batch).largest > 0:
            longest = int(batch["mask"].sum(axis=1).max())
            worst = _check_float32(subject, subject.eager, [(f"completions of {longest} tokens", batch)])
            return "pass", f"up to {longest} tokens: largest error {worst:.0e} of the largest gradient"
    return "skipped", "long completions have no gradient"


def _long(subject: Subject) -> Iterator[Arrays]:
    """Long completions, near enough to each other policy for bounds on whole ones: three of a group, then many."""
    counted = [number for number in counts(subject.objective.resolved)[Axis.TOKEN] if number <= LONGEST]
    columns = max([LONG, *(number + 2 for number in counted)])
    whole = completions(SEEDS[0], subject.tensors, layout=replace(subject.layout, columns=columns))
    rows = range(len(whole["group"]))
    for some in (_OF_ONE_GROUP, rows):
        batch = rows_of(whole, some)
        lengths = np.resize([columns, columns - 1, *(number + 1 for number in counted[-1:])], len(some))
        batch["mask"] = batch["mask"] | (np.arange(columns) >= 1)
        batch["mask"] &= np.arange(columns) < lengths[:, None]
        batch["reward"] = np.resize([1.0, 0.0, 0.5, 0.0], len(some))
        for name in {*batch} & {"logp", "logp_rollout", "logp_ref"}:
            batch[name] = batch["logp_old"] + _NEAR * (batch[name] - batch["logp_old"])
        yield batch


def compiled_float64(subject: Subject) -> tuple[Verdict, str]:
    """The compiled code is the graph, in float64; one graph serves every shape, and parameters changed in place."""
    if subject.backend == "eager":
        return "skipped", "nothing is compiled with backend eager"
    graphs = []
    for name, batch in _training(subject, _shapes(subject)):
        expected = interpreted(subject.raw, batch)
        check_equal(computed(subject.fused, batch), expected, name)
        graphs.append(subject.fused.compilations)
    _check_parameters(subject, subject.fused)
    graphs.append(subject.fused.compilations)
    return "pass", _one_graph(graphs)


def compiled_float32(subject: Subject) -> tuple[Verdict, str]:
    """The compiled code in float32 is the graph in float64 of the same rounded inputs, for several shapes."""
    if subject.backend == "eager":
        return "skipped", "nothing is compiled with backend eager"
    worst = _check_float32(subject, subject.fused, list(_training(subject, _shapes(subject))))
    return "pass", f"largest error {worst:.0e} of the largest gradient"


def _one_graph(graphs: list[int]) -> str:
    """What is said of the number of graphs after each batch. Raises PropertyError where later ones needed another."""
    if graphs[-1] > graphs[0]:
        raise PropertyError(
            f"it was compiled {graphs[-1] - graphs[0]} times more for other shapes or parameters"
        )
    return (
        "one graph for 6 shapes and other parameters"
        if graphs[0]
        else "ran eagerly: there is no C++ compiler"
    )


def _shapes(subject: Subject) -> Iterator[tuple[str, Arrays]]:
    """Batches of other sizes, one completion, one token a completion; and on policy."""
    for seed in SEEDS[:2]:
        batch = subject.estimated(subject.completions(seed))
        yield f"batch with rewards, seed {seed}", batch
    yield "batch on policy", on_policy(batch, subject.tensors)
    yield "batch of one completion", rows_of(batch, [2])
    first = {name: np.ascontiguousarray(value[:, :1]) for name, value in batch.items() if value.ndim == 2}
    yield "batch of one token a completion", {**batch, **first}


def _check_float32(subject: Subject, loss: ObjectiveLoss, batches: list[tuple[str, Arrays]]) -> float:
    """Compare in float32; the largest error of a gradient, relative to the largest gradient of all."""
    worst = largest = 0.0
    for name, batch in batches:
        batch = rounded(batch, torch.float32)
        got = computed(loss, batch, torch.float32)
        batch = subject.estimated(batch, torch.float32)
        expected = interpreted(subject.graph, batch)
        slack = conditioning(subject.graph, batch)
        check_equal(got, expected, f"float32, {name}", rtol=FLOAT32, slack=slack)
        for key, wanted in expected.gradients.items():
            worst = max(worst, float(np.abs(got.gradients[key] - wanted).max(initial=0)))
        largest = max(largest, expected.largest)
    if not largest > 0:
        raise PropertyError("the gradient is 0 on every batch, so that nothing is tested")
    return worst / largest
