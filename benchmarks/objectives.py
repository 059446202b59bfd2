"""The time of head and loss by objective, with the schedule of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import maspo_dsl
from benchmarks.growth import RATED
from benchmarks.head import Problem, Size
from benchmarks.measure import seconds
from benchmarks.pictures import link, picture
from benchmarks.table import milliseconds
from maspo_dsl.analysis.coupling import Reach
from maspo_dsl.analysis.schedule import schedule_text

NAMES = ("grpo", "dapo", "maspo", "cispo", "sapo", "gspo", "vespo", "stapo", "top_entropy")


@dataclass(frozen=True)
class Cost:
    """Seconds of head and loss of an objective, and of the three products of all tokens.

    `schedule` is what `explain` says; `again` whether there is a second pass over the head; `used` the share of tokens
    with a gradient.
    """

    name: str
    schedule: str
    again: bool
    used: float
    head: float
    products: float

    @property
    def ratio(self) -> float:
        """The time against that of the products."""
        return self.head / self.products

    @property
    def share(self) -> float:
        """How much of the three products of all tokens is needed: logits of all, gradients of those that have one.

        A second pass forms the logits of the latter again.
        """
        return (1 + (3 if self.again else 2) * self.used) / 3


def costs(size: Size = RATED, *, names: Sequence[str] = NAMES, turns: int) -> list[Cost]:
    """What the objectives cost on one problem, each measured in turns with the products."""
    problem = Problem(size)
    return [_cost(problem, name, turns) for name in names]


def _cost(problem: Problem, name: str, turns: int) -> Cost:
    loss = maspo_dsl.compile(name)
    head = problem.by_head(loss)
    used = float((head()[0] != 0).any(-1).float().mean())
    took = seconds({"head": head, "products": problem.by_products()}, turns=turns, warm_up=1)
    again = loss.schedule.reach > Reach.SEQUENCE
    return Cost(name, schedule_text(loss.schedule), again, used, took["head"], took["products"])


def table(found: Sequence[Cost]) -> str:
    """A Markdown table of the objectives."""
    header = (
        "| objective | schedule, as `explain` says | tokens with a gradient | head and loss | "
        "the products alone | ratio | of the products it needs |"
    )
    lines = [header, "| --- " * 7 + "|"]
    for cost in found:
        times = f"{milliseconds(cost.head)} | {milliseconds(cost.products)}"
        lines.append(
            f"| `{cost.name}` | {cost.schedule} | {100 * cost.used:.0f} % | {times} | "
            f"{cost.ratio:.2f} | {cost.share:.2f} |"
        )
    return "\n".join(lines)


def draw(found: Sequence[Cost]) -> None:
    """A picture of the ratios beside the shares of the products that are needed."""
    names = [cost.name for cost in found][::-1]
    with picture("objectives") as axes:
        axes.barh(names, [cost.ratio for cost in found][::-1], color="0.7", label="head and loss")
        axes.plot(
            [cost.share for cost in found][::-1], names, "o", color="tab:blue", label="products it needs"
        )
        axes.set(xlabel="against the three products of all tokens")
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)


def report(*, turns: int, draws: bool) -> str:
    """All objectives, measured, drawn if wished, and as text for docs/benchmarks.md."""
    found = costs(turns=turns)
    if draws:
        draw(found)
    what = f"{RATED.shape}; advantages of both signs; the old policy is the policy."
    return f"{what}\n\n{table(found)}\n\n{link('objectives')}\n"
