"""`identify`: which shipped objective a loss is, with which parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.comparison.compare import TOLERANCE, SideBySide, advantage_difference, compare
from maspo_dsl.comparison.fitting import Fit, MatchTarget, as_shipped, fitted, target_of
from maspo_dsl.comparison.probes import probes
from maspo_dsl.comparison.sides import ComparedLoss, SpecSide
from maspo_dsl.graph.build import build
from maspo_dsl.objective import Objective, load
from maspo_dsl.semantics.quantities import TENSORS
from maspo_dsl.semantics.shipped import shipped_names

# How many of the nearest have their parameters searched: among few values, and between them.
_SEARCHED = {False: 60, True: 4}


@dataclass(frozen=True)
class Identity:
    """The shipped objective that a loss is, or is nearest to.

    `equals` are others whose loss is the same as they ship, `advantage` is the first that estimates an advantage as a
    side does that estimates one, and `parting` says where the nearest differs.
    """

    fit: Fit
    equals: tuple[str, ...]
    advantage: str | None
    parting: SideBySide | None

    @property
    def exact(self) -> bool:
        """Whether it is that objective, and not only near to it."""
        return self.fit.exact


def identify(side: ComparedLoss) -> Identity:
    """The shipped objective nearest to a loss. Raises NotComparableError."""
    target = target_of(side, {probe.name: probe.batch for probe in probes()}["completions of unequal length"])
    best = _best(target)
    equals = () if not best.exact else tuple(_equals(best, target))
    return Identity(
        fit=best,
        equals=equals,
        advantage=_advantage(side) if side.estimates else None,
        parting=None if best.exact else compare(side, SpecSide(_with_values(best))),
    )


@dataclass(frozen=True)
class EstimatorIdentity:
    """The shipped objectives that estimate an advantage as an estimator does, or the nearest and where it parts."""

    names: tuple[str, ...]
    parting: SideBySide | None


def identify_estimator(side: ComparedLoss) -> EstimatorIdentity:
    """The shipped objectives whose advantage is that of an estimator. Raises NotComparableError."""
    apart = {}
    for objective in _candidates():
        if not objective.estimates or objective.reads("advantage") & {
            "logp",
            "logp_old",
            "logp_ref",
            "value",
        }:
            continue
        found = advantage_difference(side, SpecSide(objective))
        apart[objective.name] = float("inf") if found is None else found
    same = tuple(name for name, value in apart.items() if value <= TOLERANCE)
    if same:
        return EstimatorIdentity(same, None)
    nearest = min(apart, key=lambda name: apart[name])
    return EstimatorIdentity((nearest,), compare(side, SpecSide(load(nearest))))


def _best(target: MatchTarget) -> Fit:
    """The exact fit that changes least, else the nearest one."""
    found = [as_shipped(one, target) for one in _distinct()]
    for between in (None, False, True):
        if between is not None:
            found = list(_fitted(found, target, between))
        exact = [fit for fit in found if fit.exact]
        if exact:
            return min(exact, key=_order)
    return min(found, key=lambda fit: fit.distance)


def _fitted(found: list[Fit], target: MatchTarget, between: bool) -> Iterator[Fit]:
    """The nearest of them with their parameters searched, up to one that fits with a single change."""
    for fit in sorted(found, key=lambda fit: fit.distance)[: _SEARCHED[between]]:
        moved = fitted(fit, target, between=between)
        yield moved
        if moved.exact and not moved.outside and len(moved.changed) <= 1:
            return


def _order(fit: Fit) -> tuple[int, int, int, int]:
    return len(fit.outside), len(fit.changed), len(fit.params), len(fit.objective.resolved.lineage)


def _distinct() -> Iterator[Objective]:
    """The shipped objectives, of those with one and the same loss the first that the others extend."""
    seen: set[str] = set()
    for objective in sorted(_candidates(), key=lambda one: len(one.resolved.lineage)):
        graph = build(objective.resolved.parts)
        loss = repr([(graph.nodes[place].op, graph.nodes[place]) for place in graph.reachable(["loss"])])
        if loss not in seen:
            seen.add(loss)
            yield objective


def _equals(best: Fit, target: MatchTarget) -> Iterator[str]:
    """Other shipped objectives whose loss is exactly the target as they ship."""
    for one in _candidates():
        if one.name != best.objective.name and not best.changed and as_shipped(one, target).exact:
            yield one.name


def _candidates() -> Iterator[Objective]:
    """The shipped objectives but those with tensors of their own: a loss that is not given these is none of them."""
    for name in shipped_names():
        objective = load(name)
        if objective.resolved.tensors.keys() <= TENSORS.keys():
            yield objective


def _with_values(fit: Fit) -> Objective:
    """The objective with the values of a fit, those that its domains have."""
    inside = {name: value for name, value in fit.changed.items() if name not in fit.outside}
    return load(fit.objective, inside) if inside else fit.objective


def _advantage(side: ComparedLoss) -> str | None:
    """The first shipped objective that estimates as the side does."""
    for name in sorted(shipped_names(), key=lambda name: (len(load(name).resolved.lineage), name)):
        apart = advantage_difference(side, SpecSide(load(name)))
        if apart is not None and apart <= TOLERANCE:
            return name
    return None
