"""What `explain` says of how tokens are coupled: whose policy the gradient of one depends on, and by which part."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.analysis.causes import Cause, causes
from maspo_dsl.analysis.coupling import Reach, coupling
from maspo_dsl.analysis.schedule import schedule, schedule_text
from maspo_dsl.objective import Objective

_WHERE = {
    Reach.TOKEN: "that token alone",
    Reach.SEQUENCE: "every token of its completion",
    Reach.GROUP: "every token of its group",
    Reach.BATCH: "every token of the batch",
}


@dataclass(frozen=True)
class Coupled:
    """How far the gradient of one token reaches, the parts that make it, and which statistics of a window move.

    `reach` is `token`, `sequence`, `group` or `batch`; `visits` says in how many passes over the head the loss is
    computed from hidden states; `text` says the rest in a sentence.
    """

    reach: str
    because: tuple[Cause, ...]
    statistics: tuple[str, ...]
    visits: str
    text: str


def coupled(objective: Objective) -> Coupled:
    """The coupling of an objective's tokens."""
    found = coupling(objective.graph)
    because = tuple(causes(objective.resolved, found))
    text = f"{found.reach.word}: the gradient of a token depends on the policy at {_WHERE[found.reach]}"
    if because:
        text += f", by {' and '.join(map(_said, because))}"
    if found.statistics:
        text += f"; counted anew for each update, since the policy moves it: {', '.join(found.statistics)}"
    return Coupled(
        found.reach.word, because, found.statistics, schedule_text(schedule(objective.graph)), text
    )


def _said(cause: Cause) -> str:
    how = ", ".join(cause.calls) or "the number of tokens that it leaves"
    return f"{cause.part} ({how})"
