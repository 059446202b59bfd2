"""`compare`: whether two losses are the same, where they part, and the smallest batch that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.comparison.probes import Probe, probes, rows_and_tokens
from maspo_dsl.comparison.sides import ComparedLoss, NotComparableError, SpecSide
from maspo_dsl.semantics.quantities import TENSORS, Quantity
from maspo_dsl.verification.batches import completions
from maspo_dsl.verification.evaluation import Evaluation

# Sources add 1e-8 to a length, and have constants in float32.
TOLERANCE = 1e-6
_LARGEST = 6


@dataclass(frozen=True)
class ProbeDifference:
    """Two losses on one batch: their values, and the largest difference of a gradient, of the largest gradient."""

    probe: str
    loss: tuple[float, float]
    gradient: float

    @property
    def value(self) -> float:
        """The difference of the losses, of the larger one."""
        first, second = self.loss
        return abs(first - second) / max(abs(first), abs(second), 1e-12)

    @property
    def same(self) -> bool:
        """Whether neither differs."""
        return self.gradient <= TOLERANCE and self.value <= TOLERANCE


@dataclass(frozen=True)
class TokenRegime:
    """The tokens of one kind: how many, the largest difference of a gradient weight among them, and where it begins."""

    name: str
    tokens: int
    largest: float
    place: str = ""

    @property
    def same(self) -> bool:
        """Whether the two weigh all of them alike."""
        return self.largest <= TOLERANCE


@dataclass(frozen=True)
class Smallest:
    """The smallest batch found on which two losses differ: the tensors that they read, and what each makes of it."""

    batch: Arrays
    loss: tuple[float, float]
    gradient: tuple[Array, Array]


@dataclass(frozen=True)
class Group:
    """Completions of which two estimators make other advantages: rewards, groups and lengths [N], advantages [N, T]."""

    reward: Array
    group: Array
    length: Array
    advantage: tuple[Array, Array]


@dataclass(frozen=True)
class SideBySide:
    """Two losses side by side. `advantage` is the largest difference of what they estimate, None if one does not;
    `kept` whether two specs train on the same completions of a rollout.
    """

    names: tuple[str, str]
    differences: tuple[ProbeDifference, ...]
    regimes: tuple[TokenRegime, ...]
    smallest: Smallest | None
    advantage: float | None
    kept: bool
    notes: tuple[str, ...]
    group: Group | None = None

    @property
    def same_loss(self) -> bool:
        """Whether the losses of given advantages are the same."""
        return all(one.same for one in self.differences)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.same_loss and self.kept and (self.advantage is None or self.advantage <= TOLERANCE)


def compare(first: ComparedLoss, second: ComparedLoss) -> SideBySide:
    """Hold two losses against each other on every probe; of an estimator, advantages. Raises NotComparableError."""
    if not (first.has_loss and second.has_loss):
        return _advantages_alone(first, second)
    tensors = {**TENSORS, **_own_tensors(first), **_own_tensors(second)}
    chosen = probes(tensors, estimated=_takes_rewards(first, tensors) or _takes_rewards(second, tensors))
    notes = []
    if not (first.takes_windows and second.takes_windows):
        chosen = [probe for probe in chosen if not probe.cut]
        notes.append("a function of a batch is not told of the window, so no window is cut in two")
    found = [(probe, _pair(first, second, _parts(probe))) for probe in chosen]
    differences = tuple(_difference(probe.name, pair) for probe, pair in found)
    parted = [probe for probe, one in zip(chosen, differences, strict=True) if not one.same and not probe.cut]
    return SideBySide(
        names=(first.name, second.name),
        differences=differences,
        regimes=tuple(regimes({probe.name: (probe.batch, pair) for probe, pair in found})),
        smallest=_smallest(first, second, parted) if parted else None,
        advantage=advantage_difference(first, second),
        kept=_kept(first, second, tensors),
        notes=tuple(notes),
    )


def _advantages_alone(first: ComparedLoss, second: ComparedLoss) -> SideBySide:
    """Two sides of which one is no loss."""
    apart = advantage_difference(first, second)
    if apart is None:
        alone = first if second.has_loss else second
        other = second if second.has_loss else first
        raise NotComparableError(
            f"`{alone.name}` estimates advantages, and `{other.name}` is a loss that is given them"
        )
    return SideBySide(
        names=(first.name, second.name),
        differences=(),
        regimes=(),
        smallest=None,
        advantage=apart,
        kept=True,
        notes=("advantages alone are compared: an estimator has no loss",),
        group=None if apart <= TOLERANCE else _smallest_group(first, second),
    )


def _smallest_group(first: ComparedLoss, second: ComparedLoss) -> Group | None:
    """The smallest of a few pieces of a batch on which two estimate differently: two of a group, a group, all."""
    batch = probes(estimated=True)[3].batch
    groups = [np.flatnonzero(batch["group"] == one) for one in np.unique(batch["group"])]
    everything = np.arange(len(batch["group"]))
    pieces = [*(rows[:2] for rows in groups), *groups, everything]
    for rows in sorted(pieces, key=len):
        piece = rows_and_tokens(batch, rows, np.arange(batch["mask"].shape[1]))
        one, other = (_of_tokens(side.advantage(piece), piece) for side in (first, second))
        if np.abs(one - other).max() > TOLERANCE * max(np.abs(one).max(), np.abs(other).max(), 1e-12):
            return Group(piece["reward"], piece["group"], piece["mask"].sum(axis=1), (one, other))
    return None


def _own_tensors(side: ComparedLoss) -> dict[str, Quantity]:
    return side.objective.resolved.tensors if isinstance(side, SpecSide) else {}


def _takes_rewards(side: ComparedLoss, tensors: dict[str, Quantity]) -> bool:
    """Whether a function makes its own advantage inside, which only calling it shows."""
    if side.estimates:
        return False
    side.evaluate([probes(tensors)[0].batch])
    return "reward" in side.reads and "advantage" not in side.reads


def _parts(probe: Probe) -> list[Arrays]:
    if not probe.cut:
        return [probe.batch]
    rows = np.arange(len(probe.batch["mask"]))
    columns = np.arange(probe.batch["mask"].shape[1])
    cut = len(rows) // 3
    return [rows_and_tokens(probe.batch, part, columns) for part in (rows[:cut], rows[cut:])]


def _pair(
    first: ComparedLoss, second: ComparedLoss, parts: Sequence[Arrays]
) -> tuple[Evaluation, Evaluation]:
    return first.evaluate(parts), second.evaluate(parts)


def _gap(first: Evaluation, second: Evaluation) -> Array:
    """The difference of the gradients of each token's log-prob and entropy, of the largest gradient, `[N, T]`."""
    largest = max(first.largest, second.largest, 1e-12)
    gaps = [np.abs(first.derived[name] - second.derived[name]) for name in first.derived]
    return np.asarray(np.max(gaps, axis=0) / largest)


