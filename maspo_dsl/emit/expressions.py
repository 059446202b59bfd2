"""Operations of a graph as torch expressions, with as few brackets as they need."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.statistics import window_statistics
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.operations import (
    AND,
    ATOM,
    COMPARISON,
    OPERATIONS,
    POWER,
    PRODUCT,
    UNARY,
    Operation,
)
from maspo_dsl.semantics.quantities import DERIVED_TENSORS
from maspo_dsl.semantics.reductions import REDUCTIONS, Reduction
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.types import Axis

# `0 < x` reads better as `x > 0`.
_MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
# What the loss itself puts into a batch has a value for every sequence.
_KNOWN = DERIVED_TENSORS | {"length"}

Text = tuple[str, int]
"""An expression and how tightly it holds together."""


class Expressions:
    """Writes the expression of a place from those of its arguments, which stand in `text`."""

    def __init__(self, graph: Graph, statistics_here: Sequence[int], once: Mapping[int, str]) -> None:
        self.graph = graph
        self.here = set(statistics_here)
        self.keys = {**{place: key for key, place in window_statistics(graph).items()}, **once}
        self.text: dict[int, Text] = {}
        self.cells: dict[tuple[Scope, bool], str] = {}
        self.reads_one = False
        self.leading = _leading_to_gradients(graph)

    def _at(self, place: int, precedence: int) -> str:
        text, own = self.text[place]
        return text if own >= precedence else f"({text})"

    def _expression(self, place: int, node: Node) -> Text:
        if place in self.keys and place not in self.here:
            return f'd["{self.keys[place]}"]', ATOM
        if self._is_masked_difference(node):
            left, right = (self.graph.nodes[argument].attribute("name") for argument in node.args)
            return f'masked(x["{left}"] - x["{right}"], mask)', ATOM
        match node.op:
            case "input":
                return self._input(place, node)
            case "const":
                return (str(bool(node.value)), ATOM) if node.is_bool else _literal(node.value)
            case "param":
                return f'p["{node.attribute("name")}"]', ATOM
            case "detach":
                return f"{self._at(node.args[0], ATOM)}.detach()", ATOM
            case "bound":
                return self._bound(node), ATOM
            case "min" | "max":
                return self._clamp(node), ATOM
            case "select":
                return self._select(node), ATOM
            case "expand":
                return f"tokens({self._at(node.args[0], 0)}, x)", ATOM
        if node.scope is not None:
            return self._reduction(place, node), ATOM
        return self._elementwise(node, OPERATIONS[node.op])

    def _elementwise(self, node: Node, row: Operation) -> Text:
        """A call or an operator, as the table of operations has it."""
        if row.precedence == ATOM:
            return f"{row.torch}({', '.join(self._at(argument, 0) for argument in node.args)})", ATOM
        if row.arity == 1:
            # `~` holds what is as tight as itself, a minus before a power would be taken for its base's.
            inner = row.precedence if row.condition else POWER + 1
            return f"{row.torch}{self._at(node.args[0], inner)}", row.precedence
        left, right = node.args
        if row.name in _MIRRORED and self.graph.nodes[left].op == "const":
            row, left, right = OPERATIONS[_MIRRORED[row.name]], right, left
        # `**` binds to the right and tighter than a minus before it; comparisons to neither; the others to the left.
        own = row.precedence
        before, after = (own + 1, UNARY) if own == POWER else (own + (own == COMPARISON), own + 1)
        texts = self._at(left, before), self._at(right, after)
        tight = own == POWER and all(text.isidentifier() or text.isdigit() for text in texts)
        return (row.torch if tight else f" {row.torch} ").join(texts), own

    def _input(self, place: int, node: Node) -> Text:
        tensor = f'x["{node.attribute("name")}"]'
        if ("integer", True) in node.attributes:
            tensor = f"{tensor} * {self._one()}"
        # Where nothing is trained anything may stand, and NaN times a gradient of 0 is NaN.
        if node.axis is Axis.SEQUENCE and (node.live or (place in self.leading and _may_be_missing(node))):
            return f'masked({tensor}, x["present"])', ATOM
        if not _is_masked(node):
            return tensor, PRODUCT if tensor.endswith("one") else ATOM
        return (f"{tensor} & mask", AND) if node.is_bool else (f"masked({tensor}, mask)", ATOM)

    def _is_masked_difference(self, node: Node) -> bool:
        """Whether it is one tensor of the batch less another: masked once, it is what two masked ones give."""
        return node.op == "sub" and all(_is_masked(self.graph.nodes[argument]) for argument in node.args)

    def _bound(self, node: Node) -> str:
        limits = {"min": node.number("low"), "max": node.number("high")}
        bounds = [f"{side}={number_text(limit)}" for side, limit in limits.items() if math.isfinite(limit)]
        return f"torch.clamp({self._at(node.args[0], 0)}, {', '.join(bounds)})"

    def _clamp(self, node: Node) -> str:
        """`min` and `max` as clamps of the live side: at a tie its gradient is whole, not halved."""
        value, limit = node.args
        nodes = self.graph.nodes
        if nodes[value].live and nodes[limit].live:
            return f"{OPERATIONS[node.op].torch}({self._at(value, 0)}, {self._at(limit, 0)})"
        if nodes[value].op == "const" or (nodes[limit].live and not nodes[value].live):
            value, limit = limit, value
        side = "max" if node.op == "min" else "min"
        return f"torch.clamp({self._at(value, 0)}, {side}={self._at(limit, 0)})"

    def _select(self, node: Node) -> str:
        condition, then, otherwise = node.args
        texts = [self._at(place, 0) for place in (condition, then, otherwise)]
        if not node.is_bool and all(self.graph.nodes[place].op == "const" for place in (then, otherwise)):
            self.reads_one = True
            texts[1] = "one" if texts[1] == "1" else f"{self._at(then, PRODUCT)} * one"
        return f"torch.where({', '.join(texts)})"

    def _reduction(self, place: int, node: Node) -> str:
        """A call of an operation of the template: the value, what takes part, the cells, further arguments."""
        row = REDUCTIONS[node.op]
        of_mask = row.values == "mask"
        member = self._member(node.args[0 if of_mask else 1])
        if place in self.here and of_mask:
            return f"window_count({member})"
        if of_mask and row.condition:
            return f"{row.torch}({member}, {self._segments(node)})"
        value = self._one() if of_mask else self._value(node.args[0])
        if place in self.here and not row.additive:
            return self._pooled(row, node, value, member)
        if not node.within.keys and row.additive:
            return f"{'window_total' if place in self.here else 'total'}({value}, {member})"
        further = [
            self._value(place) if argument.sort == "number" and argument.by_value else self._at(place, 0)
            for argument, place in zip(row.operands, node.args[2:], strict=True)
        ]
        named = [f"{name}={number_text(node.number(name))}" for name in row.attributes]
        return f"{row.torch}({', '.join([value, member, self._segments(node), *further, *named])})"

    def _member(self, place: int) -> str:
        """What takes part; where nothing is left to ask, one thing does."""
        return f"{self._one()} > 0" if self.graph.nodes[place].op == "const" else self._at(place, 0)

    def _segments(self, node: Node) -> str:
        """The cells of a reduction's scope, among tokens or among sequences."""
        keys = node.within.keys
        if not keys:
            return "everything(x)"
        member = self.graph.nodes[node.args[0 if REDUCTIONS[node.op].values == "mask" else 1]]
        of_tokens = member.axis is Axis.TOKEN
        if node.within.declared:
            return self._declared(node.within, of_tokens)
        return f"{'tokens_by' if of_tokens else 'rows_by'}(x, {', '.join(map(json.dumps, keys))})"

    def _declared(self, scope: Scope, of_tokens: bool) -> str:
        """The name of the cells of a scope of the spec, which are computed once."""
        if (scope, of_tokens) not in self.cells:
            of_rows = [key for key in scope.keys if key not in scope.of_tokens]
            further = f", {json.dumps(list(scope.of_tokens))}" if of_tokens else ""
            function = "token_cells" if of_tokens else "row_cells"
            text = f"{function}(x, {json.dumps(of_rows)}{further})"
            self.cells[scope, of_tokens] = self._line(scope.name, text)
        return self.cells[scope, of_tokens]

    def _line(self, name: str, text: str) -> str:
        """The name under which a line of its own has a value."""
        raise NotImplementedError

    def _value(self, place: int, precedence: int = 0) -> str:
        """A number among the tensors of a reduction has their dtype."""
        if self.graph.nodes[place].op != "const" or self.graph.nodes[place].is_bool:
            return self._at(place, precedence)
        return f"{self._at(place, PRODUCT)} * {self._one()}"

    def _one(self) -> str:
        self.reads_one = True
        return "one"

    def _pooled(self, row: Reduction, node: Node, value: str, member: str) -> str:
        """What a micro-batch brings to a statistic that needs the values of the whole window, and how it ends."""
        further = [self._at(place, 0) for place in node.args[2:]]
        finish = f"{row.pooled}({', '.join(['values', *further])})"
        return f"(\n    members({value}, {member}),\n    lambda values: {finish},\n)"


def _is_masked(node: Node) -> bool:
    """Whether it is a tensor of the batch in which anything may stand where no token is trained."""
    of_tokens = node.op == "input" and node.axis is Axis.TOKEN
    return of_tokens and node.attribute("name") not in ("mask", "advantage")


def _may_be_missing(node: Node) -> bool:
    """Whether it is a number of each sequence that a batch brings: NaN where there is none."""
    return ("integer", True) not in node.attributes and node.attribute("name") not in _KNOWN


def _leading_to_gradients(graph: Graph) -> set[int]:
    """Numbers of the batch that a value with gradient is made of, with nothing between that leaves anything out."""
    found: set[int] = set()
    for place in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[place]
        if node.op not in REDUCTIONS and (node.live or place in found):
            arguments = [graph.nodes[argument] for argument in node.args]
            found |= {
                where
                for where, argument in zip(node.args, arguments, strict=True)
                if not (argument.live or argument.is_bool)
            }
    return found


def _literal(value: float) -> Text:
    if math.isnan(value):
        return "torch.nan", ATOM
    if math.isinf(value):
        return ("torch.inf", ATOM) if value > 0 else ("-torch.inf", UNARY)
    return number_text(value), UNARY if value < 0 else ATOM
