"""What a comparison says, in lines for a reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maspo_dsl.analysis.drawing import Array
from maspo_dsl.comparison.compare import Group, SideBySide, Smallest
from maspo_dsl.comparison.identify import EstimatorIdentity, Identity
from maspo_dsl.comparison.parts import PartDifference

_LONGEST = 160


def comparison_lines(found: SideBySide) -> Iterator[str]:
    """The verdict, where two losses part, and the smallest batch that shows it."""
    first, second = found.names
    if found.same:
        batches = len(found.differences)
        if not batches:
            yield f"{first} and {second} are the same: advantage"
            yield from found.notes
            return
        yield f"{first} and {second} are the same on {batches} batches: loss, gradient" + (
            ", advantage" if found.advantage is not None else ""
        )
        yield from found.notes
        return
    yield f"{first} and {second} differ"
    yield from found.notes
    if found.group is not None:
        yield f"advantages from rewards: up to {_percent(found.advantage or 0)} of the largest"
        yield from _group_lines(found.group, found.names)
    if not found.differences:
        return
    yield ""
    yield from _table(
        ("batch", first, second, "largest difference of a gradient"),
        [
            (
                one.probe,
                f"{one.loss[0]:.6g}",
                f"{one.loss[1]:.6g}",
                "same" if one.same else _percent(one.gradient),
            )
            for one in found.differences
        ],
    )
    if found.advantage is not None and found.advantage > 1e-6:
        yield f"advantages from rewards: up to {_percent(found.advantage)} of the largest"
    if not found.kept:
        yield "they train on other completions of a rollout (keep)"
    if not found.same_loss:
        yield ""
        yield from _table(
            ("tokens", "how many", "largest difference of a gradient weight"),
            [
                (
                    one.name,
                    str(one.tokens),
                    "same" if one.same else f"{_percent(one.largest)} {one.place}".rstrip(),
                )
                for one in found.regimes
            ],
        )
    if found.smallest is not None:
        yield ""
        yield from _smallest_lines(found.smallest, found.names)


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share >= 1e-4 else f"{share:.0e}"


def _smallest_lines(found: Smallest, names: tuple[str, str]) -> Iterator[str]:
    rows, columns = found.batch["mask"].shape
    yield f"the smallest batch that shows it: {_counted(rows, 'completion')} of {_counted(columns, 'token')}"
    width = max(len(name) for name in [*found.batch, "d loss / d logp"])
    for name, value in found.batch.items():
        yield f"  {name:<{width}}  {_numbers(value)}"
    for name, loss, gradient in zip(names, found.loss, found.gradient, strict=True):
        yield f"{name}: loss {loss:.6g}, d loss / d logp {_numbers(gradient)}"


def _group_lines(found: Group, names: tuple[str, str]) -> Iterator[str]:
    yield ""
    yield f"the smallest batch that shows it: {_counted(len(found.reward), 'completion')}"
    shown = {"reward": found.reward, "group": found.group, "length": found.length}
    shown |= dict(zip((f"advantage of {name}" for name in names), found.advantage, strict=True))
    width = max(map(len, shown))
    yield from (f"  {name:<{width}}  {_numbers(value)}" for name, value in shown.items())


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _numbers(value: Array) -> str:
    text = _whole(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _whole(value: Array) -> str:
    if value.dtype.kind == "f":
        return str(np.vectorize(lambda one: float(f"{one:.6g}"))(value).tolist())
    return str(value.tolist())


def part_lines(found: list[PartDifference], names: tuple[str, str]) -> Iterator[str]:
    """What two specs say differently, part by part."""
    width = max(len(name) for name in names)
    for one in found:
        yield one.part
        for name, text in zip(names, (one.first, one.second), strict=True):
            yield f"  {name:<{width}}  {text or 'nothing'}"


def estimator_lines(found: EstimatorIdentity, name: str) -> Iterator[str]:
    """Whose advantage an estimator's is, or the nearest and where it parts."""
    alike = ", ".join(found.names)
    if found.parting is None:
        yield f"{name} estimates the advantage of {alike}"
    else:
        yield f"{name} estimates no shipped objective's advantage; the nearest is that of {alike}"
        yield ""
        yield from comparison_lines(found.parting)


def identity_lines(found: Identity, name: str) -> Iterator[str]:
    """Which objective a loss is, or the nearest and where it parts."""
    fit = found.fit
    values = ", ".join(f"{key} = {value:.6g}" for key, value in fit.changed.items())
    shown = fit.objective.name + (f" with {values}" if values else "")
    yield f"{name} is {shown}" if found.exact else f"{name} is no shipped objective; the nearest is {shown}"
    for key, value in fit.changed.items():
        shipped = f"{fit.objective.params[key]:.6g}"
        if key in fit.outside:
            side = _side(value, fit.outside[key])
            yield f"  {key} = {value:.6g} is {side} its domain {fit.outside[key]}; it ships with {shipped}"
        else:
            yield f"  {key} ships with {shipped}"
    yield from (f"  {line}" for line in fit.objective.resolved.differs if found.exact)
    if found.equals:
        yield f"given advantages, the same loss: {', '.join(found.equals)}"
    if found.advantage is not None:
        yield f"its advantage is that of {found.advantage}"
    if found.parting is not None:
        yield ""
        yield from comparison_lines(found.parting)


def _side(value: float, domain: str) -> str:
    low = domain.strip("[]()").partition(",")[0]
    try:
        return "below" if value <= float(low) else "above"
    except ValueError:
        return "outside"


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
    for row in [heading, *rows]:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
