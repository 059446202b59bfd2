"""Graph to torch: straight-line functions without branches on data, with the spec's own names."""

from __future__ import annotations

import builtins
import keyword
import math
from collections import Counter
from collections.abc import Sequence
from textwrap import indent

from maspo_dsl.emit.template_text import pieces
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.graph.statistics import ADDITIVE, window_statistics
from maspo_dsl.semantics.binding import number_text
from maspo_dsl.semantics.types import Axis, Scope
from maspo_dsl.semantics.vocabulary import LOG_RATIO_BOUND

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
_ATOM = 100
_UNARY = 80
_INLINE_LENGTH = 56
# Lines stay below 110 with their indent and their name.
_LINE_LENGTH = 80
_SHORT = 16
_TAKEN = frozenset({"x", "p", "d", "one", "torch", *pieces("operations")})

_NAMES = {
    "add": "added",
    "sub": "difference",
    "mul": "product",
    "div": "quotient",
    "pow": "power",
    "neg": "negative",
    "exp": "exponential",
    "sum": "summed",
    "count": "count",
    "select": "chosen",
    "min": "bounded",
    "max": "bounded",
    "reduce_max": "largest",
    "reduce_min": "smallest",
    "detach": "constant",
    "next": "following",
    "discounted_sum": "remaining",
    "least": "first",
}

Text = tuple[str, int]


