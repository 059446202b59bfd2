"""Objective to graph: the parts put together into the loss of a token, its reduction, and what is known beside it."""

from __future__ import annotations

from maspo_dsl.graph.nodes import MEMORY, Graph, Node
from maspo_dsl.graph.terms import TermBuilder
from maspo_dsl.semantics.part_words import PART_WORDS, Role
from maspo_dsl.semantics.parts import Parts
from maspo_dsl.semantics.scopes import WINDOW
from maspo_dsl.semantics.terms import Term, walk
from maspo_dsl.semantics.totals import is_averaged
from maspo_dsl.semantics.types import Axis

_OPERATIONS = {Role.ADDED: "add", Role.SUBTRACTED: "sub"}
"""How a part joins the loss of a token."""


def build(parts: Parts) -> Graph:
    """The graph of an objective, unsimplified. Without a policy term it has no output of one.

    The loss of a token is -A * ratio * weights, plus penalties, minus bonuses; `mute` takes the policy term
    away, `exclude` the token. Penalties of one number are added after `reduce`. Both are what a micro-batch brings
    to the loss of its window: its share of a total over the window, or of the mean over the window's micro-batches.
    Without a policy term there is no output of one, and without an `advantage` that is 0.
    """
    return _Build(parts).run()


def traced(parts: Parts) -> tuple[Graph, dict[Term, list[int]]]:
    """The same graph, and for each term the places at which it is computed."""
    building = _Build(parts)
    graph = building.run()
    places: dict[int, list[int]] = {}
    for (term, _), place in building.memo.items():
        places.setdefault(term, []).append(place)
    return graph, {term: places[id(term)] for term in walk(*parts.terms()) if id(term) in places}


class _Build(TermBuilder):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.of(Role.REWARD_TERM).values())
        self.parts = parts
        self.outputs: dict[str, int] = {}

    def run(self) -> Graph:
        self._before_the_loss()
        trained = self._trained()
        policy_term = self._policy_term() if self.parts.has_policy_term else self.b.const(0.0)
        token_loss, scalars = self._with_penalties(policy_term)
        self.outputs |= {"trained": trained, "token_loss": token_loss}
        self._window_counts()
        self.outputs["loss"] = self._reduced(token_loss, "loss", scalars)
        if self.parts.has_policy_term:
            self.outputs |= {
                "policy_term": policy_term,
                "policy_loss": self._reduced(policy_term, "policy"),
            }
        if (step := self.parts.get("step")) is not None:
            self.outputs["step"] = self.term(step)
        return self.b.graph(self.outputs)

    # ---- parts

    def _before_the_loss(self) -> None:
        for (_, name), term in self.parts.of(Role.MEMORY).items():
            self.outputs[f"{MEMORY}{name}"] = self.term(term)
        estimate = self.parts.get("advantage")
        advantage = self.row(self.b.const(0.0) if estimate is None else self.term(estimate))
        present = self.present if self.b.nodes[advantage].axis is Axis.SEQUENCE else self.mask
        self.outputs["advantage"] = self.b.op("select", present, advantage, self.b.const(0.0))
        if self.rewards:
            self.outputs["shaped_reward"] = self.shaped_reward()
        if kept := [self.row(self.term(term)) for term in self.parts.of(Role.FILTER).values()]:
            self.outputs["keep"] = self._all(kept)
        if (prompt := self.parts.get("prompt")) is not None:
            self.outputs["prompt"] = self.row(self.term(prompt))

    def _all(self, conditions: list[int], op: str = "and") -> int:
        result = conditions[0]
        for condition in conditions[1:]:
            result = self.b.op(op, result, condition)
        return result

    def _trained(self) -> int:
        trained = self.mask
        for (_, name), term in self.parts.of(Role.REMOVES_TOKEN).items():
            condition = self.token(self.term(term))
            trained = self.b.op("and", trained, self.b.op("not", condition), name=f"without_{name}")
        rows = self.present
        if trained != self.mask:
            counted = self.count_rows(trained)
            rows = self.b.op("gt", counted, self.b.const(0.0))
        self.among["trained"] = (trained, rows)
        return trained

    def _window_counts(self) -> None:
        """What every window knows: how many tokens, and sequences with a token, it trains."""
        attributes = (("scope", WINDOW),)
        for key, member in zip(("tokens", "sequences"), self.among["trained"], strict=True):
            self.outputs[f"window:{key}"] = self.b.add(
                Node("count", (member,), Axis.SCALAR, attributes=attributes)
            )

    def _policy_term(self) -> int:
        term = self.times(self.advantage(), self.term(self.parts["ratio"]))
        for weight in self.parts.of(Role.FACTOR).values():
            term = self.times(term, self.term(weight))
        term = self.token(self.b.op("neg", term))
        rules = self.parts.of(Role.REMOVES_POLICY_TERM).values()
        if conditions := [self.token(self.term(rule)) for rule in rules]:
            muted = self.outputs["muted"] = self._all(conditions, "or")
            term = self.b.op("select", muted, self.b.const(0.0), term)
        self.outputs["term:policy"] = term
        return term

    def _with_penalties(self, policy_term: int) -> tuple[int, list[tuple[str, int]]]:
        total, scalars = policy_term, []
        for (word, name), term in self.parts.of(*_OPERATIONS).items():
            op, place = _OPERATIONS[PART_WORDS[word].role], self.term(term)
            if self.b.nodes[place].axis is Axis.SCALAR:
                place = self._brought(term, place)
                scalars.append((op, place))
            else:
                place = self.token(place)
                total = self.b.op(op, total, place)
            self.outputs[f"term:{name}"] = place
        return total, scalars

    def _reduced(self, token_loss: int, key: str, scalars: list[tuple[str, int]] | None = None) -> int:
        self.loss_place = token_loss
        reduction = self.parts.get("reduce")
        if reduction is None:  # every penalty is one number already
            result = self.b.const(0.0)
        else:
            result = self._brought(reduction, self.term(reduction, f"trained:{key}"))
        for op, scalar in scalars or []:
            result = self.b.op(op, result, scalar)
        return result

    def _brought(self, term: Term, place: int) -> int:
        """What a micro-batch brings to a number of its window: of a mean over micro-batches, its part of it."""
        if not is_averaged(term):
            return place
        batches = self.b.add(
            Node("count", (self.b.truth(True),), Axis.SCALAR, attributes=(("scope", WINDOW),))
        )
        return self.b.op("div", place, batches)
