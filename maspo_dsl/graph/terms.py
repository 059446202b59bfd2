"""Terms to graph: axes made to fit, and each reduction over what takes part in it."""

from __future__ import annotations

from collections.abc import Collection

from maspo_dsl.graph.nodes import Attributes, GraphBuilder, Node
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.reductions import OF, REDUCTIONS
from maspo_dsl.semantics.scopes import MICRO, SEQUENCE, Scope
from maspo_dsl.semantics.terms import Term
from maspo_dsl.semantics.types import Axis, Kind


class TermBuilder:
    """Puts terms into a graph, each once; `rewards` are what is added to the task's own."""

    def __init__(self, rewards: Collection[Term]) -> None:
        self.rewards = rewards
        self.b = GraphBuilder()
        self.memo: dict[tuple[int, str], int] = {}
        self.mask = self.b.add(Node("input", (), Axis.TOKEN, is_bool=True, attributes=(("name", "mask"),)))
        self.present = self.b.add(
            Node("input", (), Axis.SEQUENCE, is_bool=True, attributes=(("name", "present"),))
        )
        # Inside `reduce` only trained tokens count; elsewhere every token of the mask does.
        self.among = {"all": (self.mask, self.present)}
        self.loss_place = -1

    # ---- axes

    def token(self, place: int) -> int:
        """The value for each token; one number stays one number."""
        if self.b.nodes[place].axis in (Axis.SEQUENCE, Axis.GROUP):
            return self.expand(place)
        return place

    def expand(self, place: int) -> int:
        """One value a sequence, for each of its tokens."""
        node = self.b.nodes[place]
        return self.b.add(Node("expand", (place,), Axis.TOKEN, node.is_bool, node.live, name=node.name))

    def row(self, place: int) -> int:
        """The value for each sequence or token, from whatever axis."""
        node = self.b.nodes[place]
        if node.axis is not Axis.SCALAR:
            return place
        if node.is_bool:
            return self.b.op("select", self.present, place, place)
        zero = self.b.op("select", self.present, self.b.const(0.0), self.b.const(0.0))
        return self.b.op("add", place, zero)

    def times(self, a: int, b: int) -> int:
        """A product over axes."""
        return self.b.op("mul", *self.aligned([a, b]))

    def aligned(self, places: list[int]) -> list[int]:
        """Operands on one axis; numbers stay as they are."""
        if any(self.b.nodes[place].axis is Axis.TOKEN for place in places):
            return [self.token(place) for place in places]
        return places

    def advantage(self, *, rows: bool = False) -> int:
        """`A` for each token. In padded form one column serves a whole row, so this costs nothing.

        `rows` gives one value a sequence, for statistics of `A` itself; a batch that brings `A` for each token
        cannot serve those.
        """
        name, axis = ("advantage_rows", Axis.SEQUENCE) if rows else ("advantage", Axis.TOKEN)
        return self._input(name, axis, "advantage")

    def _input(self, name: str, axis: Axis, label: str = "") -> int:
        return self.b.add(Node("input", (), axis, attributes=(("name", name),), name=label))

    def shaped_reward(self) -> int:
        """The task's reward and what the spec adds to it."""
        total = self._input("reward", Axis.SEQUENCE)
        for term in self.rewards:
            total = self.b.op("add", total, self.row(self.term(term)))
        return total

    def count_rows(self, mask: int) -> int:
        """How many tokens of a mask each sequence has."""
        attributes = (("scope", SEQUENCE),)
        return self.b.add(Node("count", (mask,), Axis.SEQUENCE, attributes=attributes))

    # ---- terms

    def term(self, term: Term, among: str = "all") -> int:
        """The place of a term.

        `among` says which tokens reductions count, and with `|rows` that `A` is wanted for each sequence.
        """
        key = (id(term), among)
        if key not in self.memo:
            self.memo[key] = self._term(term, among)
        return self.memo[key]

    def _term(self, term: Term, among: str) -> int:
        match term.op:
            case "input":
                return self._read(term, among)
            case "const":
                if term.kind is Kind.BOOL:
                    return self.b.truth(bool(term.attribute("value")))
                return self.b.const(float(dict(term.attributes)["value"]))  # type: ignore[arg-type]
            case "param":
                return self.b.add(Node("param", (), Axis.SCALAR, attributes=term.attributes, name=term.label))
            case "candidate":
                return self.b.add(
                    Node("candidate", (), Axis.SCALAR, attributes=term.attributes, name=term.label)
                )
            case "least":
                condition = self.term(term.args[0], among)
                axis = self.b.nodes[condition].axis
                return self.b.add(Node("least", (condition,), axis, attributes=term.attributes))
            case "detach":
                return self._detached(self.term(term.args[0], among), term.label)
            case "expand":
                return self.token(self.row(self.term(term.args[0], among)))
        if term.op in REDUCTIONS:
            return self._reduction(term, among)
        args = self.aligned([self.term(argument, among) for argument in term.args])
        attributes = term.attributes if term.op == "bound" else ()
        return self.b.op(term.op, *args, attributes=attributes, name=term.label)

    def _read(self, term: Term, among: str) -> int:
        name = str(term.attribute("name"))
        if name == "loss":
            return self.loss_place
        if name == "A":
            return self.advantage(rows=among.endswith("|rows"))
        if name == "length":
            return self.count_rows(self.mask)
        if name == "position":
            within = (("scope", SEQUENCE),)
            return self.b.add(Node("position", (self.mask,), Axis.TOKEN, attributes=within, name=name))
        if name == "shaped_reward":
            return self.shaped_reward()
        given = (QUANTITIES[name].tensor if name in QUANTITIES else None) or name
        tensor = str(dict(term.attributes).get("tensor", given))
        is_bool = term.kind is Kind.BOOL
        own = tuple(item for item in term.attributes if item[0] in ("integer", "declared"))
        policy: Attributes = (("policy", True),) if term.kind is Kind.LOG_PROB else ()
        attributes = (("name", tensor), *own, *policy)
        axis = Axis.SEQUENCE if term.axis is Axis.GROUP else term.axis
        return self.b.add(Node("input", (), axis, is_bool, term.live, attributes, term.label or tensor))

    def _reduction(self, term: Term, among: str) -> int:
        row, scope, over = REDUCTIONS[term.op], term.attribute("scope"), term.attribute("over")
        assert isinstance(scope, Scope) and isinstance(over, Axis)
        tokens, rows = self.among["trained" if among.startswith("trained") else "all"]
        of_tokens = over in (Axis.CELL, Axis.TOKEN)
        member = tokens if of_tokens else rows
        inner = among.removesuffix("|rows") + ("" if of_tokens else "|rows")
        further = [self.term(argument, inner) for argument in term.args]
        args = [] if row.values == "mask" else [self._along(further.pop(0), over)]
        if OF.name in dict(term.attributes):
            member = self.b.op("and", member, self._along(further.pop(), over))
        if over in (Axis.GROUP, Axis.CELL):
            member = self.b.op("and", member, self._first(member, _cells_of(term)))
        for position, argument in enumerate(row.operands):
            if (argument.by_value and of_tokens) or scope.axis is Axis.CELL:
                further[position] = self.token(further[position])
        if not row.passes_within(scope):
            args, further = ([self._detached(place) for place in places] for places in (args, further))
        if scope.axis is Axis.GROUP and of_tokens and row.by_parts:
            if member != tokens and not row.additive:
                rows = self.b.op("gt", self.count_rows(member), self.b.const(0.0))
            return self._by_sequence(term, args, member, rows)
        numbers = tuple(item for item in term.attributes if item[0] in row.attributes)
        axis = {Axis.GROUP: Axis.SEQUENCE, Axis.CELL: Axis.TOKEN}.get(term.axis, term.axis)
        return self._add(term.op, (*args, member, *further), axis, scope, numbers, term.label)

    def _by_sequence(self, term: Term, args: list[int], member: int, rows: int) -> int:
        """Tokens of a group: first within each sequence, then those results over the group."""
        inner = self._add(term.op, (*args, member), Axis.SEQUENCE, SEQUENCE)
        op, scope = "sum" if term.op == "count" else term.op, term.attribute("scope")
        assert isinstance(scope, Scope)
        return self._add(op, (inner, rows), Axis.SEQUENCE, scope)

    def _along(self, place: int, over: Axis) -> int:
        """A value for each of what is reduced: tokens, or sequences."""
        return self.token(self.row(place)) if over > Axis.SEQUENCE else self.row(place)

    def _detached(self, place: int, name: str = "") -> int:
        return self.b.op("detach", place, name=name) if self.b.nodes[place].live else place

    def _first(self, member: int, cells: Scope) -> int:
        """Where a value is the first of its cell: each of them carries the cell's, and it counts once."""
        return self._add("first", (member,), self.b.nodes[member].axis, cells)

    def _add(
        self,
        op: str,
        args: tuple[int, ...],
        axis: Axis,
        scope: Scope,
        numbers: Attributes = (),
        name: str = "",
    ) -> int:
        """A reduction of what its first argument is."""
        row = REDUCTIONS[op]
        live = row.differentiable and any(self.b.nodes[place].live for place in args)
        attributes = (("scope", _local(scope, live)), *numbers)
        return self.b.add(Node(op, args, axis, row.condition, live, attributes, name))


def _cells_of(term: Term) -> Scope:
    """The scope whose cells a reduction counts."""
    cells = term.attribute("cells")
    assert isinstance(cells, Scope)
    return cells


def _local(scope: Scope, live: bool) -> Scope:
    """The scope in the graph, where all that is there is a micro-batch.

    A rollout batch is what `advantage` is called on. A live total of an optimizer step is a sum of parts, of which a
    micro-batch adds its own.
    """
    return MICRO if not scope.keys and (live or not scope.gathered) else scope
