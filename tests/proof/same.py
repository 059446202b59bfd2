"""Whether two programs are one: the order of sums and products, and the sign of what is squared, put aside."""

import ast
from collections.abc import Hashable, Iterator
from dataclasses import replace

from maspo_dsl.graph.nodes import Graph, Node

COMMUTATIVE = frozenset({"add", "mul", "and", "or"})


class Numbers:
    """Expressions by number, equal ones by one; of two that differ by what changes no value the first is both."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._operations: list[tuple[str, tuple[int, ...]]] = []

    def number(self, op: str, arguments: tuple[int, ...], key: Hashable = None) -> int:
        """The number of an operation on what has been numbered; `key` is all else that is known of it."""
        if op in COMMUTATIVE:
            arguments = tuple(sorted(arguments))
        whole = (op, arguments, key)
        if whole not in self._numbers:
            self._numbers[whole] = len(self._operations)
            self._operations.append((op, arguments))
        return self._numbers[whole]

    def unsigned(self, number: int) -> tuple[str, tuple[int, ...]]:
        """What a number is of, where its sign does not matter: a difference may be taken from either side."""
        op, arguments = self._operations[number]
        if op == "neg":
            return self.unsigned(arguments[0])
        return (op, tuple(sorted(arguments))) if op == "sub" else ("of", (number,))


def same_graph(one: Graph, other: Graph) -> bool:
    """Whether two graphs compute the same, operation by operation."""
    numbers = Numbers()
    return _of_graph(one, numbers) == _of_graph(other, numbers)


def _of_graph(graph: Graph, numbers: Numbers) -> dict[str, int]:
    found: list[int] = []
    for node in graph.nodes:
        arguments: tuple[int, ...] = tuple(found[argument] for argument in node.args)
        key: Hashable = replace(node, args=(), name="")
        if _is_even(node, graph):
            key = (key, numbers.unsigned(arguments[0]))
            arguments = arguments[1:] if node.op == "pow" else ()
        found.append(numbers.number(node.op, arguments, key))
    return {name: found[place] for name, place in graph.outputs.items()}


def _is_even(node: Node, graph: Graph) -> bool:
    """Whether a value is the same for its first argument and for that with another sign."""
    if node.op == "pow":
        exponent = graph.nodes[node.args[1]]
        return exponent.op == "const" and exponent.value % 2 == 0
    return node.op == "abs" or (node.op == "mul" and node.args[0] == node.args[1])


def same_function(one: ast.FunctionDef, other: ast.FunctionDef) -> bool:
    """Whether two functions return the same, each made of single assignments; else it is not said."""
    numbers = Numbers()
    found = _of_function(one, numbers)
    return found is not None and found == _of_function(other, numbers)


def _of_function(function: ast.FunctionDef, numbers: Numbers) -> list[int] | None:
    """The numbers of what a function returns; None if it has other statements, or sets a name twice."""
    known: dict[str, int] = {}
    for statement in function.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in known:
                known[name] = _of_expression(value, known, numbers)
            case ast.Return(value=ast.expr() as value):
                return [_of_expression(value, known, numbers)]
            case _:
                return None
    return None


_OPERATORS = {ast.Add: "add", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.Sub: "sub"}


def _of_expression(node: ast.AST, known: dict[str, int], numbers: Numbers) -> int:
    match node:
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if power % 2 == 0:
            return numbers.number("even", (), (power, numbers.unsigned(_of_expression(left, known, numbers))))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return numbers.number("neg", (_of_expression(operand, known, numbers),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            sides = tuple(_of_expression(side, known, numbers) for side in (left, right))
            return numbers.number(_OPERATORS[type(op)], sides)
    parts = list(_parts(node))
    inner = tuple(_of_expression(part, known, numbers) for part in parts if isinstance(part, ast.AST))
    return numbers.number(type(node).__name__, inner, tuple(p for p in parts if not isinstance(p, ast.AST)))


def _parts(node: ast.AST) -> Iterator[object]:
    """The fields of a node, one after the other, lists with their lengths."""
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            yield len(value)
            yield from value
        elif name != "ctx":
            yield value
