"""Graph to torch: straight-line functions without branches on data, with the spec's own names."""

from __future__ import annotations

import builtins
import keyword
from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import indent
from types import MappingProxyType

from maspo_dsl.emit.expressions import Expressions, Text
from maspo_dsl.emit.template_text import pieces
from maspo_dsl.graph.nodes import Graph, Node
from maspo_dsl.language.naming import unused_name
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.operations import ATOM, OPERATIONS
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.types import Axis
from maspo_dsl.semantics.vocabulary import LOG_RATIO_BOUND

_INLINE_LENGTH = 56
# Lines stay below 110 with their indent and their name.
_LINE_LENGTH = 80
_SHORT = 16
_BUILTINS = frozenset(dir(builtins))
_TAKEN = frozenset({"x", "p", "d", "one", "torch", *pieces("operations")})


class FunctionWriter(Expressions):
    """Writes one function that returns some outputs of a graph.

    The function takes `x` (the batch), `p` (parameters, 0-d, and `1`, which has their dtype) and `d` (the
    window's statistics, and what was computed once from them). `statistics_here` are places to compute from this
    batch although they are the window's; `once` are those that `d` has besides, with their keys.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[str],
        statistics_here: Sequence[int] = (),
        once: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(graph, statistics_here, once)
        self.outputs = [name for name in outputs if name in graph.outputs]
        self.places = self._needed()
        self.uses = Counter(a for place in self.places for a in self._arguments(place))
        self.uses.update(graph.outputs[name] for name in self.outputs)
        self.lines: list[str] = []
        self.names: set[str] = set(_TAKEN)

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
        node = self.graph.nodes[place]
        return () if from_window or self._is_masked_difference(node) else node.args

    def _needed(self) -> list[int]:
        wanted = {self.graph.outputs[name] for name in self.outputs}
        for place in range(len(self.graph.nodes) - 1, -1, -1):
            if place in wanted:
                wanted.update(self._arguments(place))
        nodes = self.graph.nodes
        if any(self._is_of_tokens(nodes[place]) for place in wanted):
            wanted.add(self._mask())
        return sorted(wanted)

    def _is_of_tokens(self, node: Node) -> bool:
        return (node.op == "input" and node.axis is Axis.TOKEN) or self._is_masked_difference(node)

    def _mask(self) -> int:
        return next(
            place for place, node in self.graph if node.op == "input" and node.attribute("name") == "mask"
        )

    # ---- lines

    def _write(self, place: int) -> None:
        node = self.graph.nodes[place]
        if node.op == "candidate":
            self.text[place] = (self._unique(node.name or "candidate"), ATOM)
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
        around, known, names, cells = self.lines, dict(self.text), set(self.names), dict(self.cells)
        self.lines = []
        candidate = "candidate"
        for inner in self.graph.bodies[place]:
            self._write(inner)
            if self.graph.nodes[inner].op == "candidate":
                candidate = self.text[inner][0]
        body = "\n".join([*self.lines, f"return {self._at(node.args[0], 0)}"])
        self.lines, self.text, self.names, self.cells = around, known, names, cells
        name = self._unique("holds")
        # Blank lines are around a definition, but not at the beginning of a block.
        before = "\n" if self.lines else ""
        self.lines.append(f"{before}def {name}({candidate}):\n{indent(body, '    ')}\n")
        low, step, count = (number_text(node.number(key)) for key in ("low", "step", "count"))
        return f"least({name}, candidates({low}, {step}, {count}, {self._one()}))"

    def _name(self, place: int, text: str) -> None:
        node = self.graph.nodes[place]
        self.text[place] = (self._line(node.name or self._default_name(node), text), ATOM)

    def _line(self, name: str, text: str) -> str:
        name = self._unique(name)
        self.lines.append(f"{name} = {text}")
        return name

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
        name = f"{name}_" if name in _BUILTINS else name
        name = unused_name(name, self.names)
        self.names.add(name)
        return name

    def _default_name(self, node: Node) -> str:
        if node.op == "input":
            return str(node.attribute("name"))
        if _is_log_ratio(node):
            return "log_ratio"
        if node.op == "exp" and _is_log_ratio(self.graph.nodes[node.args[0]]):
            return "r"
        if node.is_bool:
            return "condition"
        row = OPERATIONS.get(node.op) or REDUCTIONS.get(node.op)
        return "first" if node.op == "least" else row.local if row else "value"


def _is_log_ratio(node: Node) -> bool:
    return node.op == "bound" and node.attribute("low") == -LOG_RATIO_BOUND
