"""Mistakes made on purpose: the emitted source of an objective with one thing wrong.

Every mutant is one change of one node of the syntax tree, in the functions and methods that the loss, the
advantage, `keep`, `step` and the window's statistics of an objective are made of.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SPARED = {
    "terms",
    "measured",
    "gate_metrics",
    "nonfinite_tokens",
    "computed_dtype",
    "is_fractional",
    "check_missing",
    "check_shapes",
    "off_rows",
    "shape_word",
}
"""Functions of the emitted file that only metrics, messages and the choice of a dtype are made of."""

SPARED_METHODS = {"measure"}
MUTATED_CLASSES = {"LossModule", "Loss"}

_OPPOSITE = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Gt: ast.Lt,
    ast.Lt: ast.Gt,
    ast.GtE: ast.LtE,
    ast.LtE: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_STRICTNESS = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
_POLICIES = ("logp", "logp_old", "logp_ref", "logp_rollout")
_NAMESAKES = {"max": "min", "min": "max", "minimum": "maximum", "maximum": "minimum"}
_DROPPED = {
    "abs",
    "clamp",
    "dense",
    "exp",
    "log",
    "masked",
    "maximum",
    "minimum",
    "pooled_quantile",
    "sigmoid",
    "sqrt",
    "tokens",
}
"""Calls that bound, mask or transform their first argument."""

SMALL = 1e-3
"""A constant below it that is added is there to keep a denominator from 0."""


@dataclass(frozen=True)
class Mutant:
    """A changed function, to be executed after the emitted file, and what was changed in it."""

    function: str
    change: str
    source: str
    owner: str | None = None
    """The class whose method it is."""

    def __str__(self) -> str:
        return f"{self.function}: {self.change}"

    def put_into(self, namespace: dict[str, object]) -> None:
        """Replace the function, or the method of its class, in an executed file."""
        if self.owner is None:
            exec(self.source, namespace)
            return
        found: dict[str, object] = {}
        exec(self.source, namespace, found)
        setattr(namespace[self.owner], self.function, found[self.function])


@dataclass(frozen=True)
class Piece:
    """A function of an emitted file, or a method of one of its classes."""

    owner: str | None
    node: ast.FunctionDef

    @property
    def text(self) -> str:
        """Its source: pieces of several files with the same text are one piece."""
        return f"{self.owner or ''}\n{ast.unparse(self.node)}"


def pieces(source: str) -> Iterator[Piece]:
    """What of an emitted file is mutated."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name not in SPARED:
            yield Piece(None, _bare(node))
        elif isinstance(node, ast.ClassDef) and node.name in MUTATED_CLASSES:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name not in SPARED_METHODS:
                    yield Piece(node.name, _bare(method))


def _bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """Without annotations and docstring, which are not executed."""
    function.returns = None
    for argument in [*function.args.args, *function.args.kwonlyargs]:
        argument.annotation = None
    if isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant):
        function.body = function.body[1:] or [ast.Pass()]
    return function


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of an emitted file."""
    for piece in pieces(source):
        yield from mutants_of(piece)


def mutants_of(piece: Piece) -> Iterator[Mutant]:
    """Every mutant of a function or method."""
    function = piece.node
    operators = [*OPERATORS, *_swaps(function)]
    seen = {ast.unparse(function)}
    for node, statement in list(_nodes(function, function)):
        for operator in operators:
            replacement = operator(node)
            if replacement is None:
                continue
            before = _first_line(statement)
            _Replace(node, replacement).visit(function)
            text = ast.unparse(ast.fix_missing_locations(function))
            change = marked(before, _first_line(statement))
            _Replace(replacement, node).visit(function)
            if text not in seen:
                seen.add(text)
                if piece.owner is not None:
                    text = text.replace("super()", f"super({piece.owner}, self)")
                yield Mutant(function.name, change, text, piece.owner)


def _nodes(node: ast.AST, statement: ast.stmt) -> Iterator[tuple[ast.AST, ast.stmt]]:
    """Every node but those of messages, each with the statement that it stands in."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Raise | ast.JoinedStr):
            inner = child if isinstance(child, ast.stmt) else statement
            yield child, inner
            yield from _nodes(child, inner)


def marked(before: str, after: str) -> str:
    """A text with what was changed in it: `total(a ⟨* → /⟩ b)`."""
    old, new = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (before, after))
    start = _in_common(old, new)
    end = _in_common(old[start:][::-1], new[start:][::-1])
    pieces = old[:start], old[start : len(old) - end], new[start : len(new) - end], old[len(old) - end :]
    left, removed, added, right = ("".join(piece) for piece in pieces)
    return f"{left}⟨{removed} → {added}⟩{right}"