def _difference(name: str, pair: tuple[Evaluation, Evaluation]) -> ProbeDifference:
    first, second = pair
    return ProbeDifference(name, (first.loss, second.loss), float(_gap(first, second).max(initial=0)))


def advantage_difference(first: ComparedLoss, second: ComparedLoss) -> float | None:
    """The largest difference of two estimated advantages, of the largest one; None if a side estimates none."""
    if not (first.estimates and second.estimates):
        return None
    tensors = {**TENSORS, **_own_tensors(first), **_own_tensors(second)}
    worst = 0.0
    for probe in probes(tensors, estimated=True)[2:5]:
        one, other = (_of_tokens(side.advantage(probe.batch), probe.batch) for side in (first, second))
        size = max(float(np.abs(one).max()), float(np.abs(other).max()), 1e-12)
        worst = max(worst, float(np.abs(one - other).max()) / size)
    return worst


def _kept(first: ComparedLoss, second: ComparedLoss, tensors: dict[str, Quantity]) -> bool:
    """Whether two specs keep the same completions; a function keeps none and drops none."""
    if not (isinstance(first, SpecSide) and isinstance(second, SpecSide)):
        return True
    batches = [completions(seed, tensors) for seed in (3, 4)]
    return all(np.array_equal(first.kept(batch), second.kept(batch)) for batch in batches)


def _of_tokens(advantage: Array | None, batch: Arrays) -> Array:
    assert advantage is not None
    wide = advantage[:, None] if advantage.ndim == 1 else advantage
    return np.where(batch["mask"], wide, 0.0)


