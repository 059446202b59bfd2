"""A grid for readers: its points, what is no point and why, and what its runs cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from maspo_dsl.cli.output import counted

if TYPE_CHECKING:
    from maspo_dsl.trainers.config import RunConfig


def table(document: Mapping[str, Any], config: RunConfig | None) -> Iterator[str]:
    """Name, hash, most tokens and difference from the base of each point; what is no point; the cost of all.

    Without a configuration, nothing is known of what the runs sample.
    """
    points: list[Mapping[str, Any]] = document["points"]
    width = max(len(point["name"]) for point in points)
    tokens = [document["seeds"] * most_tokens(point, config) / 1e6 if config else 0 for point in points]
    sampled = [f"  {f'{millions:.3g} million':>15}" if config else "" for millions in tokens]
    heading = f"  {'tokens, at most':>15}" if config else ""
    yield f"{'point':<{width}}  {'hash':<16}{heading}  difference from the base"
    for point, cost in zip(points, sampled, strict=True):
        change = "; ".join(point["edits"]).replace("\n", " ") or point["doc"]
        yield f"{point['name']:<{width}}  {point['hash']}{cost}  {change}"
        for name in point["same_as"]:
            yield f"{'':<{width}}  {'':<16}{'':{len(cost)}}  {name}: the same objective, no point of its own"
    for title, refused in (("No such objective:", document["impossible"]), ("Not run:", document["idle"])):
        if refused:
            yield ""
            yield title
            yield from (f"  {one['name']}: {one['reason']}" for one in refused)
    yield ""
    yield _cost(document, config, sum(tokens))


def most_tokens(point: Mapping[str, Any], config: RunConfig) -> int:
    """Tokens that training samples in one run if every completion is as long as it may be.

    A `keep` rule that drops all it is given has every rollout sampled again, as often as the configuration allows.
    """
    rollouts = 1 + config.rollout.max_resamples * point["keeps"]
    completions = config.rollout.prompts * config.rollout.samples
    return int(config.trainer.max_steps * rollouts * completions * config.rollout.max_new_tokens)


def _cost(document: Mapping[str, Any], config: RunConfig | None, millions: float) -> str:
    """How much the runs of a grid are, in completions and tokens if that is known."""
    runs = len(document["points"]) * document["seeds"]
    points, seeds = counted(len(document["points"]), "point"), counted(document["seeds"], "seed")
    each = f"{points}, {seeds} each: {counted(runs, 'run')}"
    if config is None:
        return each
    refilled = any(point["keeps"] for point in document["points"]) and config.rollout.max_resamples > 0
    more = ", refills of `keep` rules among them" if refilled else ""
    completions = config.rollout.prompts * config.rollout.samples
    return (
        f"{each} of {config.trainer.max_steps} steps "
        f"with {completions} completions, "
        f"at most {millions:.3g} million sampled tokens{more}; "
        "warm starts and greedy measurements are not counted"
    )