class FunctionWriter:
    """Writes one function that returns some outputs of a graph.

    The function takes `x` (the batch), `p` (parameters, 0-d, and `1`, which has their dtype) and `d` (the
    window's statistics). `statistics_here` are places to compute from this batch although they are the window's.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str], statistics_here: Sequence[int] = ()) -> None:
        self.graph = graph
        self.outputs = [name for name in outputs if name in graph.outputs]
        self.here = set(statistics_here)
        self.keys = {place: key for key, place in window_statistics(graph).items()}
        self.places = self._needed()
        self.uses = Counter(a for place in self.places for a in self._arguments(place))
        self.uses.update(graph.outputs[name] for name in self.outputs)
        self.text: dict[int, Text] = {}
        self.lines: list[str] = []
        self.names: set[str] = set(_TAKEN)
        self.reads_one = False

    def body(self) -> list[str]:
        """The lines of the function up to its return."""
        for place in self.places:
            if not self.graph.candidates[place]:
                self._write(place)
        return ['one = p["1"]', *self.lines] if self.reads_one else self.lines

    def results(self) -> list[str]:
        """The expressions of the outputs."""
        return [self._at(self.graph.outputs[name], 0) for name in self.outputs]

    # ---- what is needed

    def _arguments(self, place: int) -> tuple[int, ...]:
        from_window = place in self.keys and place not in self.here
        return () if from_window else self.graph.nodes[place].args

    def _needed(self) -> list[int]:
        wanted = {self.graph.outputs[name] for name in self.outputs}
        for place in range(len(self.graph.nodes) - 1, -1, -1):
            if place in wanted:
                wanted.update(self._arguments(place))
        nodes = self.graph.nodes
        if any(nodes[place].op == "input" and nodes[place].axis is Axis.TOKEN for place in wanted):
            wanted.add(self._mask())
        return sorted(wanted)

    def _mask(self) -> int:
        return next(
            place for place, node in self.graph if node.op == "input" and node.attribute("name") == "mask"
        )

    # ---- lines

    def _write(self, place: int) -> None:
        node = self.graph.nodes[place]
        if node.op == "candidate":
            self.text[place] = (self._unique(node.name or "candidate"), _ATOM)
            return
        if node.op == "least":
            self._name(place, self._search(place, node))
            return
        text, precedence = self._fitting(place, node)
        named = bool(node.name) and node.op not in ("param", "const")
        trivial = node.op in ("const", "param") or (place in self.keys and place not in self.here)
        inline = trivial or (
            self.uses[place] == 1 and not named and len(text) <= _INLINE_LENGTH and "\n" not in text
        )
        if node.op == "input":
            inline = self.uses[place] == 1 and text != 'x["mask"]'
        if inline:
            self.text[place] = (text, precedence)
            return
        self._name(place, text)

    def _search(self, place: int, node: Node) -> str:
        """A function of the candidate that says whether the condition holds, and the search with it."""
        around, known, names = self.lines, dict(self.text), set(self.names)
        self.lines = []
        candidate = "candidate"
        for inner in self.graph.bodies[place]:
            self._write(inner)
            if self.graph.nodes[inner].op == "candidate":
                candidate = self.text[inner][0]
        body = "\n".join([*self.lines, f"return {self._at(node.args[0], 0)}"])
        self.lines, self.text, self.names = around, known, names
        name = self._unique("holds")
        # Blank lines are around a definition, but not at the beginning of a block.
        before = "\n" if self.lines else ""
        self.lines.append(f"{before}def {name}({candidate}):\n{indent(body, '    ')}\n")
        low, step, count = (number_text(float(str(node.attribute(key)))) for key in ("low", "step", "count"))
        return f"least({name}, candidates({low}, {step}, {count}, {self._one()}))"

    def _name(self, place: int, text: str) -> None:
        node = self.graph.nodes[place]
        name = self._unique(node.name or self._default_name(node))
        self.lines.append(f"{name} = {text}")
        self.text[place] = (name, _ATOM)

    def _fitting(self, place: int, node: Node) -> Text:
        """The expression; where it makes too long a line, its longest arguments get lines of their own."""
        while True:
            text, precedence = self._expression(place, node)
            written = {
                a: self.text[a][0] for a in self._arguments(place) if not self.text[a][0].isidentifier()
            }
            split = {a: length for a, t in written.items() if (length := len(t)) > _SHORT}
            if len(text) <= _LINE_LENGTH or not split:
                return text, precedence
            longest = max(split, key=lambda a: split[a])
            self._name(longest, self.text[longest][0])

    def _unique(self, wanted: str) -> str:
        name = wanted if wanted.isidentifier() and not keyword.iskeyword(wanted) else "value"
        name = f"{name}_" if name in dir(builtins) else name
        if name in self.names:
            number = 2
            while f"{name}_{number}" in self.names:
                number += 1
            name = f"{name}_{number}"
        self.names.add(name)
        return name

    def _at(self, place: int, precedence: int) -> str:
        text, own = self.text[place]
        return text if own >= precedence else f"({text})"

    def _default_name(self, node: Node) -> str:
        if node.op == "input":
            return str(node.attribute("name"))
        if _is_log_ratio(node):
            return "log_ratio"
        if node.op == "exp" and _is_log_ratio(self.graph.nodes[node.args[0]]):
            return "r"
        if node.is_bool:
            return "condition"
        return _NAMES.get(node.op, "value")

    # ---- expressions

    def _expression(self, place: int, node: Node) -> Text:
        if place in self.keys and place not in self.here:
            return f'd["{self.keys[place]}"]', _ATOM
        match node.op:
            case "input":
                return self._input(node), _ATOM
            case "const":
                return (str(bool(node.value)), _ATOM) if node.is_bool else _literal(node.value)
            case "param":
                return f'p["{node.attribute("name")}"]', _ATOM
            case "neg":
                return f"-{self._at(node.args[0], _INFIX['pow'][1] + 1)}", _UNARY
            case "not":
                return f"~{self._at(node.args[0], _UNARY)}", _UNARY
            case "detach":
                return f"{self._at(node.args[0], _ATOM)}.detach()", _ATOM
            case "bound":
                return self._bound(node), _ATOM
            case "min" | "max":
                return self._clamp(node), _ATOM
            case "select":
                return self._select(node), _ATOM
            case "expand":
                return f"tokens({self._at(node.args[0], 0)}, x)", _ATOM
        if node.scope is not None:
            return self._reduction(place, node), _ATOM
        if node.op in _CALLS:
            return f"{_CALLS[node.op]}({self._at(node.args[0], 0)})", _ATOM
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
        if node.axis is Axis.TOKEN and name not in ("mask", "advantage"):
            return f'masked(x["{name}"], mask)'
        return f'x["{name}"]'

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


def _literal(value: float) -> Text:
    if math.isnan(value):
        return "torch.nan", _ATOM
    if math.isinf(value):
        return ("torch.inf", _ATOM) if value > 0 else ("-torch.inf", _UNARY)
    return number_text(value), _UNARY if value < 0 else _ATOM


def _is_log_ratio(node: Node) -> bool:
    return node.op == "bound" and node.attribute("low") == -LOG_RATIO_BOUND
