"""What is no part of the objective changes nothing: order, names, padding, form, and how a window is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise

import numpy as np
from torch import Tensor

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.graph.nodes import MEMORY
from maspo_dsl.semantics.quantities import PROMPT_ID
from maspo_dsl.verification.batches import cut, packed, padded, places, rows_of, with_garbage
from maspo_dsl.verification.evaluation import (
    ADVANTAGE,
    Evaluation,
    PropertyError,
    as_torch,
    check_equal,
    check_nontrivial,
    computed,
)
from maspo_dsl.verification.report import Verdict
from maspo_dsl.verification.subject import Subject, summed

SEEDS = (7, 8)
MICRO = "micro-scope"


@lru_cache(maxsize=1)
def _cases(subject: Subject) -> tuple[tuple[str, Arrays, Evaluation], ...]:
    """Batches with what they evaluate to; without ties where the order of rows decides those."""
    cases = []
    for seed in SEEDS:
        for name, batch in subject.batches(seed, ties=not subject.breaks_ties_by_place):
            whole = subject.estimated(batch)
            evaluation = _evaluated(subject, whole)
            check_nontrivial(evaluation, name)
            cases.append((name, whole, evaluation))
    return tuple(cases)


def _evaluated(subject: Subject, batch: Arrays) -> Evaluation:
    """Loss and gradients with the advantage that the batch has, and beside them what is told from its rewards."""
    found = computed(subject.eager, batch)
    tensors = as_torch(batch)
    advantage = subject.eager.advantage(tensors).numpy()
    told = {ADVANTAGE: advantage if subject.estimates_tokens else _of_tokens(advantage, batch)}
    for name, value in subject.eager.memory(tensors).items():
        told[f"{MEMORY}{name}"] = _of_tokens(value.numpy(), batch)
    masked = {name: np.where(batch["mask"], value, 0.0) for name, value in told.items()}
    return Evaluation(found.loss, {**found.gradients, **masked})


def _of_tokens(value: Array, batch: Arrays) -> Array:
    """One number, or one a sequence, for each token."""
    if not value.ndim:
        return value
    return np.asarray(value[batch["sequence"]] if "sequence" in batch else value[:, None])


def _ties(subject: Subject) -> str:
    return "; rewards without ties, which go to the earlier row" if subject.breaks_ties_by_place else ""


def rows(subject: Subject) -> tuple[Verdict, str]:
    """The order of completions does not matter, for loss, gradient, advantage and what `keep` and `prompt` say."""
    try:
        _check_order(subject, within_groups=True)
    except PropertyError:
        if not subject.breaks_ties_by_place:
            raise
        if subject.ranks_across_groups:
            return "declared", "of equal values of different groups the earlier row comes first"
        _check_order(subject, within_groups=False)
        kept = "; in the order of each group, whose earlier row comes first where values are equal"
        return "pass", f"loss, gradient, advantage, keep and prompt{kept}"
    return "pass", f"loss, gradient, advantage, keep and prompt{_ties(subject)}"


def _check_order(subject: Subject, *, within_groups: bool) -> None:
    """Raise PropertyError where another order matters, that `within_groups` or of groups alone."""
    for name, batch, expected in _cases(subject):
        order = np.random.default_rng(len(name)).permutation(len(batch["mask"]))
        if not within_groups:
            for one in np.unique(batch["group"]):
                places = np.flatnonzero(batch["group"][order] == one)
                order[places] = np.sort(order[places])
        moved = rows_of(batch, order)
        got = _evaluated(subject, moved)
        check_equal(got, _taken(expected, order), f"rows in another order, {name}")
        for output in ("keep", "prompt"):
            before, after = (getattr(subject.eager, output)(as_torch(one)).numpy() for one in (batch, moved))
            if not np.allclose(after, before[order], rtol=1e-9, atol=1e-12):
                raise PropertyError(f"rows in another order: `{output}` of the {name} is another")


def _taken(evaluation: Evaluation, order: Array) -> Evaluation:
    return Evaluation(evaluation.loss, {name: value[order] for name, value in evaluation.gradients.items()})


def groups(subject: Subject) -> tuple[Verdict, str]:
    """Names of groups are only names, and their completions need not stand together."""
    for name, batch, expected in _cases(subject):
        ids, index = np.unique(batch["group"], return_inverse=True)
        renamed = np.random.default_rng(1).permutation(len(ids)) * 2**33 - 5
        moved = {**batch, "group": renamed[index], **_other_prompts(batch)}
        check_equal(_evaluated(subject, moved), expected, f"groups under other names, {name}")
        together = np.argsort(moved["group"], kind="stable")
        got = _evaluated(subject, rows_of(moved, together))
        check_equal(got, _taken(expected, together), f"groups one after the other, {name}")
    return "pass", f"other ids, and groups in one piece{_ties(subject)}"


def _other_prompts(batch: Arrays) -> Arrays:
    """Other names of prompts, where a batch has any."""
    return {name: 5 - 2**40 * batch[name] for name in (PROMPT_ID.name,) if name in batch}


def padding(subject: Subject) -> tuple[Verdict, str]:
    """Columns of padding change nothing, on either side."""
    for name, batch, expected in _cases(subject):
        width = batch["mask"].shape[1]
        for left, right in ((0, 5), (3, 0), (2, 9)):
            got = _evaluated(subject, padded(batch, left, right))
            inner = {
                key: value[:, left : left + width] if value.ndim == 2 else value
                for key, value in got.gradients.items()
            }
            what = f"{left} columns before and {right} behind, {name}"
            check_equal(Evaluation(got.loss, inner), expected, what)
            if sum(np.count_nonzero(value) for value in got.gradients.values()) != sum(
                np.count_nonzero(value) for value in inner.values()
            ):
                raise PropertyError(f"{what}: padding has a gradient")
    return "pass", "up to 9 columns of NaN on either side"


def packing(subject: Subject) -> tuple[Verdict, str]:
    """The packed form is the padded one, in whatever order its tokens are stored."""
    for name, batch, expected in _cases(subject):
        for number, in_order in enumerate((True, True) if subject.ordered else (True, False)):
            order = places(batch, number, in_order=in_order)
            flat = packed(with_garbage(batch, number), order)
            got = _evaluated(subject, flat)
            gradients = {}
            for key, value in got.gradients.items():
                if batch.get(key, batch["mask"]).ndim == 1 and key != ADVANTAGE:
                    gradients[key] = value
                    continue
                spread = np.zeros(batch["mask"].size)
                spread[order] = value
                gradients[key] = spread.reshape(batch["mask"].shape)
            check_equal(Evaluation(got.loss, gradients), expected, f"packed, {name}")
    order_of = "completions interleaved" if subject.ordered else "tokens in any order"
    return "pass", f"{order_of}, masked ones among them"


# ---- the optimizer window


def micro_batches(subject: Subject) -> tuple[Verdict, str]:
    """However a window is cut into micro-batches, losses and gradients of the parts add up to the whole."""
    return _cuts(subject, {7: ((2, 1), (20, 1)), 8: ((3, 1), (5, 1))})


def ranks(subject: Subject) -> tuple[Verdict, str]:
    """Denominators of several ranks add up, and so do their losses and gradients; without them a rank is refused."""
    _check_single_rank(subject)
    unpooled = subject.unpooled()
    if unpooled:
        reasons = ", ".join(f"`{key}` is {why}" for key, why in unpooled.items())
        return "declared", f"cannot be pooled over ranks, and is refused there: {reasons}"
    return _cuts(subject, {7: ((4, 2),), 8: ((8, 3),)})


def _check_single_rank(subject: Subject) -> None:
    """Raise PropertyError where one rank of two is taken for all: a loss without denominators, values of one rank."""
    batch = as_torch(subject.completions(SEEDS[0]))
    attempts: dict[str, Callable[[], object]] = {"a call without denominators": lambda: subject.eager(batch)}
    if subject.unpooled():
        attempts["a statistic of all values"] = lambda: subject.eager.window([batch])
    with subject.two_ranks():
        for what, attempt in attempts.items():
            try:
                attempt()
            except ValueError:
                continue
            raise PropertyError(f"on one of two ranks, {what} is taken for the whole window")


def _cuts(subject: Subject, cuts: Mapping[int, tuple[tuple[int, int], ...]]) -> tuple[Verdict, str]:
    """The verdict on windows cut into so many parts on so many ranks, by the seed of their batches."""
    try:
        most = max(_check_cuts(subject, seed, numbers) for seed, numbers in cuts.items())
    except PropertyError as failed:
        if not subject.within_micro:
            raise
        why = subject.allowed(MICRO)
        if why is None:
            raise PropertyError(f'{failed}; a part says `micro`, which needs: allow {MICRO} "why"') from None
        return "declared", f"a part says `micro`: {why}"
    whole = f", {' and '.join(subject.together)} kept whole" if subject.together else ""
    ranks = [str(ranks) for numbers in cuts.values() for _, ranks in numbers if ranks > 1]
    on = f" on {' and '.join(ranks)} ranks" if ranks else ""
    return "pass", f"windows of up to {most} micro-batches{on}, one without a token{whole}"


def _check_cuts(subject: Subject, seed: int, numbers: tuple[tuple[int, int], ...]) -> int:
    """Raise PropertyError where the parts of a window do not add up; how many there were at most."""
    most = 0
    for name, batch in subject.batches(seed):
        whole = subject.estimated(batch)
        expected = computed(subject.eager, whole)
        check_nontrivial(expected, name)
        nothing = {**rows_of(whole, [0]), "mask": np.zeros_like(whole["mask"][:1])}
        for parts, ranks in numbers:
            pieces = cut(whole, parts, seed, together=subject.together)
            if subject.breaks_ties_by_place:
                pieces = [sorted(piece) for piece in pieces]
            batches = [rows_of(whole, piece) for piece in pieces] + [nothing]
            most = max(most, len(batches))
            got = _together(subject, batches, pieces, whole, ranks)
            over = f" on {ranks} ranks" if ranks > 1 else ""
            check_equal(got, expected, f"{len(pieces)} micro-batches{over}, {name}")
    return most


def _together(
    subject: Subject, batches: list[Arrays], pieces: list[list[int]], whole: Arrays, ranks: int
) -> Evaluation:
    """The sum of the parts' losses, and their gradients put in place."""
    denominators = _denominators(subject, batches, ranks)
    loss = 0.0
    gradients = {name: np.zeros(whole[name].shape) for name in subject.live}
    for batch, piece in zip(batches, [*pieces, []], strict=True):
        part = computed(subject.eager, batch, denominators=denominators)
        loss += part.loss
        for name, gradient in part.gradients.items():
            if piece:
                gradients[name][piece] = gradient
            elif gradient.any():
                raise PropertyError("a micro-batch without a trained token has a gradient")
    return Evaluation(loss, gradients)


def _denominators(subject: Subject, batches: list[Arrays], ranks: int) -> dict[str, Tensor]:
    """The window's, or the sum of what each rank computes of its micro-batches."""
    tensors = [as_torch(batch) for batch in batches]
    edges = np.linspace(0, len(tensors), min(ranks, len(tensors)) + 1).astype(int)
    return summed([subject.eager.window(tensors[low:high]) for low, high in pairwise(edges)])