def _in_common(one: list[str], other: list[str]) -> int:
    """How many words two texts begin with together."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _first_line(statement: ast.stmt) -> str:
    return ast.unparse(statement).splitlines()[0]


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


# Each operator returns another node for a node, or None where it does not apply.

Operator = Callable[[ast.AST], ast.AST | None]


def drop_minus(node: ast.AST) -> ast.AST | None:
    """-x  ->  x, ~x  ->  x, and not x  ->  x."""
    negates = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert | ast.Not)
    return node.operand if negates else None


def flip_operator(node: ast.AST) -> ast.AST | None:
    """The opposite arithmetic, comparison or connective."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPPOSITE:
        return ast.BinOp(node.left, _OPPOSITE[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        return ast.BoolOp(_OPPOSITE[type(node.op)](), node.values)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OPPOSITE:
        return ast.Compare(node.left, [_OPPOSITE[type(node.ops[0])]()], node.comparators)
    return None


def turn_round(node: ast.AST) -> ast.AST | None:
    """a - b  ->  b - a, and a / b  ->  b / a: a sign, or a ratio upside down."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div):
        return ast.BinOp(node.right, node.op, node.left)
    return None


def change_strictness(node: ast.AST) -> ast.AST | None:
    """>  ->  >=, and the other three."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _STRICTNESS:
        return ast.Compare(node.left, [_STRICTNESS[type(node.ops[0])]()], node.comparators)
    return None


def drop_operand(keep: str) -> Operator:
    """a · b  ->  a, or b: a factor, a denominator, an epsilon or a condition that is forgotten."""

    def operator(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.BinOp):
            if isinstance(node.right, ast.Constant) and node.right.value is True:
                return None
            small = isinstance(node.right, ast.Constant) and abs(node.right.value) < SMALL
            wanted = isinstance(node.op, ast.Mult | ast.Div | ast.BitAnd | ast.BitOr) or small
            return getattr(node, keep) if wanted else None
        if isinstance(node, ast.BoolOp):
            return node.values[0 if keep == "left" else -1]
        return None

    return operator


def choose(argument: int) -> Operator:
    """torch.where(condition, a, b)  ->  a, or b: a mask or a guard that is forgotten; `a if c else b` too."""

    def operator(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.IfExp):
            return node.body if argument == 1 else node.orelse
        return node.args[argument] if _calls(node, "where") else None

    return operator


def drop_call(node: ast.AST) -> ast.AST | None:
    """f(x, …)  ->  x, for what bounds, masks or transforms a value; x.f(…) too."""
    if not (isinstance(node, ast.Call) and any(_calls(node, name) for name in _DROPPED)):
        return None
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        return node.func.value
    return node.args[0]


def drop_bound(index: int) -> Operator:
    """clamp(x, min=a, max=b)  ->  clamp(x, max=b), or the other one."""

    def operator(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Call) and _calls(node, "clamp") and len(node.keywords) == 2:
            return ast.Call(node.func, node.args, [node.keywords[index]])
        return None

    return operator


def drop_detach(node: ast.AST) -> ast.AST | None:
    """x.detach()  ->  x."""
    return node.func.value if isinstance(node, ast.Call) and _calls(node, "detach") else None


def add_detach(node: ast.AST) -> ast.AST | None:
    """x  ->  x.detach(), for the log-prob in training."""
    if isinstance(node, ast.Subscript) and _key(node) == "logp":
        return ast.Call(ast.Attribute(node, "detach", ast.Load()), [], [])
    return None


def drop_mask(node: ast.AST) -> ast.AST | None:
    """mask  ->  everything, where a mask is read."""
    read = isinstance(node, ast.Name) and node.id in ("mask", "member", "chosen")
    read = (read and isinstance(node.ctx, ast.Load)) or (
        isinstance(node, ast.Subscript)
        and _key(node) in ("mask", "present")
        and isinstance(node.ctx, ast.Load)
    )
    if not read:
        return None
    return ast.Call(ast.Attribute(ast.Name("torch", ast.Load()), "ones_like", ast.Load()), [node], [])


def swap_name(node: ast.AST) -> ast.AST | None:
    """A lower bound for an upper one, the larger for the smaller."""
    if isinstance(node, ast.keyword) and node.arg in _NAMESAKES:
        return ast.keyword(_NAMESAKES[node.arg], node.value)
    if isinstance(node, ast.Attribute) and node.attr in _NAMESAKES and _is_module(node.value):
        return ast.Attribute(node.value, _NAMESAKES[node.attr], node.ctx)
    return None


def change_number(change: Callable[[float], float]) -> Operator:
    """A number  ->  another one."""

    def operator(node: ast.AST) -> ast.AST | None:
        number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        if not number or isinstance(node.value, bool):
            return None
        value = change(node.value)
        return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)

    return operator


def flip_flag(node: ast.AST) -> ast.AST | None:
    """True  ->  False."""
    flag = isinstance(node, ast.Constant) and isinstance(node.value, bool)
    return ast.Constant(not node.value) if flag else None


OPERATORS: list[Operator] = [
    drop_minus,
    flip_operator,
    turn_round,
    change_strictness,
    drop_operand("left"),
    drop_operand("right"),
    choose(1),
    choose(2),
    drop_call,
    drop_bound(0),
    drop_bound(1),
    drop_detach,
    add_detach,
    drop_mask,
    swap_name,
    change_number(lambda value: 2 * value + 1),
    change_number(lambda value: value - 1),
    flip_flag,
]


def _swaps(function: ast.FunctionDef) -> Iterator[Operator]:
    """One parameter, statistic or policy for another that the function, or the batch, has."""
    for table in ("p", "d"):
        names = sorted(
            {_key(n) for n in ast.walk(function) if isinstance(n, ast.Subscript) and _table(n) == table}
            - {None, "1"}
        )
        yield from (_swap(table, one, other) for one in names for other in names if one != other)
    yield from (_swap("x", one, other) for one in _POLICIES for other in _POLICIES if one != other)


def _swap(table: str, old: str, new: str) -> Operator:
    def operator(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Subscript) and _table(node) == table and _key(node) == old:
            return ast.Subscript(node.value, ast.Constant(new), node.ctx)
        return None

    return operator


def _table(node: ast.Subscript) -> str | None:
    return node.value.id if isinstance(node.value, ast.Name) else None


def _key(node: ast.Subscript) -> str | None:
    constant = isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
    return node.slice.value if constant else None


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "torch"


def _calls(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) == name