# ---- where they part


def regimes(found: dict[str, tuple[Arrays, tuple[Evaluation, Evaluation]]]) -> Iterator[TokenRegime]:
    """How far two losses differ on the tokens of each kind."""
    batch, pair = found["completions of one token"]
    gap = _gap(*pair)
    if "advantage" in batch:
        advantage = np.broadcast_to(batch["advantage"][:, None], gap.shape)
        ratio = np.exp(batch["logp"] - batch["logp_old"])
        for sign, of_sign in (("A > 0", advantage > 0), ("A < 0", advantage < 0)):
            for side, of_side in (("ratio below 1", ratio < 1), ("ratio above 1", ratio > 1)):
                yield _regime(f"{sign}, {side}", of_sign & of_side & batch["mask"], gap, ratio)
    batch, pair = found["completions of unequal length"]
    gap, mask = _gap(*pair), batch["mask"]
    lengths = np.broadcast_to(mask.sum(axis=1, keepdims=True), mask.shape)
    first = mask & (np.cumsum(mask, axis=1) == 1)
    yield _regime("first tokens", first, gap)
    yield _regime("later tokens", mask & ~first, gap)
    half = np.median(lengths[:, 0])
    yield _regime("short completions", mask & (lengths <= half), gap)
    yield _regime("long completions", mask & (lengths > half), gap)


def _regime(name: str, tokens: Array, gap: Array, ratio: Array | None = None) -> TokenRegime:
    largest = float(gap[tokens].max(initial=0))
    apart = tokens & (gap > TOLERANCE)
    place = ""
    if ratio is not None and apart.any() and not (apart == tokens).all():
        place = f"at ratios from {ratio[apart].min():.3g} to {ratio[apart].max():.3g}"
    return TokenRegime(name, int(tokens.sum()), largest, place)


# ---- the smallest batch


def _smallest(first: ComparedLoss, second: ComparedLoss, parted: Sequence[Probe]) -> Smallest | None:
    """One token if that is enough, else one completion, else a few, else the batch itself."""
    for batch in _smaller(first, second, parted):
        shown = _rounded(batch)
        for attempt in (shown, batch):
            try:
                pair = _pair(first, second, [attempt])
            except NotComparableError:
                continue
            if not _difference("", pair).same:
                read = (first.reads | second.reads | {"mask"}) & attempt.keys()
                kept = {name: attempt[name] for name in sorted(read)}
                gradients = pair[0].gradients["logp"], pair[1].gradients["logp"]
                return Smallest(kept, (pair[0].loss, pair[1].loss), gradients)
    return None


def _smaller(first: ComparedLoss, second: ComparedLoss, parted: Sequence[Probe]) -> Iterator[Arrays]:
    """Pieces of the batches on which two losses part, the smallest first."""
    whole = [(probe.batch, _gap(*_pair(first, second, [probe.batch]))) for probe in parted]
    for batch, gap in whole:
        for row, column in _places(gap, batch["mask"]):
            yield rows_and_tokens(batch, np.array([row]), np.array([column]))
    for batch, gap in whole:
        for row in np.argsort(-gap.max(axis=1))[:_LARGEST]:
            yield rows_and_tokens(batch, np.array([row]), np.arange(gap.shape[1]))
    for batch, gap in whole:
        order = np.argsort(-gap.max(axis=1))
        together = np.flatnonzero(batch["group"] == batch["group"][order[0]])
        for rows in (order[:2], order[[0, -1]], together, order[:4]):
            yield rows_and_tokens(batch, np.sort(rows), np.arange(gap.shape[1]))
    yield from (batch for batch, _ in whole)


def _places(gap: Array, mask: Array) -> Iterator[tuple[int, int]]:
    """Trained tokens, those with the largest difference first."""
    order = np.argsort(-np.where(mask, gap, -1), axis=None)[:_LARGEST]
    for place in order:
        row, column = np.unravel_index(place, gap.shape)
        if mask[row, column]:
            yield int(row), int(column)


def _rounded(batch: Arrays) -> Arrays:
    """The batch in numbers that are easily written."""
    return {name: np.round(value, 2) if value.dtype.kind == "f" else value for name, value in batch.items()}
