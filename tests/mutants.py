"""Mistakes made on purpose: the emitted source of an objective with one thing wrong.

Every mutant is one change of one node of the syntax tree, in the functions that the loss, the advantage and
`keep` of an objective are made of.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SPARED = {
    "pooled",
    "terms",
    "measured",
    "gate_metrics",
    "nonfinite_tokens",
    "computed_dtype",
    "is_fractional",
    "refuse_missing",
    "refuse_shapes",
    "off_rows",
    "shape_word",
}
"""Functions of the emitted file that only metrics and messages are made of; `pooled` is for quantiles of a window."""

_OPPOSITE = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Gt: ast.Lt,
    ast.Lt: ast.Gt,
    ast.GtE: ast.LtE,
    ast.LtE: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_SWAPPED = {
    "eps_low": "eps_high",
    "eps_high": "eps_low",
    "beta_pos": "beta_neg",
    "beta_neg": "beta_pos",
    "tokens": "sequences",
    "sequences": "tokens",
    "logp": "logp_old",
    "logp_old": "logp",
    "max": "min",
    "min": "max",
}


@dataclass(frozen=True)
class Mutant:
    """A changed function, to be executed after the emitted file, and what was changed in it."""

    function: str
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.function}: {self.change}"


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of an emitted file."""
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name not in SPARED:
            function.returns = None
            for argument in function.args.args:
                argument.annotation = None
            yield from _changed(function)


def _changed(function: ast.FunctionDef) -> Iterator[Mutant]:
    for node in list(ast.walk(function)):
        for operator in OPERATORS:
            replacement = operator(node)
            if replacement is not None:
                change = f"{ast.unparse(node)}  ->  {ast.unparse(replacement)}"
                _Replace(node, replacement).visit(function)
                yield Mutant(function.name, change, ast.unparse(ast.fix_missing_locations(function)))
                _Replace(replacement, node).visit(function)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


# Each operator returns another node for a node, or None where it does not apply.


def drop_minus(node: ast.AST) -> ast.AST | None:
    """-x  ->  x, and ~x  ->  x."""
    negates = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert)
    return node.operand if negates else None


def flip_operator(node: ast.AST) -> ast.AST | None:
    """The opposite arithmetic, comparison or connective."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPPOSITE:
        return ast.BinOp(node.left, _OPPOSITE[type(node.op)](), node.right)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OPPOSITE:
        return ast.Compare(node.left, [_OPPOSITE[type(node.ops[0])]()], node.comparators)
    return None


def choose(argument: int) -> Callable[[ast.AST], ast.AST | None]:
    """torch.where(condition, a, b)  ->  a, or b: a mask or a guard that is forgotten."""

    def operator(node: ast.AST) -> ast.AST | None:
        return node.args[argument] if _calls(node, "where") else None

    return operator


def drop_call(node: ast.AST) -> ast.AST | None:
    """f(x, …)  ->  x, for what bounds, masks or transforms a value."""
    if any(_calls(node, name) for name in ("clamp", "masked", "exp", "sqrt", "dense")):
        return node.args[0]
    return None


def drop_detach(node: ast.AST) -> ast.AST | None:
    """x.detach()  ->  x."""
    return node.func.value if _calls(node, "detach") else None


def swap_name(node: ast.AST) -> ast.AST | None:
    """One parameter, tensor, statistic or bound for another."""
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and node.slice.value in _SWAPPED
    ):
        return ast.Subscript(node.value, ast.Constant(_SWAPPED[node.slice.value]), node.ctx)
    if isinstance(node, ast.keyword) and node.arg in _SWAPPED:
        return ast.keyword(_SWAPPED[node.arg], node.value)
    return None


def change_number(node: ast.AST) -> ast.AST | None:
    """A number  ->  a larger one."""
    number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return ast.Constant(node.value * 2 + 1) if number and not isinstance(node.value, bool) else None


OPERATORS = [
    drop_minus,
    flip_operator,
    choose(1),
    choose(2),
    drop_call,
    drop_detach,
    swap_name,
    change_number,
]


def _calls(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) == name
