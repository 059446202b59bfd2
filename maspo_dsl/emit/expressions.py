"""Operations of a graph as torch expressions, with as few brackets as they need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.statistics import ADDITIVE, window_statistics
from maspo_dsl.semantics.binding import number_text
from maspo_dsl.semantics.types import Axis, Scope

_INFIX = {
    "add": ("+", 60),
    "sub": ("-", 60),
    "mul": ("*", 70),
    "div": ("/", 70),
    "pow": ("**", 90),
    "and": ("&", 50),
    "or": ("|", 40),
    "lt": ("<", 30),
    "le": ("<=", 30),
    "gt": (">", 30),
    "ge": (">=", 30),
    "eq": ("==", 30),
    "ne": ("!=", 30),
}
# `0 < x` reads better as `x > 0`.
_MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
_CALLS = {name: f"torch.{name}" for name in ("exp", "log", "sqrt", "abs", "sigmoid", "tanh", "erf", "atan")}
ATOM = 100
_UNARY = 80

Text = tuple[str, int]
"""An expression and how tightly it holds together."""


class Expressions:
    """Writes the expression of a place from those of its arguments, which stand in `text`."""

    def __init__(self, graph: Graph, statistics_here: Sequence[int], once: Mapping[int, str]) -> None:
        self.graph = graph
        self.here = set(statistics_here)
        self.keys = {**{place: key for key, place in window_statistics(graph).items()}, **once}
        self.text: dict[int, Text] = {}
        self.reads_one = False

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
                return self._input(node), ATOM
            case "const":
                return (str(bool(node.value)), ATOM) if node.is_bool else _literal(node.value)
            case "param":
                return f'p["{node.attribute("name")}"]', ATOM
            case "neg":
                return f"-{self._at(node.args[0], _INFIX['pow'][1] + 1)}", _UNARY
            case "not":
                return f"~{self._at(node.args[0], _UNARY)}", _UNARY
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
        if node.op in _CALLS:
            return f"{_CALLS[node.op]}({self._at(node.args[0], 0)})", ATOM
        operator, precedence = _INFIX[node.op]
        left, right = node.args
        if node.op in _MIRRORED and self.graph.nodes[left].op == "const":
            (operator, precedence), left, right = _INFIX[_MIRRORED[node.op]], right, left
        # `**` binds to the right and tighter than a minus before it; the others to the left.
        before, after = (precedence + 1, _UNARY) if node.op == "pow" else (precedence, precedence + 1)
        if precedence == _INFIX["lt"][1]:
            before = precedence + 1
        texts = self._at(left, before), self._at(right, after)
        tight = node.op == "pow" and all(text.isidentifier() or text.isdigit() for text in texts)
        return (operator if tight else f" {operator} ").join(texts), precedence

    def _input(self, node: Node) -> str:
        name = node.attribute("name")
        return f'masked(x["{name}"], mask)' if _is_masked(node) else f'x["{name}"]'

    def _is_masked_difference(self, node: Node) -> bool:
        """Whether it is one tensor of the batch less another: masked once, it is what two masked ones give."""
        return node.op == "sub" and all(_is_masked(self.graph.nodes[argument]) for argument in node.args)

    def _bound(self, node: Node) -> str:
        low, high = float(node.attribute("low")), float(node.attribute("high"))  # type: ignore[arg-type]
        bounds = [] if math.isinf(low) else [f"min={number_text(low)}"]
        bounds += [] if math.isinf(high) else [f"max={number_text(high)}"]
        return f"torch.clamp({self._at(node.args[0], 0)}, {', '.join(bounds)})"

    def _clamp(self, node: Node) -> str:
        """`min` and `max` as clamps of the live side: at a tie its gradient is whole, not halved."""
        value, limit = node.args
        nodes = self.graph.nodes
        if nodes[value].live and nodes[limit].live:
            function = {"min": "torch.minimum", "max": "torch.maximum"}[node.op]
            return f"{function}({self._at(value, 0)}, {self._at(limit, 0)})"
        if nodes[value].op == "const" or (nodes[limit].live and not nodes[value].live):
            value, limit = limit, value
        return (
            f"torch.clamp({self._at(value, 0)}, {(node.op == 'min' and 'max') or 'min'}={self._at(limit, 0)})"
        )

    def _select(self, node: Node) -> str:
        condition, then, otherwise = node.args
        texts = [self._at(place, 0) for place in (condition, then, otherwise)]
        if not node.is_bool and all(self.graph.nodes[place].op == "const" for place in (then, otherwise)):
            self.reads_one = True
            texts[1] = "one" if texts[1] == "1" else f"{self._at(then, _INFIX['mul'][1])} * one"
        return f"torch.where({', '.join(texts)})"

    def _reduction(self, place: int, node: Node) -> str:
        """A call of an operation of the template: the value, what takes part, the batch, further arguments."""
        of_mask = node.op in ("count", "position")
        member = self._at(node.args[0 if of_mask else 1], 0)
        if place in self.here and node.op == "count":
            return f"window_count({member})"
        value = self._one() if of_mask else self._value(node.args[0])
        if place in self.here and node.op not in ADDITIVE:
            return self._pooled(node, value, member)
        arguments = [value, member, *self._further(node)]
        scope = {Scope.SEQUENCE: "sequence", Scope.GROUP: "group"}.get(node.scope or Scope.MICRO, "total")
        if scope != "total" or node.op in ("top", "pick"):
            arguments.insert(2, "x")
        match node.op:
            case "position":
                return f"positions({', '.join(arguments)})"
            case "next":
                return f"next_token({', '.join(arguments)})"
            case "discounted_sum":
                return f"discounted_sum({', '.join(arguments)})"
            case "sum" | "count" if scope == "total":
                function = "window_total" if place in self.here else "total"
                return f"{function}({', '.join(arguments)})"
            case "sum" | "count":
                return f"{scope}_sum({', '.join(arguments)})"
            case "reduce_min":
                arguments[0] = f"-{self._value(node.args[0], _UNARY)}"
                return f"-{scope}_max({', '.join(arguments)})"
            case "quantile" if scope == "group" and self.graph.nodes[node.args[1]].axis is Axis.TOKEN:
                return f"group_token_quantile({', '.join(arguments)})"
        return f"{scope}_{node.op.removeprefix('reduce_')}({', '.join(arguments)})"

    def _further(self, node: Node) -> list[str]:
        """Arguments of a reduction besides the value and what takes part."""
        if node.op == "discounted_sum":
            return [self._value(node.args[2])]
        texts = [self._at(argument, 0) for argument in node.args[2:]]
        named = {"kth": "k", "pick": "seed"}.get(node.op)
        return [*texts, f"{named}={number_text(float(node.attribute(named)))}"] if named else texts  # type: ignore[arg-type]

    def _value(self, place: int, precedence: int = 0) -> str:
        """A number among the tensors of a reduction has their dtype."""
        if self.graph.nodes[place].op != "const" or self.graph.nodes[place].is_bool:
            return self._at(place, precedence)
        return f"{self._at(place, _INFIX['mul'][1])} * {self._one()}"

    def _one(self) -> str:
        self.reads_one = True
        return "one"

    def _pooled(self, node: Node, value: str, member: str) -> str:
        """What a micro-batch brings to a statistic that needs the values of the whole window, and how it ends."""
        if node.op == "quantile":
            q, empty = self._at(node.args[2], 0), self._at(node.args[4], 0)
            member = f"{member} & {self._at(node.args[3], _INFIX['and'][1] + 1)}"
            finish = f"pooled_quantile(values, {q}, {empty})"
        elif node.op == "reduce_max":
            finish = "pooled_max(values)"
        else:
            value, finish = f"-{self._value(node.args[0], _UNARY)}", "-pooled_max(values)"
        return f"(\n    members({value}, {member}),\n    lambda values: {finish},\n)"


def _is_masked(node: Node) -> bool:
    """Whether it is a tensor of the batch in which anything may stand where no token is trained."""
    of_tokens = node.op == "input" and node.axis is Axis.TOKEN
    return of_tokens and node.attribute("name") not in ("mask", "advantage")


def _literal(value: float) -> Text:
    if math.isnan(value):
        return "torch.nan", ATOM
    if math.isinf(value):
        return ("torch.inf", ATOM) if value > 0 else ("-torch.inf", _UNARY)
    return number_text(value), _UNARY if value < 0 else ATOM
